#include "runtime/lowering.h"

namespace lightkern {

Step lower_conv2d(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const int groups = node.attr("groups");
  if (groups == context.in(node, 0).c && groups == context.out(node).c)
    return lower_depthwise(context, fused);
  throw std::invalid_argument("node '" + node.name +
                              "': only depthwise convolution has kernels yet");
}

}  // namespace lightkern
