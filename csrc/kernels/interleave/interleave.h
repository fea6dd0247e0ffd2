// interleave: y[pixel][j * parts + i] = x[i][pixel][j]. A channel shuffle, where the parts are
// slices of one tensor, or a concat with a channel shuffle behind it, where they are tensors.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"

namespace lightkern::interleave {

struct Args {
  const Act* const* x;               // [parts], each [pixels][channels]
  const ptrdiff_t* x_pixel_strides;  // [parts], in bytes
  size_t parts;
  Act* y;  // [pixels][channels * parts]
  ptrdiff_t y_pixel_stride;
  size_t pixels, channels;  // of each part
};

struct Kernel {
  const char* name;
  size_t parts;  // how many it takes; 0: any number
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::interleave
