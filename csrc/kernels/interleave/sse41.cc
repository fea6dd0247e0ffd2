// interleave on SSE4.1: two or four parts by unpacking, three by pshufb; bound by the stores.
#include "kernels/interleave/interleave.h"
#include "kernels/simd/x86.h"

namespace lightkern::interleave {
namespace {

template <size_t parts>
inline void wide(const Act* const* x, size_t i, Act* y) {
  const __m128i a = load16(x[0] + i), b = load16(x[1] + i);
  if constexpr (parts == 2) {
    store16(y + 2 * i, _mm_unpacklo_epi8(a, b));
    store16(y + 2 * i + 16, _mm_unpackhi_epi8(a, b));
  }
  if constexpr (parts == 3) interleave3(a, b, load16(x[2] + i), y + 3 * i);
  if constexpr (parts == 4) interleave4(a, b, load16(x[2] + i), load16(x[3] + i), y + 4 * i);
}

template <size_t parts>
void run(const Args& args) {
  const size_t n = args.channels;
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x[parts];
    for (size_t k = 0; k < parts; ++k) {
      x[k] = args.x[k] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[k];
    }
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) wide<parts>(x, i, y);
    if (i < n && n >= 16) {
      wide<parts>(x, n - 16, y);
      continue;
    }
    for (; i < n; ++i) {
      for (size_t k = 0; k < parts; ++k) y[parts * i + k] = x[k][i];
    }
  }
}

constexpr Kernel kKernels[] = {
    {"interleave_s8_2x16_sse41", 2, run<2>},
    {"interleave_s8_3x16_sse41", 3, run<3>},
    {"interleave_s8_4x16_sse41", 4, run<4>},
};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::interleave
