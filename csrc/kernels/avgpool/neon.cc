// avgpool on NEON: 16-bit sums, which hold 256 bytes, of 16 channels; larger windows add such sums
// in 32 bits.
#include "kernels/simd/neon.h"

#include "kernels/avgpool/avgpool.h"

namespace lightkern::avgpool {
namespace {

// The inputs that one output sees, and what becomes of their sum.
struct View {
  const Act* x;
  ptrdiff_t row, col;  // bytes between taps
  int rows, cols;
  int32_t base;  // -(number of inputs) * zero point
  float multiplier;
};

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

inline Act mean_of_one(const View& v, size_t c, const Clamp& clamp) {
  int32_t acc = v.base;
  for (int i = 0; i < v.rows; ++i) {
    for (int j = 0; j < v.cols; ++j) acc += v.x[i * v.row + j * v.col + static_cast<ptrdiff_t>(c)];
  }
  return requantize(acc, v.multiplier, clamp);
}

void run(const Args& args) {
  const Window& win = args.window;
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  const auto load16 = [](const Act* x) { return vld1q_s8(x); };
  Act* y = args.y;
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const int y0 = row * win.stride_h - win.top;
    const Taps ky = taps_inside(y0, win.kernel_h, 1, win.h);
    for (int col = 0; col < args.out_w; ++col, y += args.y_pixel_stride) {
      const int x0 = col * win.stride_w - win.left;
      const Taps kx = taps_inside(x0, win.kernel_w, 1, win.w);
      const int rows = ky.last - ky.first, cols = kx.last - kx.first;
      const int count = args.include_padding ? win.kernel_h * win.kernel_w : rows * cols;
      const ptrdiff_t first = static_cast<ptrdiff_t>(y0 + ky.first) * win.w + x0 + kx.first;
      const View view = {args.x + first * args.x_pixel_stride,
                         win.w * args.x_pixel_stride,
                         args.x_pixel_stride,
                         rows,
                         cols,
                         -rows * cols * args.zero_point,
                         args.scale / static_cast<float>(count)};
      walk_row(
          args.channels, true, [&](size_t c) { vst1q_s8(y + c, mean(view, c, clamp, load16)); },
          [&](size_t c) { store8(y + c, mean(view, c, clamp, load8)); },
          [&](size_t c) { y[c] = mean_of_one(view, c, args.clamp); });
    }
  }
}

constexpr Kernel kKernels[] = {{"avgpool_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::avgpool
