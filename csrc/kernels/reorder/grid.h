// Two orders as one grid: what lets vector code copy rectangles.
#pragma once

#include "kernels/reorder/reorder.h"

namespace lightkern::reorder {

// Element i lies in row i / cols and column i % cols of both tensors. cols = 0: they share no such
// grid.
struct Grid {
  size_t cols;
  ptrdiff_t x_row, x_col, y_row, y_col;  // strides in bytes
};

[[maybe_unused]] static inline Grid make_grid(const Args& args) {
  const Order &x = args.x_order, &y = args.y_order;
  // Elements at one constant stride fit any grid.
  const auto linear = [&](const Order& o) {
    return args.end <= o.inner ||
           o.outer_stride == static_cast<ptrdiff_t>(o.inner) * o.inner_stride;
  };
  const auto row = [](size_t cols, const Order& o) {
    return static_cast<ptrdiff_t>(cols) * o.inner_stride;
  };
  if (x.inner == y.inner)
    return {x.inner, x.outer_stride, x.inner_stride, y.outer_stride, y.inner_stride};
  if (linear(y)) return {x.inner, x.outer_stride, x.inner_stride, row(x.inner, y), y.inner_stride};
  if (linear(x)) return {y.inner, row(y.inner, x), x.inner_stride, y.outer_stride, y.inner_stride};
  return {0, 0, 0, 0, 0};
}

}  // namespace lightkern::reorder
