// What several ops share on AVX2: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from <isa>.cc files of this level alone.
#pragma once

#include <immintrin.h>

#include "kernels/requant.h"

namespace lightkern {

// A Clamp in registers.
struct ClampVec {
  __m256 lo, hi;
  __m256i zero_point;
};

[[maybe_unused]] static inline ClampVec load_clamp(const Clamp& clamp) {
  return {_mm256_set1_ps(clamp.lo), _mm256_set1_ps(clamp.hi), _mm256_set1_epi32(clamp.zero_point)};
}

// Real values to 8 results as int32, within [0, 255]. The conversion rounds half to even (MXCSR's
// default).
[[maybe_unused]] static inline __m256i finish8(__m256 t, const ClampVec& clamp) {
  t = _mm256_min_ps(_mm256_max_ps(t, clamp.lo), clamp.hi);
  return _mm256_add_epi32(_mm256_cvtps_epi32(t), clamp.zero_point);
}

[[maybe_unused]] static inline __m256i requantize8(__m256i acc, __m256 multiplier,
                                                   const ClampVec& clamp) {
  return finish8(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier), clamp);
}

// Four vectors of 8 values within [0, 255] to 32 bytes in order.
[[maybe_unused]] static inline __m256i pack32(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i words = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  return _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// 8 values within [0, 255] to 8 bytes, in the low half.
[[maybe_unused]] static inline __m128i pack8(__m256i a) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  return _mm_packus_epi16(words, words);
}

// The same with fewer instructions, for kernels that store bytes in any order. The upper limit must
// come before the conversion, which turns a great float into INT_MIN; the lower one may come last,
// on 32 bytes at once, since packing saturates on the way down.
struct ByteClamp {
  __m256 hi;
  __m256i zero_point16;  // 16-bit lanes
  __m256i lo8;           // the limit itself, memory domain
};

[[maybe_unused]] static inline ByteClamp load_byte_clamp(const Clamp& clamp) {
  const int32_t lo = static_cast<int32_t>(clamp.lo) + clamp.zero_point;
  return {_mm256_set1_ps(clamp.hi), _mm256_set1_epi16(static_cast<int16_t>(clamp.zero_point)),
          _mm256_set1_epi8(static_cast<char>(lo))};
}

// 8 accumulators, scaled, limited above and rounded; the rest is left to pack_bytes.
[[maybe_unused]] static inline __m256i scale_round8(__m256i acc, __m256 multiplier,
                                                    const ByteClamp& clamp) {
  return _mm256_cvtps_epi32(
      _mm256_min_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier), clamp.hi));
}

// Four results of scale_round8 to 32 bytes; each half holds four of a, four of b, of c, of d.
[[maybe_unused]] static inline __m256i pack_bytes(__m256i a, __m256i b, __m256i c, __m256i d,
                                                  const ByteClamp& clamp) {
  const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), clamp.zero_point16);
  const __m256i cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), clamp.zero_point16);
  return _mm256_max_epu8(_mm256_packus_epi16(ab, cd), clamp.lo8);
}

[[maybe_unused]] static inline __m256 widen8(const Act* x, __m256i zero_point) {
  const __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(v, zero_point));
}

// The tail of the epilogue over a row of n values just written: table, then residual (null: none).
[[maybe_unused]] static inline void apply_tail_row(Act* y, const Act* residual, int n,
                                                   const Epilogue& e) {
  if (e.table) {
    for (int i = 0; i < n; ++i) y[i] = e.table[y[i]];
  }
  if (!residual) return;
  const ClampVec clamp = load_clamp(e.add.clamp);
  const __m256 ma = _mm256_set1_ps(e.add.ma), mb = _mm256_set1_ps(e.add.mb);
  const __m256i za = _mm256_set1_epi32(e.add.za), zb = _mm256_set1_epi32(e.add.zb);
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 ta = _mm256_mul_ps(widen8(y + i, za), ma);
    const __m256 tb = _mm256_mul_ps(widen8(residual + i, zb), mb);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i),
                     pack8(finish8(_mm256_add_ps(ta, tb), clamp)));
  }
  for (; i < n; ++i) y[i] = requantize_add(y[i], residual[i], e.add);
}

// Epilogue over a row of n accumulators in memory.
[[maybe_unused]] static inline void requantize_row(const int32_t* acc, const float* multiplier,
                                                   int n, const Epilogue& e, const Act* residual,
                                                   Act* y) {
  const ClampVec clamp = load_clamp(e.clamp);
  const auto eight = [&](int i) {
    return requantize8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(acc + i)),
                       _mm256_loadu_ps(multiplier + i), clamp);
  };
  int i = 0;
  for (; i + 32 <= n; i += 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i),
                        pack32(eight(i), eight(i + 8), eight(i + 16), eight(i + 24)));
  }
  for (; i + 8 <= n; i += 8) _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i), pack8(eight(i)));
  for (; i < n; ++i) y[i] = requantize(acc[i], multiplier[i], e.clamp);
  if (e.table || residual) apply_tail_row(y, residual, n, e);
}

}  // namespace lightkern
