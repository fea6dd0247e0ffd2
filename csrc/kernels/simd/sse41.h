// What several ops share on SSE4.1: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from <isa>.cc files of this level alone.
// x86.inc holds what does not depend on the width.
#pragma once

#include <smmintrin.h>

#include "kernels/fit.h"
#include "kernels/operands.h"
#include "kernels/requant.h"
#include "kernels/simd/x86.h"

namespace lightkern {

#define MM(name) _mm_##name
using Bytes = __m128i;
using Floats = __m128;
constexpr size_t kBytes = 16;

[[maybe_unused]] static inline Bytes load_bytes(const Act* x) { return load16(x); }
[[maybe_unused]] static inline void store_bytes(Act* y, Bytes v) { store16(y, v); }
[[maybe_unused]] static inline Bytes load8(const Act* x) { return load_half(x); }
[[maybe_unused]] static inline void store8(Act* y, Bytes v) { store_half(y, v); }
[[maybe_unused]] static inline Bytes repeat16(__m128i v) { return v; }
[[maybe_unused]] static inline Floats as_floats(Bytes v) { return _mm_castsi128_ps(v); }

using TableVec = TableChunks;
using Indices = Bytes;
constexpr size_t kWorthTable = 32;  // bytes

#include "kernels/simd/x86.inc"

[[maybe_unused]] static inline __m128i requantize4(__m128i acc, __m128 multiplier,
                                                   const ClampVec& clamp) {
  return finish(_mm_mul_ps(_mm_cvtepi32_ps(acc), multiplier), clamp);
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

// Each chunk holds the difference (by XOR) to the one before within its half.
[[maybe_unused]] static inline TableVec load_table(const Act* table, const TableFit* fit) {
  TableVec t;
  t.fit = fit;
  if (fit) return t;
  for (int k = 0; k < 16; ++k) t.chunk[k] = load16(table + 16 * k);
  for (int k = 15; k > 0; --k) {
    if (k != 8) t.chunk[k] = _mm_xor_si128(t.chunk[k], t.chunk[k - 1]);
  }
  return t;
}

[[maybe_unused]] static inline Bytes lookup(__m128i x, const TableVec& t) {
  if (t.fit) return evaluate(x, *t.fit);
  const __m128i step = _mm_set1_epi8(16);
  __m128i low = x, high = _mm_xor_si128(x, _mm_set1_epi8(-128));
  __m128i y = _mm_setzero_si128(), z = y;
  for (int k = 0; k < 8; ++k) {
    y = _mm_xor_si128(y, _mm_shuffle_epi8(t.chunk[k], low));
    z = _mm_xor_si128(z, _mm_shuffle_epi8(t.chunk[k + 8], high));
    low = _mm_subs_epi8(low, step);  // saturating: what is negative stays so
    high = _mm_subs_epi8(high, step);
  }
  return _mm_xor_si128(y, z);
}

[[maybe_unused]] static inline void lookup_short(const Act* x, Act* y, size_t n,
                                                 const TableVec& vec, const Act* table) {
  if (n >= 8) {
    const __m128i both = lookup(_mm_unpacklo_epi64(load8(x), load8(x + n - 8)), vec);
    store8(y, both);
    store8(y + n - 8, _mm_unpackhi_epi64(both, both));
  } else {
    for (size_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }
}

[[maybe_unused]] static inline void add_residual(Act* y, ptrdiff_t stride, const Act* residual,
                                                 size_t rows, size_t n, const Epilogue& e) {
  add_residual_by_vectors(y, stride, residual, rows, n, e);
}

}  // namespace lightkern
