// What the vector levels of maxpool share: a walk over the outputs, and the reduction of a window.
// Everything here is static: code that is compiled for one ISA must never be merged with the same
// code of another.
#pragma once

#include "kernels/maxpool/maxpool.h"

namespace lightkern::maxpool {
namespace {

// The inputs that one output sees.
struct View {
  const Act* x;
  ptrdiff_t row, col;  // bytes between taps
  int rows, cols;
};

// A window of known size, so that nothing is left of its loops.
template <int rows, int cols, class Vector, class Load, class Max>
inline Vector reduce_fixed(const View& v, size_t c, Load load, Max max) {
  const Act* x = v.x + c;
  Vector most = load(x);
  for (int i = 0; i < rows; ++i, x += v.row) {
    for (int j = 0; j < cols; ++j) most = max(most, load(x + j * v.col));
  }
  return most;
}

template <class Vector, class Load, class Max>
inline Vector reduce(const View& v, size_t c, Load load, Max max) {
  if (v.rows == 3 && v.cols == 3) return reduce_fixed<3, 3, Vector>(v, c, load, max);
  if (v.rows == 2 && v.cols == 2) return reduce_fixed<2, 2, Vector>(v, c, load, max);
  const Act* row = v.x + c;
  Vector most = load(row);
  for (int i = 0; i < v.rows; ++i, row += v.row) {
    const Act* x = row;
    for (int j = 0; j < v.cols; ++j, x += v.col) most = max(most, load(x));
  }
  return most;
}

[[maybe_unused]] inline Act max_of_one(const View& v, size_t c) {
  const auto load = [](const Act* x) { return *x; };
  return reduce<Act>(v, c, load, [](Act a, Act b) { return a > b ? a : b; });
}

// pixel(view, y) for every output of the rows in args.
template <class Pixel>
void for_each_pixel(const Args& args, Pixel pixel) {
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
      pixel(view, y);
    }
  }
}

}  // namespace
}  // namespace lightkern::maxpool
