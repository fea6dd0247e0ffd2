// resize on NEON: smull and smlal along x (at most 128 * 2048, 19 bits), mul and mla along y (30
// bits). Positions without fractions (nearest) are copies.
#include "kernels/simd/neon.h"

#include "kernels/resize/corners.h"

namespace lightkern::resize {
namespace {

struct Row8 {
  int32x4_t low, high;
};

inline Row8 along_x(const Act* left, const Act* right, int32_t fraction) {
  const int16_t wl = static_cast<int16_t>(2048 - fraction), wr = static_cast<int16_t>(fraction);
  const int16x8_t l = vmovl_s8(vld1_s8(left)), r = vmovl_s8(vld1_s8(right));
  return {vmlal_n_s16(vmull_n_s16(vget_low_s16(l), wl), vget_low_s16(r), wr),
          vmlal_high_n_s16(vmull_high_n_s16(l, wl), r, wr)};
}

inline int8x8_t mean8(const Corners& at, size_t c) {
  const Row8 upper = along_x(at.low_left + c, at.low_right + c, at.fx);
  const Row8 lower = along_x(at.high_left + c, at.high_right + c, at.fx);
  const auto along_y = [&](int32x4_t a, int32x4_t b) {
    return vrshrq_n_s32(vmlaq_n_s32(vmulq_n_s32(a, 2048 - at.fy), b, at.fy), 22);
  };
  return pack8(along_y(upper.low, lower.low), along_y(upper.high, lower.high));
}

void run(const Args& args) {
  Act* y = args.y;
  for (size_t row = 0; row < args.rows; ++row) {
    const Pair& py = args.y_pairs[row];
    for (size_t col = 0; col < args.cols; ++col, y += args.y_pixel_stride) {
      const Pair& px = args.x_pairs[col];
      const Act *low = args.x + py.low, *high = args.x + py.high;
      if (px.fraction == 0 && py.fraction == 0) {
        std::memcpy(y, low + px.low, args.channels);
        continue;
      }
      const Corners at = {low + px.low,   low + px.high, high + px.low,
                          high + px.high, px.fraction,   py.fraction};
      walk_row(
          args.channels, true,
          [&](size_t c) { vst1q_s8(y + c, vcombine_s8(mean8(at, c), mean8(at, c + 8))); },
          [&](size_t c) { vst1_s8(y + c, mean8(at, c)); }, [&](size_t c) { y[c] = mean1(at, c); });
    }
  }
}

constexpr Kernel kKernels[] = {{"resize_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::resize
