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

// --- 3x3 windows at stride 2, a row of outputs at a time -----------------------------------------

[[maybe_unused]] inline bool is_3x3s2(const Window& win) {
  return win.kernel_h == 3 && win.kernel_w == 3 && win.stride_h == 2 && win.stride_w == 2 &&
         win.dilation_h == 1 && win.dilation_w == 1;
}

inline int limit(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }

// The lines of the image that a row of outputs sees. A tap in the padding counts as the nearest
// line or column of the image, which is in the window anyway.
struct Lines {
  const Act* line[3];
  ptrdiff_t stride;  // bytes between columns
  int w, left;       // columns; how many of padding before them
  Act* y;
  ptrdiff_t y_stride;

  // How many outputs see no column from `columns` on.
  int outputs_within(int columns) const {
    return columns + left < 3 ? 0 : (columns + left - 1) / 2;
  }
};

// Outputs [begin, end) of a row, the channels of one vector from c on. Two outputs that adjoin
// share a column, whose maximum stays in a register.
template <class Vector, class Load, class Store, class Max>
inline void pool_line(const Lines& l, int begin, int end, size_t c, Load load, Store store,
                      Max max) {
  if (begin >= end) return;
  const auto column = [&](const Act* a, const Act* b, const Act* d) {
    return max(max(load(a), load(b)), load(d));
  };
  const auto column_at = [&](int i) {
    const ptrdiff_t at = limit(i, l.w) * l.stride + static_cast<ptrdiff_t>(c);
    return column(l.line[0] + at, l.line[1] + at, l.line[2] + at);
  };
  int i = 2 * begin - l.left;
  Act* y = l.y + begin * l.y_stride + c;
  Vector before = column_at(i);
  int x = begin;
  for (; x < end && i < 0; ++x, i += 2, y += l.y_stride) {
    const Vector last = column_at(i + 2);
    store(y, max(max(before, column_at(i + 1)), last));
    before = last;
  }
  const ptrdiff_t at = (i + 1) * l.stride + static_cast<ptrdiff_t>(c);
  const Act *a = l.line[0] + at, *b = l.line[1] + at, *d = l.line[2] + at;
  const ptrdiff_t step = l.stride;
  for (; x < end && i + 2 < l.w; ++x, i += 2, y += l.y_stride) {
    const Vector last = column(a + step, b + step, d + step);
    store(y, max(max(before, column(a, b, d)), last));
    before = last;
    a += 2 * step, b += 2 * step, d += 2 * step;
  }
  for (; x < end; ++x, i += 2, y += l.y_stride) {
    const Vector last = column_at(i + 2);
    store(y, max(max(before, column_at(i + 1)), last));
    before = last;
  }
}

// line(lines) for every row of outputs.
template <class Line>
inline void for_each_line(const Args& args, Line line) {
  const Window& win = args.window;
  const ptrdiff_t pitch = win.w * args.x_pixel_stride;
  Lines l = {{}, args.x_pixel_stride, win.w, win.left, args.y, args.y_pixel_stride};
  for (int row = args.row_begin; row < args.row_end; ++row, l.y += args.out_w * l.y_stride) {
    for (int i = 0; i < 3; ++i) l.line[i] = args.x + limit(2 * row - win.top + i, win.h) * pitch;
    line(l);
  }
}

}  // namespace
}  // namespace lightkern::maxpool
