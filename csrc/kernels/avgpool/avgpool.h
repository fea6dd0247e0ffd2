// avgpool: mean of the inputs in a window; the padding counts in the divisor or not.
//
// acc = sum of x - zero_point over the inputs in bounds; t = float(acc) * (scale / count), rounded
// at each operation.
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"
#include "kernels/window.h"

namespace lightkern::avgpool {

struct Args {
  const Act* x;              // [h][w][channels]
  ptrdiff_t x_pixel_stride;  // in bytes; a row is w pixels
  Act* y;                    // [row_end - row_begin][out_w][channels]: the first row to compute
  ptrdiff_t y_pixel_stride;
  int row_begin, row_end;  // output rows
  int out_w;
  size_t channels;
  Window window;  // dilation 1
  bool include_padding;
  float scale;         // input scale / output scale
  int32_t zero_point;  // of x, memory domain
  Clamp clamp;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::avgpool
