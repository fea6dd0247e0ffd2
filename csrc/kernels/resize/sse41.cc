// resize on SSE4.1: pmaddwd along x (at most 255 * 2048, 20 bits), pmulld along y (31 bits).
// Positions without fractions (nearest) are copies.
#include "kernels/simd/sse41.h"

#include <cstring>

#include "kernels/resize/corners.h"

namespace lightkern::resize {
namespace {

struct Weights {
  __m128i x;     // pairs {2048 - fx, fx} of 16 bits
  __m128i y[2];  // 2048 - fy, fy
};

// 4 channels from interleaved bytes of the left and the right neighbour, of both rows.
inline __m128i mean4(__m128i low_pairs, __m128i high_pairs, const Weights& w) {
  const auto along_x = [&](__m128i pairs) { return _mm_madd_epi16(_mm_cvtepu8_epi16(pairs), w.x); };
  const __m128i low = _mm_mullo_epi32(along_x(low_pairs), w.y[0]);
  const __m128i high = _mm_mullo_epi32(along_x(high_pairs), w.y[1]);
  return _mm_srli_epi32(_mm_add_epi32(_mm_add_epi32(low, high), _mm_set1_epi32(1 << 21)), 22);
}

// 8 channels in 16 bits.
inline __m128i mean8(const Corners& at, size_t c, const Weights& w) {
  const __m128i low = _mm_unpacklo_epi8(load_half(at.low_left + c), load_half(at.low_right + c));
  const __m128i high = _mm_unpacklo_epi8(load_half(at.high_left + c), load_half(at.high_right + c));
  return _mm_packs_epi32(mean4(low, high, w),
                         mean4(_mm_srli_si128(low, 8), _mm_srli_si128(high, 8), w));
}

inline void mean_pixel(const Corners& at, size_t channels, Act* y) {
  const Weights w = {_mm_set1_epi32((at.fx << 16) | (2048 - at.fx)),
                     {_mm_set1_epi32(2048 - at.fy), _mm_set1_epi32(at.fy)}};
  walk_row(
      channels, true,
      [&](size_t c) { store16(y + c, _mm_packus_epi16(mean8(at, c, w), mean8(at, c + 8, w))); },
      [&](size_t c) {
        const __m128i words = mean8(at, c, w);
        store_half(y + c, _mm_packus_epi16(words, words));
      },
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

constexpr Kernel kKernels[] = {{"resize_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::resize
