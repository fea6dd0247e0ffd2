// What several ops share on AVX2: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from <isa>.cc files of this level and of
// those above alone.
#pragma once

#include <immintrin.h>

#include "kernels/fit.h"
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
  __m256i lo8, hi8;      // the limits themselves, memory domain
};

[[maybe_unused]] static inline ByteClamp load_byte_clamp(const Clamp& clamp) {
  const int32_t lo = static_cast<int32_t>(clamp.lo) + clamp.zero_point;
  const int32_t hi = static_cast<int32_t>(clamp.hi) + clamp.zero_point;
  return {_mm256_set1_ps(clamp.hi), _mm256_set1_epi16(static_cast<int16_t>(clamp.zero_point)),
          _mm256_set1_epi8(static_cast<char>(lo)), _mm256_set1_epi8(static_cast<char>(hi))};
}

// 8 accumulators, scaled, limited above and rounded; the rest is left to pack_bytes.
[[maybe_unused]] static inline __m256i scale_round8(__m256i acc, __m256 multiplier,
                                                    const ByteClamp& clamp) {
  return _mm256_cvtps_epi32(
      _mm256_min_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier), clamp.hi));
}

// The same where the packer has proved that no product reaches 2^31: the upper limit may then come
// last too, min(pack_bytes(...), hi8). On Zen the float minimum and both conversions share two
// ports.
[[maybe_unused]] static inline __m256i scale_round8_proved(__m256i acc, __m256 multiplier) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier));
}

// Four results of scale_round8 to 32 bytes; each half holds four of a, four of b, of c, of d.
[[maybe_unused]] static inline __m256i pack_bytes(__m256i a, __m256i b, __m256i c, __m256i d,
                                                  const ByteClamp& clamp) {
  const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), clamp.zero_point16);
  const __m256i cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), clamp.zero_point16);
  return _mm256_max_epu8(_mm256_packus_epi16(ab, cd), clamp.lo8);
}

// --- elementwise on 32 bytes
// --------------------------------------------------------------------------------------

// 32 bytes as real values relative to a zero point, in the order that pack_bytes takes. `bias` is
// 2^23 + zero_point in float: the bytes become the low bits of floats in [2^23, 2^23 + 255], and
// the difference is exact.
struct Floats32 {
  __m256 v[4];
};
[[maybe_unused]] static inline Floats32 center32(__m256i bytes, __m256 bias) {
  const __m256i zero = _mm256_setzero_si256(), exponent = _mm256_set1_epi16(0x4B00);
  const __m256i lo = _mm256_unpacklo_epi8(bytes, zero), hi = _mm256_unpackhi_epi8(bytes, zero);
  const auto real = [&](__m256i bits) { return _mm256_sub_ps(_mm256_castsi256_ps(bits), bias); };
  return {{real(_mm256_unpacklo_epi16(lo, exponent)), real(_mm256_unpackhi_epi16(lo, exponent)),
           real(_mm256_unpacklo_epi16(hi, exponent)), real(_mm256_unpackhi_epi16(hi, exponent))}};
}
[[maybe_unused]] static inline __m256 center_bias(int32_t zero_point) {
  return _mm256_set1_ps(8388608.0f + static_cast<float>(zero_point));
}

// Four vectors of real values to 32 bytes: limits, rounding, zero point.
[[maybe_unused]] static inline __m256i finish32(const Floats32& t, const ByteClamp& clamp) {
  const auto round = [&](__m256 v) { return _mm256_cvtps_epi32(_mm256_min_ps(v, clamp.hi)); };
  return pack_bytes(round(t.v[0]), round(t.v[1]), round(t.v[2]), round(t.v[3]), clamp);
}

// AddParams in registers.
struct AddVec {
  __m256 ma, mb, bias_a, bias_b;
  ByteClamp clamp;
};
[[maybe_unused]] static inline AddVec load_add(const AddParams& p) {
  return {_mm256_set1_ps(p.ma), _mm256_set1_ps(p.mb), center_bias(p.za), center_bias(p.zb),
          load_byte_clamp(p.clamp)};
}
[[maybe_unused]] static inline __m256i add32(__m256i a, __m256i b, const AddVec& p) {
  const Floats32 va = center32(a, p.bias_a), vb = center32(b, p.bias_b);
  Floats32 t;
  for (int i = 0; i < 4; ++i) {
    t.v[i] = _mm256_add_ps(_mm256_mul_ps(va.v[i], p.ma), _mm256_mul_ps(vb.v[i], p.mb));
  }
  return finish32(t, p.clamp);
}

// A table of 256 bytes for lookup32: its fit, or 16 chunks of 16, of which pshufb takes one with
// the low 4 bits of an index. Odd chunks hold the difference (by XOR) to the one before.
struct TableVec {
  const TableFit* fit;
  __m128i chunk[16];
};
[[maybe_unused]] static inline TableVec load_table(const Act* table, const TableFit* fit) {
  TableVec t;
  t.fit = fit;
  if (fit) return t;
  for (int k = 0; k < 16; ++k)
    t.chunk[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * k));
  for (int k = 1; k < 16; k += 2) t.chunk[k] = _mm_xor_si128(t.chunk[k], t.chunk[k - 1]);
  return t;
}

// 21 instructions, and 4 for each fix.
[[maybe_unused]] static inline __m256i evaluate32(__m256i x, const TableFit& fit) {
  const auto load = [](const void* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  };
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i lo = _mm256_and_si256(x, nibble),
                hi = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);
  const __m256i bulge =
      _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_setr_epi8(0, 14, 26, 36, 44, 50, 54, 56,
                                                                    56, 54, 50, 44, 36, 26, 14, 0)),
                          lo);
  const auto chosen = [&](const void* p) { return _mm256_shuffle_epi8(load(p), hi); };
  const __m256i slope = chosen(fit.slope), bend = chosen(fit.bend),
                start_low = chosen(fit.start_low), start_high = chosen(fit.start_high);
  const __m256i scale = _mm256_set1_epi16(static_cast<int16_t>(fit.scale));
  const auto line = [&](__m256i at, __m256i factors, __m256i start) {
    return _mm256_mulhi_epu16(_mm256_add_epi16(_mm256_maddubs_epi16(at, factors), start), scale);
  };
  __m256i y =
      _mm256_packus_epi16(line(_mm256_unpacklo_epi8(lo, bulge), _mm256_unpacklo_epi8(slope, bend),
                               _mm256_unpacklo_epi8(start_low, start_high)),
                          line(_mm256_unpackhi_epi8(lo, bulge), _mm256_unpackhi_epi8(slope, bend),
                               _mm256_unpackhi_epi8(start_low, start_high)));
  for (int i = 0; i < fit.fixes; ++i) {
    // Negative, which pshufb turns to 0, in other chunks.
    const __m256i at =
        _mm256_adds_epu8(_mm256_xor_si256(x, _mm256_set1_epi8(static_cast<char>(fit.fix[i].first))),
                         _mm256_set1_epi8(0x70));
    y = _mm256_xor_si256(y, _mm256_shuffle_epi8(load(fit.fix[i].value), at));
  }
  return y;
}

// Without a fit the high bits of an index select: bit 4 whether the difference of an odd chunk is
// added (pshufb gives 0 where an index is negative), bits 5 to 7 by blending. XOR goes to more
// ports than blending, so all by blending is slower, and adding up 16 differences takes 10
// instructions more.
[[maybe_unused]] static inline __m256i lookup32(__m256i x, const TableVec& t) {
  if (t.fit) return evaluate32(x, *t.fit);
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

[[maybe_unused]] static inline __m256i load32(const Act* x) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
}
[[maybe_unused]] static inline void store32(Act* y, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), v);
}
[[maybe_unused]] static inline __m256i load8(const Act* x) {
  return _mm256_castsi128_si256(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}
[[maybe_unused]] static inline void store8(Act* y, __m256i v) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(v));
}

// Walks a row of n bytes: `wide(i)` does 32 from i on, `narrow(i)` 8, `one(i)` 1. Where `again`
// allows an element to be computed twice (the output is none of the inputs), the last vector
// overlaps the one before it.
template <class Wide, class Narrow, class One>
[[maybe_unused]] static inline void walk_row(size_t n, bool again, Wide wide, Narrow narrow,
                                             One one) {
  size_t i = 0;
  for (; i + 32 <= n; i += 32) wide(i);
  if (again && n >= 32) {
    if (i < n) wide(n - 32);
    return;
  }
  for (; i + 8 <= n; i += 8) narrow(i);
  if (again && n >= 8) {
    if (i < n) narrow(n - 8);
    return;
  }
  for (; i < n; ++i) one(i);
}

// A row of n bytes through a table, maybe in place. The last vector overlaps the one before: it is
// read before anything is written, and written last.
[[maybe_unused]] static inline void lookup_row(const Act* x, Act* y, size_t n, const TableVec& vec,
                                               const Act* table) {
  if (n >= 32) {
    const __m256i last = lookup32(load32(x + n - 32), vec);
    for (size_t i = 0; i + 32 < n; i += 32) store32(y + i, lookup32(load32(x + i), vec));
    store32(y + n - 32, last);
  } else if (n >= 16) {
    const auto half = [](const Act* p) { return reinterpret_cast<const __m128i*>(p); };
    const __m256i both = lookup32(_mm256_loadu2_m128i(half(x + n - 16), half(x)), vec);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(both));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + n - 16), _mm256_extracti128_si256(both, 1));
  } else if (n >= 8) {
    const __m256i both = lookup32(_mm256_unpacklo_epi64(load8(x), load8(x + n - 8)), vec);
    store8(y, both);
    store8(y + n - 8, _mm256_unpackhi_epi64(both, both));
  } else {
    for (size_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }
}

// Rows of n bytes through a table, to other rows.
[[maybe_unused]] static inline void lookup_rows(const Act* x, ptrdiff_t x_stride, Act* y,
                                                ptrdiff_t y_stride, size_t rows, size_t n,
                                                const TableVec& vec, const Act* table) {
  for (; rows > 0; --rows, x += x_stride, y += y_stride) {
    if (n < 32) {
      lookup_row(x, y, n, vec, table);
      continue;
    }
    for (size_t i = 0; i < n; i += 32) {  // the last vector overlaps the one before
      const size_t at = i + 32 <= n ? i : n - 32;
      store32(y + at, lookup32(load32(x + at), vec));
    }
  }
}

// n bytes through a table, in place; few of them are not worth a TableVec.
[[maybe_unused]] static inline void apply_table(Act* y, size_t n, const Act* table,
                                                const TableFit* fit) {
  if (n >= 64) return lookup_row(y, y, n, load_table(table, fit), table);
  for (size_t i = 0; i < n; ++i) y[i] = table[y[i]];
}

// The tail of the epilogue over a row of n values just written: table, then residual (null: none).
[[maybe_unused]] static inline void apply_tail_row(Act* y, const Act* residual, int n,
                                                   const Epilogue& e) {
  if (e.table) apply_table(y, static_cast<size_t>(n), e.table, e.fit);
  if (!residual) return;
  const AddVec p = load_add(e.add);
  walk_row(
      static_cast<size_t>(n), false,
      [&](size_t i) { store32(y + i, add32(load32(y + i), load32(residual + i), p)); },
      [&](size_t i) { store8(y + i, add32(load8(y + i), load8(residual + i), p)); },
      [&](size_t i) { y[i] = requantize_add(y[i], residual[i], e.add); });
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
