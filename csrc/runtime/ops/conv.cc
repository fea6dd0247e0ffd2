// conv2d: which family of kernels takes a convolution.
#include "runtime/ops/conv.h"

namespace lightkern {
namespace {

ConvWindow window_of_conv2d(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView& x = context.in(node, 0);
  const TensorView& y = context.views[static_cast<size_t>(final_output(fused))];
  const auto at = [&](const char* key, size_t length, size_t i) {
    return static_cast<int>(node.attr(key, length)[i]);
  };
  ConvWindow w{};
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

}  // namespace

ConvWeights weights_of(const LoweringContext& context, const NodeDesc& node,
                       const ConvWindow& window) {
  const int64_t channels = static_cast<int64_t>(window.groups) * window.ocg;
  const int64_t depth = static_cast<int64_t>(window.depth());
  const float* weight_scale = node.array<float>("weight_scale", channels);
  const float x = context.in(node, 0).scale, y = context.out(node).scale;
  ConvWeights weights{
      node.array<int8_t>("weight", channels * depth), node.array<int32_t>("bias", channels), {}};
  for (int64_t c = 0; c < channels; ++c) weights.multiplier.push_back(x * weight_scale[c] / y);
  return weights;
}

FusedEpilogue::FusedEpilogue(const LoweringContext& context, const Fused& fused)
    : has_residual(fused.add != nullptr) {
  const auto view = [&](int tensor) { return context.views[static_cast<size_t>(tensor)]; };
  values.clamp = make_clamp(*fused.node, view(fused.node->output));
  if (fused.table) {
    table = std::make_unique<MemoryTable>(*fused.table);
    values.table = table->values;
    values.fit = table->fits ? &table->fit : nullptr;
  }
  if (fused.add) {
    const TensorView conv = view((fused.table ? fused.table : fused.node)->output);
    const TensorView residual = view(fused.residual);
    values.add = make_add(*fused.add, conv, residual, view(fused.add->output));
    values.residual_stride = residual.pixel_stride;
  }
}

Step lower_conv2d(const LoweringContext& context, const Fused& fused) {
  const ConvWindow window = window_of_conv2d(context, fused);
  if (window.groups > 1 && window.icg == 1 && window.ocg == 1) {
    return lower_depthwise(context, fused, window);
  }
  if (prefers_winograd(context, *fused.node, window)) {
    return lower_winograd(context, fused, window);
  }
  if (prefers_group_kernel(context.options, window)) return lower_group(context, fused, window);
  return lower_gemm(context, fused, window);
}

}  // namespace lightkern
