// resize: each output is a mean of four neighbours with weights in 1/2048 per axis, rounded half
// up.
//
// y = (sum of x * wy * wx + 2^21) >> 22. The weights sum to 2^22, so an offset of the memory values
// passes through unchanged, and the sum stays below 255 * 2^22 + 2^21 < 2^31.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"

namespace lightkern::resize {

// Two neighbours along an axis: their offsets in bytes, and the weight of the second in 1/2048.
struct Pair {
  ptrdiff_t low, high;
  int32_t fraction;  // [0, 2048]
};

struct Args {
  const Act* x;              // [h][w][channels]
  Act* y;                    // [rows][cols][channels]
  ptrdiff_t y_pixel_stride;  // in bytes; a row is cols pixels
  size_t rows, cols, channels;
  const Pair* y_pairs;  // [rows]
  const Pair* x_pairs;  // [cols]
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::resize
