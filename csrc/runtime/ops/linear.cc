// linear: every row of channels is a pixel of a pointwise convolution.
#include "runtime/ops/conv.h"

namespace lightkern {

Step lower_linear(const LoweringContext& context, const Fused& fused) {
  const TensorView& x = context.in(*fused.node, 0);
  const TensorView& y = context.views[static_cast<size_t>(final_output(fused))];
  ConvWindow w{};
  w.h = w.oh = 1;
  w.w = w.ow = static_cast<int>(x.pixels());
  w.groups = 1, w.icg = x.c, w.ocg = y.c;
  w.kh = w.kw = w.sh = w.sw = w.dh = w.dw = 1;
  w.x_pixel_stride = x.pixel_stride, w.y_pixel_stride = y.pixel_stride;
  return lower_gemm(context, fused, w);
}

}  // namespace lightkern
