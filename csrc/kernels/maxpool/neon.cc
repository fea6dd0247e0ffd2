// maxpool on NEON: smax over the window, 16 or 8 channels at a time; bound by the loads.
#include "kernels/simd/neon.h"

#include "kernels/maxpool/maxpool.h"

namespace lightkern::maxpool {
namespace {

// The inputs that one output sees.
struct View {
  const Act* x;
  ptrdiff_t row, col;  // bytes between taps
  int rows, cols;
};

template <class Vector, class Load, class Max>
inline Vector reduce(const View& v, size_t c, Load load, Max max) {
  const Act* row = v.x + c;
  Vector most = load(row);
  for (int i = 0; i < v.rows; ++i, row += v.row) {
    const Act* x = row;
    for (int j = 0; j < v.cols; ++j, x += v.col) most = max(most, load(x));
  }
  return most;
}

void run(const Args& args) {
  const auto load16 = [](const Act* x) { return vld1q_s8(x); };
  const auto max16 = [](int8x16_t a, int8x16_t b) { return vmaxq_s8(a, b); };
  const auto load1 = [](const Act* x) { return *x; };
  const auto max1 = [](Act a, Act b) { return a > b ? a : b; };
  const Window& win = args.window;
  Act* y = args.y;
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const int y0 = row * win.stride_h - win.top;
    const Taps ky = taps_inside(y0, win.kernel_h, win.dilation_h, win.h);
    for (int col = 0; col < args.out_w; ++col, y += args.y_pixel_stride) {
      const int x0 = col * win.stride_w - win.left;
      const Taps kx = taps_inside(x0, win.kernel_w, win.dilation_w, win.w);
      const ptrdiff_t first = static_cast<ptrdiff_t>(y0 + ky.first * win.dilation_h) * win.w + x0 +
                              kx.first * win.dilation_w;
      const View view = {args.x + first * args.x_pixel_stride,
                         static_cast<ptrdiff_t>(win.dilation_h) * win.w * args.x_pixel_stride,
                         win.dilation_w * args.x_pixel_stride, ky.last - ky.first,
                         kx.last - kx.first};
      walk_row(
          args.channels, true,
          [&](size_t c) { vst1q_s8(y + c, reduce<int8x16_t>(view, c, load16, max16)); },
          [&](size_t c) { store8(y + c, reduce<int8x16_t>(view, c, load8, max16)); },
          [&](size_t c) { y[c] = reduce<Act>(view, c, load1, max1); });
    }
  }
}

constexpr Kernel kKernels[] = {{"maxpool_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::maxpool
