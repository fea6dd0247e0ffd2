// copy: y = x row by row, or y = value.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"

namespace lightkern::copy {

struct Args {
  const Act* x;        // [rows][cols]; null: fill y with `value`
  ptrdiff_t x_stride;  // bytes between rows
  Act* y;              // [rows][cols]
  ptrdiff_t y_stride;
  size_t rows, cols;
  Act value;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::copy
