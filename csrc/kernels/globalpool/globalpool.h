// globalpool: mean of each channel over all pixels. acc = sum of x - zero_point, exact in int32
// (the model's rules bound the number of pixels); t = float(acc) * multiplier.
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::globalpool {

struct Args {
  const Act* x;              // [pixels][channels]
  ptrdiff_t x_pixel_stride;  // in bytes
  Act* y;                    // [channels]
  size_t pixels, channels;
  float multiplier;    // (input scale / output scale) / pixels
  int32_t zero_point;  // of x, memory domain
  Clamp clamp;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::globalpool
