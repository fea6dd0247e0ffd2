// avgpool on NEON: 16-bit sums, which hold 256 bytes, of 16 channels; larger windows add such sums
// in 32 bits.
#include "kernels/simd/neon.h"

#include "kernels/avgpool/view.h"

namespace lightkern::avgpool {
namespace {

// Adds sums of 16 bits to four vectors of 32.
inline void widen_sums(const int16x8_t sums[2], int32x4_t acc[4]) {
  acc[0] = vaddw_s16(acc[0], vget_low_s16(sums[0]));
  acc[1] = vaddw_high_s16(acc[1], sums[0]);
  acc[2] = vaddw_s16(acc[2], vget_low_s16(sums[1]));
  acc[3] = vaddw_high_s16(acc[3], sums[1]);
}

template <class Load>
inline int8x16_t mean(const View& v, size_t c, const ByteClamp& clamp, Load load) {
  const int32x4_t base = vdupq_n_s32(v.base);
  const int16x8_t zero = vdupq_n_s16(0);
  int32x4_t acc[4] = {base, base, base, base};
  int16x8_t sums[2] = {zero, zero};
  int room = 256;  // bytes that the 16-bit sums can still take
  const Act* row = v.x + c;
  for (int i = 0; i < v.rows; ++i, row += v.row) {
    const Act* x = row;
    for (int j = 0; j < v.cols; ++j, x += v.col) {
      if (room == 0) {
        widen_sums(sums, acc);
        sums[0] = sums[1] = zero;
        room = 256;
      }
      const int8x16_t bytes = load(x);
      sums[0] = vaddw_s8(sums[0], vget_low_s8(bytes));
      sums[1] = vaddw_high_s8(sums[1], bytes);
      --room;
    }
  }
  widen_sums(sums, acc);
  const float32x4_t m = vdupq_n_f32(v.multiplier);
  return pack_bytes16(scale_round4(acc[0], m), scale_round4(acc[1], m), scale_round4(acc[2], m),
                      scale_round4(acc[3], m), clamp);
}

void run(const Args& args) {
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  const auto load16 = [](const Act* x) { return vld1q_s8(x); };
  for_each_pixel(args, [&](const View& view, Act* y) {
    walk_row(
        args.channels, true, [&](size_t c) { vst1q_s8(y + c, mean(view, c, clamp, load16)); },
        [&](size_t c) { store8(y + c, mean(view, c, clamp, load8)); },
        [&](size_t c) { y[c] = mean_of_one(view, c, args.clamp); });
  });
}

constexpr Kernel kKernels[] = {{"avgpool_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::avgpool
