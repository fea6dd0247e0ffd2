// What several ops share on 64-bit NEON: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from neon.cc and neondot.cc files alone.
#pragma once

#include <arm_neon.h>

#include "kernels/operands.h"
#include "kernels/requant.h"

namespace lightkern {

using Bytes = int8x16_t;
constexpr size_t kBytes = 16;

[[maybe_unused]] static inline Bytes load_bytes(const Act* x) { return vld1q_s8(x); }
[[maybe_unused]] static inline void store_bytes(Act* y, Bytes v) { vst1q_s8(y, v); }
// 8 bytes as the lower half of 16; the upper half is zero and costs nothing.
[[maybe_unused]] static inline Bytes load8(const Act* x) {
  return vcombine_s8(vld1_s8(x), vdup_n_s8(0));
}
[[maybe_unused]] static inline void store8(Act* y, Bytes v) { vst1_s8(y, vget_low_s8(v)); }
[[maybe_unused]] static inline Bytes broadcast(Act value) { return vdupq_n_s8(value); }

#include "kernels/simd/rows.inc"

// A Clamp in registers.
struct ClampVec {
  float32x4_t lo, hi;
  int32x4_t zero_point;
};

[[maybe_unused]] static inline ClampVec load_clamp(const Clamp& clamp) {
  return {vdupq_n_f32(clamp.lo), vdupq_n_f32(clamp.hi), vdupq_n_s32(clamp.zero_point)};
}

// Real values to 4 results as int32, within int8. fcvtns rounds half to even.
[[maybe_unused]] static inline int32x4_t finish4(float32x4_t t, const ClampVec& clamp) {
  t = vminq_f32(vmaxq_f32(t, clamp.lo), clamp.hi);
  return vaddq_s32(vcvtnq_s32_f32(t), clamp.zero_point);
}

[[maybe_unused]] static inline int32x4_t requantize4(int32x4_t acc, float32x4_t multiplier,
                                                     const ClampVec& clamp) {
  return finish4(vmulq_f32(vcvtq_f32_s32(acc), multiplier), clamp);
}

// Vectors of 4 values within int8 to bytes in order.
[[maybe_unused]] static inline int8x8_t pack8(int32x4_t a, int32x4_t b) {
  return vmovn_s16(vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
}

[[maybe_unused]] static inline int8x16_t pack16(int32x4_t a, int32x4_t b, int32x4_t c,
                                                int32x4_t d) {
  const int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
  const int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(c), vreinterpretq_s16_s32(d));
  return vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high));
}

// 4 values within int8 to 4 bytes.
[[maybe_unused]] static inline void store4(Act* y, int32x4_t a) {
  const int32_t bytes = vget_lane_s32(vreinterpret_s32_s8(pack8(a, a)), 0);
  std::memcpy(y, &bytes, 4);
}

// The same with fewer instructions. Conversion and narrowing saturate, so that they keep the order
// of values and the limits may come last, on 16 bytes at once: for every real t that equals
// finish4.
struct ByteClamp {
  int16x8_t zero_point;
  int8x16_t lo, hi;  // the limits themselves, memory domain
};

[[maybe_unused]] static inline ByteClamp load_byte_clamp(const Clamp& clamp) {
  return {vdupq_n_s16(static_cast<int16_t>(clamp.zero_point)),
          vdupq_n_s8(static_cast<int8_t>(static_cast<int32_t>(clamp.lo) + clamp.zero_point)),
          vdupq_n_s8(static_cast<int8_t>(static_cast<int32_t>(clamp.hi) + clamp.zero_point))};
}

[[maybe_unused]] static inline int32x4_t scale_round4(int32x4_t acc, float32x4_t multiplier) {
  return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), multiplier));
}

[[maybe_unused]] static inline int8x16_t pack_bytes16(int32x4_t a, int32x4_t b, int32x4_t c,
                                                      int32x4_t d, const ByteClamp& clamp) {
  const int16x8_t low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), clamp.zero_point);
  const int16x8_t high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), clamp.zero_point);
  return vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), clamp.lo), clamp.hi);
}

[[maybe_unused]] static inline int8x8_t pack_bytes8(int32x4_t a, int32x4_t b,
                                                    const ByteClamp& clamp) {
  const int8x8_t bytes =
      vqmovn_s16(vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), clamp.zero_point));
  return vmin_s8(vmax_s8(bytes, vget_low_s8(clamp.lo)), vget_low_s8(clamp.hi));
}

// How real values become bytes. kLimits: as above. The others are for values that are known to fit
// 16 bits and a range that is that of a byte: adding 1.5 * 2^23 and an even zero point leaves no
// fraction bits and rounds ties to even results; the lower 16 bits are the result, and narrowing
// clamps it. The last 1 of an odd zero point comes afterwards (kOdd).
enum class Last { kEven, kOdd, kLimits };

struct Output {
  ByteClamp clamp;
  float32x4_t rounding;
  Last last;
};

// `fits16`: whatever the inputs, values are below 32000 before they are rounded.
[[maybe_unused]] static inline Output load_output(const Clamp& clamp, bool fits16) {
  const ByteClamp bytes = load_byte_clamp(clamp);
  const int32_t odd = clamp.zero_point & 1;
  const bool whole =
      vgetq_lane_s8(bytes.lo, 0) == INT8_MIN && vgetq_lane_s8(bytes.hi, 0) == INT8_MAX;
  const Last last = !whole || !fits16 ? Last::kLimits : odd ? Last::kOdd : Last::kEven;
  return {bytes, vdupq_n_f32(12582912.0f + static_cast<float>(clamp.zero_point - odd)), last};
}

template <Last last>
[[maybe_unused]] static inline int16x8_t round_halves(float32x4_t a, float32x4_t b,
                                                      const Output& to) {
  const int16x8_t halves = vuzp1q_s16(vreinterpretq_s16_f32(vaddq_f32(a, to.rounding)),
                                      vreinterpretq_s16_f32(vaddq_f32(b, to.rounding)));
  return last == Last::kOdd ? vaddq_s16(halves, vdupq_n_s16(1)) : halves;
}

template <Last last>
[[maybe_unused]] static inline int8x8_t to_bytes8(float32x4_t a, float32x4_t b, const Output& to) {
  if (last == Last::kLimits) return pack_bytes8(vcvtnq_s32_f32(a), vcvtnq_s32_f32(b), to.clamp);
  return vqmovn_s16(round_halves<last>(a, b, to));
}

template <Last last>
[[maybe_unused]] static inline int8x16_t to_bytes16(float32x4_t a, float32x4_t b, float32x4_t c,
                                                    float32x4_t d, const Output& to) {
  if (last == Last::kLimits) {
    return pack_bytes16(vcvtnq_s32_f32(a), vcvtnq_s32_f32(b), vcvtnq_s32_f32(c), vcvtnq_s32_f32(d),
                        to.clamp);
  }
  return vqmovn_high_s16(vqmovn_s16(round_halves<last>(a, b, to)), round_halves<last>(c, d, to));
}

// The first n of 16 bytes, 1 <= n <= 16.
[[maybe_unused]] static inline void store_first(Act* y, int8x16_t bytes, int n) {
  if (n == 16) return vst1q_s8(y, bytes);
  if (n & 8) {
    vst1_s8(y, vget_low_s8(bytes));
    bytes = vextq_s8(bytes, bytes, 8);
    y += 8;
  }
  uint64_t rest = vgetq_lane_u64(vreinterpretq_u64_s8(bytes), 0);
  for (int part = 4; part > 0; part /= 2) {
    if (!(n & part)) continue;
    std::memcpy(y, &rest, static_cast<size_t>(part));
    rest >>= 8 * part;
    y += part;
  }
}

// --- elementwise on 16 bytes ---------------------------------------------------------------------

struct Floats16 {
  float32x4_t v[4];
};

// 16 bytes less their zero point, which is exact, as real values.
[[maybe_unused]] static inline Floats16 center16(int8x16_t bytes, int8x8_t zero_point) {
  const int16x8_t low = vsubl_s8(vget_low_s8(bytes), zero_point);
  const int16x8_t high = vsubl_s8(vget_high_s8(bytes), zero_point);
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
}

[[maybe_unused]] static inline int8x16_t finish16(const Floats16& t, const ByteClamp& clamp) {
  return pack_bytes16(vcvtnq_s32_f32(t.v[0]), vcvtnq_s32_f32(t.v[1]), vcvtnq_s32_f32(t.v[2]),
                      vcvtnq_s32_f32(t.v[3]), clamp);
}

// AddParams in registers.
struct AddVec {
  float32x4_t ma, mb;
  int8x8_t za, zb;
  ByteClamp clamp;
};

[[maybe_unused]] static inline AddVec load_add(const AddParams& p) {
  return {vdupq_n_f32(p.ma), vdupq_n_f32(p.mb), vdup_n_s8(static_cast<int8_t>(p.za)),
          vdup_n_s8(static_cast<int8_t>(p.zb)), load_byte_clamp(p.clamp)};
}

[[maybe_unused]] static inline int8x16_t add16(int8x16_t a, int8x16_t b, const AddVec& p) {
  Floats16 t = center16(a, p.za);
  const Floats16 other = center16(b, p.zb);
  for (int i = 0; i < 4; ++i) {  // two products, each rounded, then the sum: never fused
    t.v[i] = vaddq_f32(vmulq_f32(t.v[i], p.ma), vmulq_f32(other.v[i], p.mb));
  }
  return finish16(t, p.clamp);
}

// A table of 256 bytes in 16 registers. tbl gives 0 for an index beyond its 64 bytes, tbx leaves
// the byte alone.
//
// In fixed registers, for GCC 12 keeps lists of registers in memory, and loads them for each
// lookup: LIGHTKERN_LOAD_TABLE declares and loads v16 .. v31, LIGHTKERN_LOOKUP(x) looks up 16 bytes
// there.
#define LIGHTKERN_TABLE_PART(i, reg, table) \
  register int8x16_t table_##i __asm__(reg) = vld1q_s8((table) + 16 * i)
#define LIGHTKERN_LOAD_TABLE(table)       \
  LIGHTKERN_TABLE_PART(0, "v16", table);  \
  LIGHTKERN_TABLE_PART(1, "v17", table);  \
  LIGHTKERN_TABLE_PART(2, "v18", table);  \
  LIGHTKERN_TABLE_PART(3, "v19", table);  \
  LIGHTKERN_TABLE_PART(4, "v20", table);  \
  LIGHTKERN_TABLE_PART(5, "v21", table);  \
  LIGHTKERN_TABLE_PART(6, "v22", table);  \
  LIGHTKERN_TABLE_PART(7, "v23", table);  \
  LIGHTKERN_TABLE_PART(8, "v24", table);  \
  LIGHTKERN_TABLE_PART(9, "v25", table);  \
  LIGHTKERN_TABLE_PART(10, "v26", table); \
  LIGHTKERN_TABLE_PART(11, "v27", table); \
  LIGHTKERN_TABLE_PART(12, "v28", table); \
  LIGHTKERN_TABLE_PART(13, "v29", table); \
  LIGHTKERN_TABLE_PART(14, "v30", table); \
  LIGHTKERN_TABLE_PART(15, "v31", table)
#define LIGHTKERN_LOOKUP(y, x)                                                                    \
  do {                                                                                            \
    const int8x16_t index = x;                                                                    \
    const int8x16_t from1 = vsubq_s8(index, vdupq_n_s8(64));                                      \
    const int8x16_t from2 = veorq_s8(index, vdupq_n_s8(-128));                                    \
    const int8x16_t from3 = vaddq_s8(index, vdupq_n_s8(64));                                      \
    __asm__(                                                                                      \
        "tbl %0.16b, {v16.16b - v19.16b}, %1.16b\n\t"                                             \
        "tbx %0.16b, {v20.16b - v23.16b}, %2.16b\n\t"                                             \
        "tbx %0.16b, {v24.16b - v27.16b}, %3.16b\n\t"                                             \
        "tbx %0.16b, {v28.16b - v31.16b}, %4.16b"                                                 \
        : "=&w"(y)                                                                                \
        : "w"(index), "w"(from1), "w"(from2), "w"(from3), "w"(table_0), "w"(table_1),             \
          "w"(table_2), "w"(table_3), "w"(table_4), "w"(table_5), "w"(table_6), "w"(table_7),     \
          "w"(table_8), "w"(table_9), "w"(table_10), "w"(table_11), "w"(table_12), "w"(table_13), \
          "w"(table_14), "w"(table_15));                                                          \
  } while (false)

// The table over rows of n bytes each; y may be x.
[[maybe_unused]] static inline void apply_table(const Act* x, ptrdiff_t x_stride, Act* y,
                                                ptrdiff_t y_stride, size_t rows, size_t n,
                                                const Act* table) {
  if (rows * n < 32) {  // loading the table would take longer
    for (; rows > 0; --rows, x += x_stride, y += y_stride) {
      for (size_t i = 0; i < n; ++i) y[i] = table[static_cast<uint8_t>(x[i])];
    }
    return;
  }
  LIGHTKERN_LOAD_TABLE(table);
  int8x16_t bytes;
  if (n == 8) {  // two rows at once
    for (; rows >= 2; rows -= 2, x += 2 * x_stride, y += 2 * y_stride) {
      LIGHTKERN_LOOKUP(bytes, vcombine_s8(vld1_s8(x), vld1_s8(x + x_stride)));
      vst1_s8(y, vget_low_s8(bytes));
      vst1_s8(y + y_stride, vget_high_s8(bytes));
    }
  } else if (n == 16) {
    for (; rows > 0; --rows, x += x_stride, y += y_stride) {
      LIGHTKERN_LOOKUP(bytes, vld1q_s8(x));
      vst1q_s8(y, bytes);
    }
  }
  for (; rows > 0; --rows, x += x_stride, y += y_stride) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      LIGHTKERN_LOOKUP(bytes, vld1q_s8(x + i));
      vst1q_s8(y + i, bytes);
    }
    if (i + 8 <= n) {
      LIGHTKERN_LOOKUP(bytes, load8(x + i));
      store8(y + i, bytes);
      i += 8;
    }
    for (; i < n; ++i) y[i] = table[static_cast<uint8_t>(x[i])];
  }
}
#undef LIGHTKERN_LOOKUP
#undef LIGHTKERN_LOAD_TABLE
#undef LIGHTKERN_TABLE_PART

// The transpose of 8 rows of 8 bytes, by three rounds of zips: pair[k] holds columns 2 k (low half)
// and 2 k + 1.
struct Columns8 {
  int8x16_t pair[4];
};
[[maybe_unused]] static inline Columns8 transpose8(const Act* x, ptrdiff_t stride) {
  int8x16_t a[4];
  for (int i = 0; i < 4; ++i) a[i] = vzip1q_s8(load8(x + i * stride), load8(x + (i + 4) * stride));
  const int8x16_t even[2] = {vzip1q_s8(a[0], a[2]), vzip2q_s8(a[0], a[2])};
  const int8x16_t odd[2] = {vzip1q_s8(a[1], a[3]), vzip2q_s8(a[1], a[3])};
  return {{vzip1q_s8(even[0], odd[0]), vzip2q_s8(even[0], odd[0]), vzip1q_s8(even[1], odd[1]),
           vzip2q_s8(even[1], odd[1])}};
}

// The tail of the epilogue over rows of n values just written: table, then residual (null: none).
[[maybe_unused]] static inline void apply_tail_rows(Act* y, ptrdiff_t stride, const Act* residual,
                                                    size_t rows, int n, const Epilogue& e) {
  if (e.table) apply_table(y, stride, y, stride, rows, static_cast<size_t>(n), e.table);
  if (!residual) return;
  const AddVec p = load_add(e.add);
  for (; rows > 0; --rows, y += stride, residual += e.residual_stride) {
    walk_row(
        static_cast<size_t>(n), false,
        [&](size_t i) { vst1q_s8(y + i, add16(vld1q_s8(y + i), vld1q_s8(residual + i), p)); },
        [&](size_t i) { store8(y + i, add16(load8(y + i), load8(residual + i), p)); },
        [&](size_t i) { y[i] = requantize_add(y[i], residual[i], e.add); });
  }
}

// One row of it.
[[maybe_unused]] static inline void apply_tail_row(Act* y, const Act* residual, int n,
                                                   const Epilogue& e) {
  apply_tail_rows(y, 0, residual, 1, n, e);
}

}  // namespace lightkern
