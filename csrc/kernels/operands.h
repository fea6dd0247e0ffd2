// What the elementwise ops of two tensors share: their geometry.
#pragma once

#include "base/types.h"

namespace lightkern {

struct Operands {
  const Act* a;        // [rows][cols]
  ptrdiff_t a_stride;  // bytes between rows
  const Act* b;        // [rows][cols], or broadcast over either
  ptrdiff_t b_stride;  // bytes between rows; 0: one row for all
  ptrdiff_t b_step;    // bytes between columns: 1; or 0: one value for a whole row
  Act* y;              // [rows][cols], apart from a and b
  ptrdiff_t y_stride;
  size_t rows, cols;
};

}  // namespace lightkern
