// resize on AVX2: pmaddwd along x (at most 255 * 2048, 20 bits), pmulld along y (31 bits).
// Positions without fractions (nearest) are copies.
#include "kernels/simd/avx2.h"

#include <cstring>

#include "kernels/resize/corners.h"
#include "kernels/simd/x86.h"

namespace lightkern::resize {
namespace {

struct Weights {
  __m256i x;     // pairs {2048 - fx, fx} of 16 bits
  __m256i y[2];  // 2048 - fy, fy
};

inline __m256i mean8(const Corners& at, size_t c, const Weights& w) {
  const auto along_x = [&](const Act* left, const Act* right) {
    const __m128i pairs = _mm_unpacklo_epi8(load_half(left + c), load_half(right + c));
    return _mm256_madd_epi16(_mm256_cvtepu8_epi16(pairs), w.x);
  };
  const __m256i low = _mm256_mullo_epi32(along_x(at.low_left, at.low_right), w.y[0]);
  const __m256i high = _mm256_mullo_epi32(along_x(at.high_left, at.high_right), w.y[1]);
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(low, high), _mm256_set1_epi32(1 << 21));
  return _mm256_srli_epi32(sum, 22);
}

inline void mean_pixel(const Corners& at, size_t channels, Act* y) {
  const Weights w = {_mm256_set1_epi32((at.fx << 16) | (2048 - at.fx)),
                     {_mm256_set1_epi32(2048 - at.fy), _mm256_set1_epi32(at.fy)}};
  walk_row(
      channels, true,
      [&](size_t c) {
        store_bytes(y + c, pack32(mean8(at, c, w), mean8(at, c + 8, w), mean8(at, c + 16, w),
                                  mean8(at, c + 24, w)));
      },
      [&](size_t c) { store_half(y + c, pack8(mean8(at, c, w))); },
      [&](size_t c) { y[c] = mean1(at, c); });
}

void run(const Args& args) {
  Act* y = args.y;
  for (size_t row = 0; row < args.rows; ++row) {
    const Pair& py = args.y_pairs[row];
    for (size_t col = 0; col < args.cols; ++col, y += args.y_pixel_stride) {
      const Pair& px = args.x_pairs[col];
      const Act *low = args.x + py.low, *high = args.x + py.high;
      if (px.fraction == 0 && py.fraction == 0) {
        std::memcpy(y, low + px.low, args.channels);
      } else {
        mean_pixel(
            {low + px.low, low + px.high, high + px.low, high + px.high, px.fraction, py.fraction},
            args.channels, y);
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"resize_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::resize
