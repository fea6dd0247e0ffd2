// globalpool on NEON: 16-bit sums, which hold 256 bytes, of 16 channels; then 32 bits.
#include "kernels/simd/neon.h"

#include "kernels/globalpool/globalpool.h"

namespace lightkern::globalpool {
namespace {

constexpr size_t kPixels = 256;  // 256 * -128 = -2^15

template <class Load>
inline int8x16_t mean(const Args& args, size_t c, const ByteClamp& clamp, Load load) {
  // The bound on the number of pixels keeps this and the sums within int32.
  const int32x4_t base = vdupq_n_s32(-static_cast<int32_t>(args.pixels) * args.zero_point);
  int32x4_t acc[4] = {base, base, base, base};
  const Act* x = args.x + c;
  for (size_t pixels = args.pixels; pixels > 0;) {
    int16x8_t low = vdupq_n_s16(0), high = low;
    size_t n = pixels < kPixels ? pixels : kPixels;
    pixels -= n;
    for (; n > 0; --n, x += args.x_pixel_stride) {
      const int8x16_t bytes = load(x);
      low = vaddw_s8(low, vget_low_s8(bytes));
      high = vaddw_high_s8(high, bytes);
    }
    acc[0] = vaddw_s16(acc[0], vget_low_s16(low));
    acc[1] = vaddw_high_s16(acc[1], low);
    acc[2] = vaddw_s16(acc[2], vget_low_s16(high));
    acc[3] = vaddw_high_s16(acc[3], high);
  }
  const float32x4_t m = vdupq_n_f32(args.multiplier);
  return pack_bytes16(scale_round4(acc[0], m), scale_round4(acc[1], m), scale_round4(acc[2], m),
                      scale_round4(acc[3], m), clamp);
}

Act mean_of_one(const Args& args, size_t c) {
  int32_t acc = -static_cast<int32_t>(args.pixels) * args.zero_point;
  const Act* x = args.x + c;
  for (size_t p = 0; p < args.pixels; ++p, x += args.x_pixel_stride) acc += *x;
  return requantize(acc, args.multiplier, args.clamp);
}

void run(const Args& args) {
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  const auto load16 = [](const Act* x) { return vld1q_s8(x); };
  walk_row(
      args.channels, true, [&](size_t c) { vst1q_s8(args.y + c, mean(args, c, clamp, load16)); },
      [&](size_t c) { store8(args.y + c, mean(args, c, clamp, load8)); },
      [&](size_t c) { args.y[c] = mean_of_one(args, c); });
}

constexpr Kernel kKernels[] = {{"globalpool_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::globalpool
