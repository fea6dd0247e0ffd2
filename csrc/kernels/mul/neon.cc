// mul on NEON: 16-bit differences, their products in 32 bits; about 30 instructions for 16 bytes.
#include "kernels/simd/neon.h"

#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

struct MulVec {
  int8x8_t za, zb;
  float32x4_t multiplier;
  ByteClamp clamp;
};

inline int8x16_t mul16(int8x16_t a, int8x16_t b, const MulVec& p) {
  const int16x8_t a0 = vsubl_s8(vget_low_s8(a), p.za), a1 = vsubl_s8(vget_high_s8(a), p.za);
  const int16x8_t b0 = vsubl_s8(vget_low_s8(b), p.zb), b1 = vsubl_s8(vget_high_s8(b), p.zb);
  return pack_bytes16(scale_round4(vmull_s16(vget_low_s16(a0), vget_low_s16(b0)), p.multiplier),
                      scale_round4(vmull_high_s16(a0, b0), p.multiplier),
                      scale_round4(vmull_s16(vget_low_s16(a1), vget_low_s16(b1)), p.multiplier),
                      scale_round4(vmull_high_s16(a1, b1), p.multiplier), p.clamp);
}

void run(const Args& args) {
  const Operands& o = args.operands;
  const MulVec p = {vdup_n_s8(static_cast<int8_t>(args.za)),
                    vdup_n_s8(static_cast<int8_t>(args.zb)), vdupq_n_f32(args.multiplier),
                    load_byte_clamp(args.clamp)};
  for (size_t row = 0; row < o.rows; ++row) {
    const ptrdiff_t r = static_cast<ptrdiff_t>(row);
    const Act* a = o.a + r * o.a_stride;
    const Act* b = o.b + r * o.b_stride;
    Act* y = o.y + r * o.y_stride;
    const auto one = [&](size_t i, Act second) {
      y[i] = requantize((a[i] - args.za) * (second - args.zb), args.multiplier, args.clamp);
    };
    if (o.b_step) {
      walk_row(
          o.cols, true,
          [&](size_t i) { vst1q_s8(y + i, mul16(vld1q_s8(a + i), vld1q_s8(b + i), p)); },
          [&](size_t i) { store8(y + i, mul16(load8(a + i), load8(b + i), p)); },
          [&](size_t i) { one(i, b[i]); });
    } else {
      const int8x16_t all = vdupq_n_s8(*b);
      walk_row(
          o.cols, true, [&](size_t i) { vst1q_s8(y + i, mul16(vld1q_s8(a + i), all, p)); },
          [&](size_t i) { store8(y + i, mul16(load8(a + i), all, p)); },
          [&](size_t i) { one(i, *b); });
    }
  }
}

constexpr Kernel kKernels[] = {{"mul_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::mul
