// interleave on AVX2: two parts by unpacking; bound by the stores. More parts: the kernels of
// SSE4.1 are as fast.
#include "kernels/simd/avx2.h"

#include "kernels/interleave/interleave.h"
#include "kernels/simd/x86.h"

namespace lightkern::interleave {
namespace {

inline void two_wide(const Act* a, const Act* b, Act* y) {
  const __m256i va = load_bytes(a), vb = load_bytes(b);
  const __m256i lo = _mm256_unpacklo_epi8(va, vb), hi = _mm256_unpackhi_epi8(va, vb);
  store_bytes(y, _mm256_permute2x128_si256(lo, hi, 0x20));
  store_bytes(y + 32, _mm256_permute2x128_si256(lo, hi, 0x31));
}

void run_two(const Args& args) {
  const size_t n = args.channels;
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* a = args.x[0] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[0];
    const Act* b = args.x[1] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[1];
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    walk_row(
        n, true, [&](size_t i) { two_wide(a + i, b + i, y + 2 * i); },
        [&](size_t i) {
          store16(y + 2 * i, _mm_unpacklo_epi8(load_half(a + i), load_half(b + i)));
        },
        [&](size_t i) {
          y[2 * i] = a[i];
          y[2 * i + 1] = b[i];
        });
  }
}

constexpr Kernel kKernels[] = {{"interleave_s8_2x32_avx2", 2, run_two}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::interleave
