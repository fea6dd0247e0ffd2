// What several ops share on 64-bit NEON: requantization and the epilogue, bit for bit as in
// kernels/requant.h. Static functions only; include from neon.cc and neondot.cc files alone.
#pragma once

#include <arm_neon.h>

#include "kernels/requant.h"

namespace lightkern {

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

// 8 values, less their zero point, as two vectors of float.
[[maybe_unused]] static inline float32x4x2_t widen8(const Act* x, int16x8_t zero_point) {
  const int16x8_t v = vsubq_s16(vmovl_s8(vld1_s8(x)), zero_point);
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v))}};
}

// The tail of the epilogue over a row of n values just written: table, then residual (null: none).
[[maybe_unused]] static inline void apply_tail_row(Act* y, const Act* residual, int n,
                                                   const Epilogue& e) {
  if (e.table) {
    for (int i = 0; i < n; ++i) y[i] = e.table[static_cast<uint8_t>(y[i])];
  }
  if (!residual) return;
  const ClampVec clamp = load_clamp(e.add.clamp);
  const int16x8_t za = vdupq_n_s16(static_cast<int16_t>(e.add.za)),
                  zb = vdupq_n_s16(static_cast<int16_t>(e.add.zb));
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const float32x4x2_t a = widen8(y + i, za), b = widen8(residual + i, zb);
    int32x4_t sum[2];
    for (int k = 0; k < 2; ++k) {  // two products, each rounded, then the sum: never fused
      sum[k] = finish4(vaddq_f32(vmulq_n_f32(a.val[k], e.add.ma), vmulq_n_f32(b.val[k], e.add.mb)),
                       clamp);
    }
    vst1_s8(y + i, pack8(sum[0], sum[1]));
  }
  for (; i < n; ++i) y[i] = requantize_add(y[i], residual[i], e.add);
}

// Epilogue over a row of n accumulators in memory.
[[maybe_unused]] static inline void requantize_row(const int32_t* acc, const float* multiplier,
                                                   int n, const Epilogue& e, const Act* residual,
                                                   Act* y) {
  const ClampVec clamp = load_clamp(e.clamp);
  const auto four = [&](int i) {
    return requantize4(vld1q_s32(acc + i), vld1q_f32(multiplier + i), clamp);
  };
  int i = 0;
  for (; i + 16 <= n; i += 16)
    vst1q_s8(y + i, pack16(four(i), four(i + 4), four(i + 8), four(i + 12)));
  for (; i + 4 <= n; i += 4) store4(y + i, four(i));
  for (; i < n; ++i) y[i] = requantize(acc[i], multiplier[i], e.clamp);
  if (e.table || residual) apply_tail_row(y, residual, n, e);
}

}  // namespace lightkern
