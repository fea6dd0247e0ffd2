// dequantize: int8 to float32, from NHWC to any layout.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"

namespace lightkern::dequantize {

struct Args {
  const Act* x;                // [pixels][channels]
  ptrdiff_t x_pixel_stride;    // in bytes
  float* y;                    // [pixels][channels]
  ptrdiff_t y_pixel_stride;    // in elements: channels for NHWC, 1 for NCHW
  ptrdiff_t y_channel_stride;  // in elements: 1 for NHWC, H * W for NCHW
  size_t pixels, channels;
  float scale;         // y = float(x - zero_point) * scale
  int32_t zero_point;  // memory domain
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::dequantize
