// prelu: t = v * positive where v = x - zero_point >= 0, else v * negative[channel].
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::prelu {

struct Args {
  const Act* x;              // [pixels][channels]
  ptrdiff_t x_pixel_stride;  // in bytes
  Act* y;                    // [pixels][channels]
  ptrdiff_t y_pixel_stride;
  size_t pixels, channels;
  float positive;
  const float* negative;  // [channels]
  int32_t zero_point;     // of x, memory domain
  Clamp clamp;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::prelu
