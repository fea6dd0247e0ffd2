// conv2d: which family of kernels takes a convolution.
#include "runtime/ops/gemm.h"

namespace lightkern {

Window window_of_conv2d(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView& x = context.in(node, 0);
  const TensorView& y = context.views[static_cast<size_t>(final_output(fused))];
  const auto at = [&](const char* key, size_t length, size_t i) {
    return static_cast<int>(node.attr(key, length)[i]);
  };
  Window w{};
  w.h = x.h, w.w = x.w, w.oh = y.h, w.ow = y.w;
  w.groups = node.attr("groups");
  if (w.groups < 1 || x.c % w.groups || y.c % w.groups) {
    throw std::invalid_argument("node '" + node.name + "': " + std::to_string(w.groups) +
                                " groups of " + std::to_string(x.c) + " and " +
                                std::to_string(y.c) + " channels");
  }
  w.icg = x.c / w.groups, w.ocg = y.c / w.groups;
  w.kh = at("kernel", 2, 0), w.kw = at("kernel", 2, 1);
  w.sh = at("stride", 2, 0), w.sw = at("stride", 2, 1);
  w.dh = at("dilation", 2, 0), w.dw = at("dilation", 2, 1);
  w.top = at("padding", 4, 0), w.left = at("padding", 4, 1);
  w.x_pixel_stride = x.pixel_stride, w.y_pixel_stride = y.pixel_stride;
  return w;
}

Step lower_conv2d(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const int groups = node.attr("groups");
  const bool one_filter_per_channel =
      groups == context.in(node, 0).c && groups == context.out(node).c;
  if (one_filter_per_channel && groups > 1) return lower_depthwise(context, fused);
  if (prefers_group_kernel(context, node)) return lower_group(context, fused);
  return lower_gemm(context, fused, window_of_conv2d(context, fused));
}

}  // namespace lightkern
