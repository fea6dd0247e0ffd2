// What convolution and linear layers share: a window that slides over an image, and weights that
// are packed for a gemm.
#pragma once

#include "runtime/lowering.h"

namespace lightkern {

// Geometry of a convolution. A linear layer is a 1x1 window over one line of pixels.
struct Window {
  int h, w, oh, ow;
  int groups, icg, ocg;  // channels per group: input, output
  int kh, kw, sh, sw, dh, dw;
  int top, left;  // padding; what lies right and below follows from oh, ow
  ptrdiff_t x_pixel_stride, y_pixel_stride;

  size_t depth() const {
    return static_cast<size_t>(kh) * static_cast<size_t>(kw) * static_cast<size_t>(icg);
  }
};

Window window_of_conv2d(const LoweringContext& context, const Fused& fused);
Window window_of_linear(const LoweringContext& context, const Fused& fused);

// Any window, any number of groups; every group is a gemm of its own.
Step lower_gemm(const LoweringContext& context, const Fused& fused, Window window);

}  // namespace lightkern
