// What several ops share on AVX2: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from <isa>.cc files of this level and of
// those above alone. x86.inc holds what does not depend on the width. On avx512vnni tables are
// looked up by vpermi2b: vbmi.inc, under the same names.
#pragma once

#include <immintrin.h>

#include "kernels/fit.h"
#include "kernels/operands.h"
#include "kernels/requant.h"
#include "kernels/simd/x86.h"

namespace lightkern {

#define MM(name) _mm256_##name
using Bytes = __m256i;
using Floats = __m256;
constexpr size_t kBytes = 32;

[[maybe_unused]] static inline Bytes load_bytes(const Act* x) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
}
[[maybe_unused]] static inline void store_bytes(Act* y, Bytes v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), v);
}
[[maybe_unused]] static inline Bytes load8(const Act* x) {
  return _mm256_castsi128_si256(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}
[[maybe_unused]] static inline void store8(Act* y, Bytes v) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(v));
}
[[maybe_unused]] static inline Bytes repeat16(__m128i v) { return _mm256_broadcastsi128_si256(v); }
[[maybe_unused]] static inline Floats as_floats(Bytes v) { return _mm256_castsi256_ps(v); }

// The flags of avx512vnni say so; its emulated build says it with a name of its own.
#if defined(__AVX512VBMI__) || defined(LIGHTKERN_EMULATED_avx512vnni)
#define LIGHTKERN_VBMI
struct TableVec {
  __m512i half[2][2];
};
using Indices = __m512i;
constexpr size_t kWorthTable = 8;  // bytes
#else
using TableVec = TableChunks;
using Indices = Bytes;
constexpr size_t kWorthTable = 64;
#endif

#include "kernels/simd/x86.inc"

[[maybe_unused]] static inline __m256i requantize8(__m256i acc, __m256 multiplier,
                                                   const ClampVec& clamp) {
  return finish(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier), clamp);
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

#ifdef LIGHTKERN_VBMI
#include "kernels/simd/vbmi.inc"
#else
// Odd chunks hold the difference (by XOR) to the one before.
[[maybe_unused]] static inline TableVec load_table(const Act* table, const TableFit* fit) {
  TableVec t;
  t.fit = fit;
  if (fit) return t;
  for (int k = 0; k < 16; ++k)
    t.chunk[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * k));
  for (int k = 1; k < 16; k += 2) t.chunk[k] = _mm_xor_si128(t.chunk[k], t.chunk[k - 1]);
  return t;
}

// Without a fit the high bits of an index select: bit 4 whether the difference of an odd chunk is
// added (pshufb gives 0 where an index is negative), bits 5 to 7 by blending. XOR goes to more
// ports than blending, so all by blending is slower, and adding up 16 differences takes 10
// instructions more.
[[maybe_unused]] static inline Bytes lookup(__m256i x, const TableVec& t) {
  if (t.fit) return evaluate(x, *t.fit);
  // Hidden, since GCC 12 otherwise broadcasts all chunks to the stack first.
  const __m128i* chunk = t.chunk;
  __asm__("" : "+r"(chunk) : : "memory");
  const __m256i top = _mm256_set1_epi8(-128);
  const __m256i bit6 = _mm256_add_epi8(x, x), bit5 = _mm256_add_epi8(bit6, bit6),
                bit4 = _mm256_add_epi8(bit5, bit5);
  const __m256i even = _mm256_and_si256(x, _mm256_set1_epi8(15));
  const __m256i odd = _mm256_or_si256(even, _mm256_andnot_si256(bit4, top));
  const auto take = [&](int k, __m256i index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(chunk[k]), index);
  };
  const auto two = [&](int k) { return _mm256_xor_si256(take(k, even), take(k + 1, odd)); };
  const auto four = [&](int k) { return _mm256_blendv_epi8(two(k), two(k + 2), bit5); };
  const auto eight = [&](int k) { return _mm256_blendv_epi8(four(k), four(k + 4), bit6); };
  return _mm256_blendv_epi8(eight(0), eight(8), x);
}

[[maybe_unused]] static inline void add_residual(Act* y, ptrdiff_t stride, const Act* residual,
                                                 size_t rows, size_t n, const Epilogue& e) {
  add_residual_by_vectors(y, stride, residual, rows, n, e);
}
#endif

[[maybe_unused]] static inline void lookup_short(const Act* x, Act* y, size_t n,
                                                 const TableVec& vec, const Act* table) {
  if (n >= 32) {  // of Indices of 64
    const __m256i last = lookup(load_bytes(x + n - 32), vec);
    store_bytes(y, lookup(load_bytes(x), vec));
    store_bytes(y + n - 32, last);
  } else if (n >= 16) {
    const auto half = [](const Act* p) { return reinterpret_cast<const __m128i*>(p); };
    const __m256i both = lookup(_mm256_loadu2_m128i(half(x + n - 16), half(x)), vec);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(both));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + n - 16), _mm256_extracti128_si256(both, 1));
  } else if (n >= 8) {
    const __m256i both = lookup(_mm256_unpacklo_epi64(load8(x), load8(x + n - 8)), vec);
    store8(y, both);
    store8(y + n - 8, _mm256_unpackhi_epi64(both, both));
  } else {
    for (size_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }
}

}  // namespace lightkern
