// Byte shuffles on 128 bits, for kernels of any x86 level from SSE4.1 on; and what a table is to
// levels that shuffle 128 bits at a time.
#pragma once

#include <smmintrin.h>

#include <cstring>

#include "base/types.h"

namespace lightkern {

struct TableFit;  // kernels/fit.h

// A table of 256 bytes: its fit, or 16 chunks of 16, of which pshufb takes one with the low 4 bits
// of an index; load_table of simd/<isa>.h says what a chunk holds.
struct TableChunks {
  const TableFit* fit;
  __m128i chunk[16];
};

[[maybe_unused]] static inline __m128i load16(const uint8_t* x) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
}
[[maybe_unused]] static inline void store16(uint8_t* y, __m128i v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), v);
}
[[maybe_unused]] static inline __m128i load_half(const uint8_t* x) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
}
[[maybe_unused]] static inline void store_half(uint8_t* y, __m128i v) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(y), v);
}

// Three parts to one: byte i of the output is byte i / 3 of part i % 3, so that the bytes of a part
// have other places in each of three vectors. One shuffle per part brings all of them into place,
// and what belongs to a vector is blended.
struct Thirds {
  __m128i place[3];  // of the bytes of each part
  __m128i from[3];   // all bits of bytes 0, 3, ..; 1, 4, ..; 2, 5, ..
};
[[maybe_unused]] static inline Thirds thirds() {
  return {{_mm_setr_epi8(0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10, 5),
           _mm_setr_epi8(5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10),
           _mm_setr_epi8(10, 5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15)},
          {_mm_setr_epi8(-1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1),
           _mm_setr_epi8(0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0),
           _mm_setr_epi8(0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0)}};
}

// 16 bytes of each of three parts to 48.
[[maybe_unused]] static inline void interleave3(__m128i a, __m128i b, __m128i c, uint8_t* y) {
  const Thirds t = thirds();
  a = _mm_shuffle_epi8(a, t.place[0]);
  b = _mm_shuffle_epi8(b, t.place[1]);
  c = _mm_shuffle_epi8(c, t.place[2]);
  const auto merge = [&](int of_b, int of_c) {
    return _mm_blendv_epi8(_mm_blendv_epi8(a, b, t.from[of_b]), c, t.from[of_c]);
  };
  store16(y, merge(1, 2));
  store16(y + 16, merge(0, 1));
  store16(y + 32, merge(2, 0));
}

// 16 bytes of each of four parts to 64.
[[maybe_unused]] static inline void interleave4(__m128i a, __m128i b, __m128i c, __m128i d,
                                                uint8_t* y) {
  const __m128i ac_lo = _mm_unpacklo_epi8(a, c), ac_hi = _mm_unpackhi_epi8(a, c);
  const __m128i bd_lo = _mm_unpacklo_epi8(b, d), bd_hi = _mm_unpackhi_epi8(b, d);
  store16(y, _mm_unpacklo_epi8(ac_lo, bd_lo));
  store16(y + 16, _mm_unpackhi_epi8(ac_lo, bd_lo));
  store16(y + 32, _mm_unpacklo_epi8(ac_hi, bd_hi));
  store16(y + 48, _mm_unpackhi_epi8(ac_hi, bd_hi));
}

// The transpose of 8 rows of 8 bytes: out[k] holds columns 2 k (low half) and 2 k + 1.
struct Columns8 {
  __m128i pair[4];
};
// `load(i)` gives row i in the low half of a vector.
template <class Load>
[[maybe_unused]] static inline Columns8 transpose8_rows(Load load) {
  __m128i a[4], b[4];
  for (int i = 0; i < 4; ++i) a[i] = _mm_unpacklo_epi8(load(2 * i), load(2 * i + 1));
  for (int i = 0; i < 2; ++i) {
    b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
  return {{_mm_unpacklo_epi32(b[0], b[2]), _mm_unpackhi_epi32(b[0], b[2]),
           _mm_unpacklo_epi32(b[1], b[3]), _mm_unpackhi_epi32(b[1], b[3])}};
}
[[maybe_unused]] static inline Columns8 transpose8(const uint8_t* x, ptrdiff_t stride) {
  return transpose8_rows([&](int i) { return load_half(x + i * stride); });
}

// The first n of the low 8 bytes, 2 <= n <= 8: two stores that overlap.
[[maybe_unused]] static inline void store_narrow(uint8_t* y, __m128i v, size_t n) {
  if (n == 8) return store_half(y, v);
  const size_t width = n >= 4 ? 4 : 2, rest = n - width;
  const __m128i shifted = _mm_srl_epi64(v, _mm_cvtsi32_si128(static_cast<int>(8 * rest)));
  const int32_t low = _mm_cvtsi128_si32(v), high = _mm_cvtsi128_si32(shifted);
  if (width == 4) {
    std::memcpy(y, &low, 4);
    std::memcpy(y + rest, &high, 4);
  } else {
    std::memcpy(y, &low, 2);
    std::memcpy(y + rest, &high, 2);
  }
}

// 8 planes of `pixels` bytes, whose rows are readable up to a multiple of 8, to pixels of n bytes,
// 2 <= n <= 8; what the planes behind the first n hold does not matter.
[[maybe_unused]] static inline void planes_to_pixels(const uint8_t* planes, ptrdiff_t plane_stride,
                                                     size_t pixels, uint8_t* y, ptrdiff_t y_stride,
                                                     size_t n) {
  for (size_t i = 0; i < pixels; i += 8) {
    const Columns8 block = transpose8(planes + i, plane_stride);
    const size_t count = pixels - i < 8 ? pixels - i : 8;
    for (size_t k = 0; k < count; ++k, y += y_stride) {
      const __m128i pair = block.pair[k / 2];
      store_narrow(y, k % 2 ? _mm_srli_si128(pair, 8) : pair, n);
    }
  }
}

// How many of `rows` rows of n bytes may be read 8 bytes wide without leaving the last row.
[[maybe_unused]] static inline size_t rows_readable_wide(size_t rows, size_t n, ptrdiff_t stride) {
  if (n >= 8) return rows;
  const size_t step = static_cast<size_t>(stride), back = (8 - n + step - 1) / step;
  return rows > back ? rows - back : 0;
}

}  // namespace lightkern
