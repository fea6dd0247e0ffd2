// What several ops share on SSE4.1: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from <isa>.cc files of this level alone.
#pragma once

#include <smmintrin.h>

#include "kernels/requant.h"

namespace lightkern {

// A Clamp in registers.
struct ClampVec {
  __m128 lo, hi;
  __m128i zero_point;
};

[[maybe_unused]] static inline ClampVec load_clamp(const Clamp& clamp) {
  return {_mm_set1_ps(clamp.lo), _mm_set1_ps(clamp.hi), _mm_set1_epi32(clamp.zero_point)};
}

// Real values to 4 results as int32, within [0, 255]. The conversion rounds half to even (MXCSR's
// default).
[[maybe_unused]] static inline __m128i finish4(__m128 t, const ClampVec& clamp) {
  t = _mm_min_ps(_mm_max_ps(t, clamp.lo), clamp.hi);
  return _mm_add_epi32(_mm_cvtps_epi32(t), clamp.zero_point);
}

[[maybe_unused]] static inline __m128i requantize4(__m128i acc, __m128 multiplier,
                                                   const ClampVec& clamp) {
  return finish4(_mm_mul_ps(_mm_cvtepi32_ps(acc), multiplier), clamp);
}

// Four vectors of 4 values within [0, 255] to 16 bytes in order.
[[maybe_unused]] static inline __m128i pack16(__m128i a, __m128i b, __m128i c, __m128i d) {
  return _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
}

// 4 values within [0, 255] to 4 bytes.
[[maybe_unused]] static inline void store4(Act* y, __m128i a) {
  const __m128i words = _mm_packs_epi32(a, a);
  const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  std::memcpy(y, &bytes, 4);
}

[[maybe_unused]] static inline __m128 widen4(const Act* x, __m128i zero_point) {
  int32_t bytes;
  std::memcpy(&bytes, x, 4);
  return _mm_cvtepi32_ps(_mm_sub_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)), zero_point));
}

// The tail of the epilogue over a row of n values just written: table, then residual (null: none).
[[maybe_unused]] static inline void apply_tail_row(Act* y, const Act* residual, int n,
                                                   const Epilogue& e) {
  if (e.table) {
    for (int i = 0; i < n; ++i) y[i] = e.table[y[i]];
  }
  if (!residual) return;
  const ClampVec clamp = load_clamp(e.add.clamp);
  const __m128 ma = _mm_set1_ps(e.add.ma), mb = _mm_set1_ps(e.add.mb);
  const __m128i za = _mm_set1_epi32(e.add.za), zb = _mm_set1_epi32(e.add.zb);
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m128 ta = _mm_mul_ps(widen4(y + i, za), ma);
    const __m128 tb = _mm_mul_ps(widen4(residual + i, zb), mb);
    store4(y + i, finish4(_mm_add_ps(ta, tb), clamp));
  }
  for (; i < n; ++i) y[i] = requantize_add(y[i], residual[i], e.add);
}

// Epilogue over a row of n accumulators in memory.
[[maybe_unused]] static inline void requantize_row(const int32_t* acc, const float* multiplier,
                                                   int n, const Epilogue& e, const Act* residual,
                                                   Act* y) {
  const ClampVec clamp = load_clamp(e.clamp);
  const auto four = [&](int i) {
    return requantize4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(acc + i)),
                       _mm_loadu_ps(multiplier + i), clamp);
  };
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i),
                     pack16(four(i), four(i + 4), four(i + 8), four(i + 12)));
  }
  for (; i + 4 <= n; i += 4) store4(y + i, four(i));
  for (; i < n; ++i) y[i] = requantize(acc[i], multiplier[i], e.clamp);
  if (e.table || residual) apply_tail_row(y, residual, n, e);
}

}  // namespace lightkern
