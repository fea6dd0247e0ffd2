// What the vector levels of avgpool share: a walk over the outputs. Everything here is static: code
// that is compiled for one ISA must never be merged with the same code of another.
#pragma once

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

[[maybe_unused]] inline Act mean_of_one(const View& v, size_t c, const Clamp& clamp) {
  int32_t acc = v.base;
  for (int i = 0; i < v.rows; ++i) {
    for (int j = 0; j < v.cols; ++j) acc += v.x[i * v.row + j * v.col + static_cast<ptrdiff_t>(c)];
  }
  return requantize(acc, v.multiplier, clamp);
}

// pixel(view, y) for every output of the rows in args.
template <class Pixel>
void for_each_pixel(const Args& args, Pixel pixel) {
  const Window& win = args.window;
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
      pixel(view, y);
    }
  }
}

}  // namespace
}  // namespace lightkern::avgpool
