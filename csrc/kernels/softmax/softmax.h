// softmax along the rows: e[i] = exp[max - x[i]], S = their sum (exact), t = e[i] * (inverse_scale
// / S).
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::softmax {

struct Args {
  const Act* x;        // [rows][cols]
  ptrdiff_t x_stride;  // bytes between rows
  Act* y;              // [rows][cols]
  ptrdiff_t y_stride;
  size_t rows, cols;
  const int32_t* exp;   // [256], in [0, 2^23], so float(e) is exact
  float inverse_scale;  // 1 / output scale
  Clamp clamp;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::softmax
