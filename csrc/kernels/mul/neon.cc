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
  const MulVec p = {vdup_n_s8(static_cast<int8_t>(args.za)),
                    vdup_n_s8(static_cast<int8_t>(args.zb)), vdupq_n_f32(args.multiplier),
                    load_byte_clamp(args.clamp)};
  walk_operands(
      args.operands, [&](Bytes a, Bytes b) { return mul16(a, b, p); },
      [&](Act a, Act b) {
        return requantize((a - args.za) * (b - args.zb), args.multiplier, args.clamp);
      });
}

constexpr Kernel kKernels[] = {{"mul_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::mul
