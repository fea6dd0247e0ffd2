// What several ops share on SSE4.1: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from <isa>.cc files of this level alone.
#pragma once

#include <smmintrin.h>

#include "kernels/fit.h"
#include "kernels/requant.h"
#include "kernels/simd/x86.h"

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

// --- elementwise on 16 bytes: simd/avx2.h explains
// -----------------------------------------------------------------

// The upper limit comes before the conversion, which turns a great float into INT_MIN; the lower
// one last, on bytes.
struct ByteClamp {
  __m128 hi;
  __m128i zero_point16;  // 16-bit lanes
  __m128i lo8, hi8;      // the limits themselves, memory domain
};
[[maybe_unused]] static inline ByteClamp load_byte_clamp(const Clamp& clamp) {
  const int32_t lo = static_cast<int32_t>(clamp.lo) + clamp.zero_point;
  const int32_t hi = static_cast<int32_t>(clamp.hi) + clamp.zero_point;
  return {_mm_set1_ps(clamp.hi), _mm_set1_epi16(static_cast<int16_t>(clamp.zero_point)),
          _mm_set1_epi8(static_cast<char>(lo)), _mm_set1_epi8(static_cast<char>(hi))};
}

// 4 real values limited above and rounded; 4 accumulators scaled first.
[[maybe_unused]] static inline __m128i round4(__m128 t, const ByteClamp& clamp) {
  return _mm_cvtps_epi32(_mm_min_ps(t, clamp.hi));
}
[[maybe_unused]] static inline __m128i scale_round4(__m128i acc, __m128 multiplier,
                                                    const ByteClamp& clamp) {
  return round4(_mm_mul_ps(_mm_cvtepi32_ps(acc), multiplier), clamp);
}

// The same where the packer has proved that no product reaches 2^31: simd/avx2.h explains.
[[maybe_unused]] static inline __m128i scale_round4_proved(__m128i acc, __m128 multiplier) {
  return _mm_cvtps_epi32(_mm_mul_ps(_mm_cvtepi32_ps(acc), multiplier));
}

// Four results of round4 to 16 bytes in order.
[[maybe_unused]] static inline __m128i pack_bytes(__m128i a, __m128i b, __m128i c, __m128i d,
                                                  const ByteClamp& clamp) {
  const __m128i ab = _mm_adds_epi16(_mm_packs_epi32(a, b), clamp.zero_point16);
  const __m128i cd = _mm_adds_epi16(_mm_packs_epi32(c, d), clamp.zero_point16);
  return _mm_max_epu8(_mm_packus_epi16(ab, cd), clamp.lo8);
}

struct Floats16 {
  __m128 v[4];
};
[[maybe_unused]] static inline Floats16 center16(__m128i bytes, __m128 bias) {
  const __m128i zero = _mm_setzero_si128(), exponent = _mm_set1_epi16(0x4B00);
  const __m128i lo = _mm_unpacklo_epi8(bytes, zero), hi = _mm_unpackhi_epi8(bytes, zero);
  const auto real = [&](__m128i bits) { return _mm_sub_ps(_mm_castsi128_ps(bits), bias); };
  return {{real(_mm_unpacklo_epi16(lo, exponent)), real(_mm_unpackhi_epi16(lo, exponent)),
           real(_mm_unpacklo_epi16(hi, exponent)), real(_mm_unpackhi_epi16(hi, exponent))}};
}
[[maybe_unused]] static inline __m128 center_bias(int32_t zero_point) {
  return _mm_set1_ps(8388608.0f + static_cast<float>(zero_point));
}

// AddParams in registers.
struct AddVec {
  __m128 ma, mb, bias_a, bias_b;
  ByteClamp clamp;
};
[[maybe_unused]] static inline AddVec load_add(const AddParams& p) {
  return {_mm_set1_ps(p.ma), _mm_set1_ps(p.mb), center_bias(p.za), center_bias(p.zb),
          load_byte_clamp(p.clamp)};
}
[[maybe_unused]] static inline __m128i add16(__m128i a, __m128i b, const AddVec& p) {
  const Floats16 va = center16(a, p.bias_a), vb = center16(b, p.bias_b);
  __m128i t[4];
  for (int i = 0; i < 4; ++i) {
    t[i] = round4(_mm_add_ps(_mm_mul_ps(va.v[i], p.ma), _mm_mul_ps(vb.v[i], p.mb)), p.clamp);
  }
  return pack_bytes(t[0], t[1], t[2], t[3], p.clamp);
}

// A table of 256 bytes for lookup16: its fit, or chunks of 16, each the difference (by XOR) to the
// one before within its half.
struct TableVec {
  const TableFit* fit;
  __m128i chunk[16];
};
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

// 21 instructions, and 4 for each fix.
[[maybe_unused]] static inline __m128i evaluate16(__m128i x, const TableFit& fit) {
  const auto load = [](const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); };
  const __m128i nibble = _mm_set1_epi8(15);
  const __m128i lo = _mm_and_si128(x, nibble), hi = _mm_and_si128(_mm_srli_epi16(x, 4), nibble);
  const __m128i bulge = _mm_shuffle_epi8(
      _mm_setr_epi8(0, 14, 26, 36, 44, 50, 54, 56, 56, 54, 50, 44, 36, 26, 14, 0), lo);
  const auto chosen = [&](const void* p) { return _mm_shuffle_epi8(load(p), hi); };
  const __m128i slope = chosen(fit.slope), bend = chosen(fit.bend),
                start_low = chosen(fit.start_low), start_high = chosen(fit.start_high);
  const __m128i scale = _mm_set1_epi16(static_cast<int16_t>(fit.scale));
  const auto line = [&](__m128i at, __m128i factors, __m128i start) {
    return _mm_mulhi_epu16(_mm_add_epi16(_mm_maddubs_epi16(at, factors), start), scale);
  };
  __m128i y = _mm_packus_epi16(line(_mm_unpacklo_epi8(lo, bulge), _mm_unpacklo_epi8(slope, bend),
                                    _mm_unpacklo_epi8(start_low, start_high)),
                               line(_mm_unpackhi_epi8(lo, bulge), _mm_unpackhi_epi8(slope, bend),
                                    _mm_unpackhi_epi8(start_low, start_high)));
  for (int i = 0; i < fit.fixes; ++i) {
    // Negative, which pshufb turns to 0, in other chunks.
    const __m128i at = _mm_adds_epu8(
        _mm_xor_si128(x, _mm_set1_epi8(static_cast<char>(fit.fix[i].first))), _mm_set1_epi8(0x70));
    y = _mm_xor_si128(y, _mm_shuffle_epi8(load(fit.fix[i].value), at));
  }
  return y;
}

[[maybe_unused]] static inline __m128i lookup16(__m128i x, const TableVec& t) {
  if (t.fit) return evaluate16(x, *t.fit);
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

// Walks a row of n bytes: `wide(i)` does 16 from i on, `narrow(i)` 8, `one(i)` 1. Where `again`
// allows an element to be computed twice (the output is none of the inputs), the last vector
// overlaps the one before it.
template <class Wide, class Narrow, class One>
[[maybe_unused]] static inline void walk_row(size_t n, bool again, Wide wide, Narrow narrow,
                                             One one) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) wide(i);
  if (again && n >= 16) {
    if (i < n) wide(n - 16);
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
  if (n >= 16) {
    const __m128i last = lookup16(load16(x + n - 16), vec);
    for (size_t i = 0; i + 16 < n; i += 16) store16(y + i, lookup16(load16(x + i), vec));
    store16(y + n - 16, last);
  } else if (n >= 8) {
    const __m128i both = lookup16(_mm_unpacklo_epi64(load_half(x), load_half(x + n - 8)), vec);
    store_half(y, both);
    store_half(y + n - 8, _mm_unpackhi_epi64(both, both));
  } else {
    for (size_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }
}

// Rows of n bytes through a table, to other rows.
[[maybe_unused]] static inline void lookup_rows(const Act* x, ptrdiff_t x_stride, Act* y,
                                                ptrdiff_t y_stride, size_t rows, size_t n,
                                                const TableVec& vec, const Act* table) {
  for (; rows > 0; --rows, x += x_stride, y += y_stride) {
    if (n < 16) {
      lookup_row(x, y, n, vec, table);
      continue;
    }
    for (size_t i = 0; i < n; i += 16) {  // the last vector overlaps the one before
      const size_t at = i + 16 <= n ? i : n - 16;
      store16(y + at, lookup16(load16(x + at), vec));
    }
  }
}

// n bytes through a table, in place; few of them are not worth a TableVec.
[[maybe_unused]] static inline void apply_table(Act* y, size_t n, const Act* table,
                                                const TableFit* fit) {
  if (n >= 32) return lookup_row(y, y, n, load_table(table, fit), table);
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
      [&](size_t i) { store16(y + i, add16(load16(y + i), load16(residual + i), p)); },
      [&](size_t i) { store_half(y + i, add16(load_half(y + i), load_half(residual + i), p)); },
      [&](size_t i) { y[i] = requantize_add(y[i], residual[i], e.add); });
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
