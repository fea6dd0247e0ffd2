// maxpool: greatest input in a window, which may be dilated.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"
#include "kernels/window.h"

namespace lightkern::maxpool {

struct Args {
  const Act* x;              // [h][w][channels]
  ptrdiff_t x_pixel_stride;  // in bytes; a row is w pixels
  Act* y;                    // [row_end - row_begin][out_w][channels]: the first row to compute
  ptrdiff_t y_pixel_stride;
  int row_begin, row_end;  // output rows
  int out_w;
  size_t channels;
  Window window;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::maxpool
