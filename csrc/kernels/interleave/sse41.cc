// interleave on SSE4.1: two or four parts by unpacking, three by pshufb, bound by the stores; any
// other number by transposes of 8 parts by 8 channels.
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

// Channels [c, c + 8) of pixel p, of 8 parts from `first` on, or of all parts if they are fewer.
inline void transpose(const Args& args, size_t p, size_t first, size_t c, Act* y) {
  const size_t last = args.parts - 1;
  const Columns8 block = transpose8_rows([&](int k) {  // parts that are missing: the last again
    const size_t part =
        first + static_cast<size_t>(k) < last ? first + static_cast<size_t>(k) : last;
    return load_half(args.x[part] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[part] + c);
  });
  y += c * args.parts + first;
  for (int k = 0; k < 8; ++k, y += args.parts) {
    const __m128i pair = block.pair[k / 2], column = k % 2 ? _mm_srli_si128(pair, 8) : pair;
    args.parts < 8 ? store_narrow(y, column, args.parts) : store_half(y, column);
  }
}

// Blocks at the end overlap those before.
void run_any(const Args& args) {
  const size_t n = args.channels, parts = args.parts;
  for (size_t p = 0; p < args.pixels; ++p) {
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    if (n < 8 || parts < 2) {
      for (size_t k = 0; k < parts; ++k) {
        const Act* x = args.x[k] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[k];
        for (size_t i = 0; i < n; ++i) y[parts * i + k] = x[i];
      }
      continue;
    }
    for (size_t k = 0; k < parts; k += 8) {
      const size_t first = k + 8 <= parts ? k : parts < 8 ? 0 : parts - 8;
      for (size_t i = 0; i < n; i += 8) transpose(args, p, first, i + 8 <= n ? i : n - 8, y);
    }
  }
}

constexpr Kernel kKernels[] = {
    {"interleave_s8_2x16_sse41", 2, run<2>},
    {"interleave_s8_3x16_sse41", 3, run<3>},
    {"interleave_s8_4x16_sse41", 4, run<4>},
    {"interleave_s8_8_sse41", 0, run_any},
};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::interleave
