// quantize: float32 to int8, from any layout to NHWC.
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::quantize {

struct Args {
  const float* x;              // [pixels][channels]
  ptrdiff_t x_pixel_stride;    // in elements: channels for NHWC, 1 for NCHW
  ptrdiff_t x_channel_stride;  // in elements: 1 for NHWC, H * W for NCHW
  Act* y;                      // [pixels][channels]
  ptrdiff_t y_pixel_stride;    // in bytes
  size_t pixels, channels;
  float scale;  // t = x / scale, an IEEE division
  Clamp clamp;  // full range
};

struct Kernel {
  const char* name;
  bool (*run)(
      const Args&);  // true if a NaN was seen (its value is then unspecified); infinities saturate
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::quantize
