// prelu on NEON: the sign of x chooses the multiplier; about 40 instructions for 16 bytes.
#include "kernels/simd/neon.h"

#include "kernels/prelu/prelu.h"

namespace lightkern::prelu {
namespace {

void run(const Args& args) {
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  const float32x4_t positive = vdupq_n_f32(args.positive), zero = vdupq_n_f32(0.0f);
  const int8x8_t zero_point = vdup_n_s8(static_cast<int8_t>(args.zero_point));
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x = args.x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    const auto scale = [&](float32x4_t v, size_t c) {
      const uint32x4_t keep = vcgeq_f32(v, zero);
      return vmulq_f32(v, vbslq_f32(keep, positive, vld1q_f32(args.negative + c)));
    };
    walk_row(
        args.channels, true,
        [&](size_t c) {
          Floats16 t = center16(vld1q_s8(x + c), zero_point);
          for (size_t i = 0; i < 4; ++i) t.v[i] = scale(t.v[i], c + 4 * i);
          vst1q_s8(y + c, finish16(t, clamp));
        },
        [&](size_t c) {
          const Floats16 t = center16(load8(x + c), zero_point);
          vst1_s8(y + c, pack_bytes8(vcvtnq_s32_f32(scale(t.v[0], c)),
                                     vcvtnq_s32_f32(scale(t.v[1], c + 4)), clamp));
        },
        [&](size_t c) {
          const int32_t v = x[c] - args.zero_point;
          y[c] = requantize(v, v >= 0 ? args.positive : args.negative[c], args.clamp);
        });
  }
}

constexpr Kernel kKernels[] = {{"prelu_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::prelu
