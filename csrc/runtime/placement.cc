#include "runtime/plan.h"

namespace lightkern {
namespace {

// Which tensor each one is a view of, before the roots are resolved.
struct View {
  int base = -1;  // -1: has a buffer of its own
  size_t offset = 0;
};

bool is_reshape_alias(const ModelDesc& model, const NodeDesc& node) {
  const TensorDesc& x = model.tensors[static_cast<size_t>(node.inputs[0])];
  const TensorDesc& y = model.tensors[static_cast<size_t>(node.output)];
  const std::vector<int64_t>& chw = node.attr("chw", 2);
  // Channels-first order is memory order where a tensor is one pixel or has one channel.
  const auto in_memory_order = [](const TensorDesc& t) { return t.pixels() == 1 || t.c == 1; };
  if ((!chw[0] || in_memory_order(x)) && (!chw[1] || in_memory_order(y))) return true;
  return chw[0] && chw[1] && x.c == y.c && x.pixels() == y.pixels();
}

}  // namespace

std::vector<Placement> place_tensors(const ModelDesc& model, const std::vector<Fused>& fused) {
  const size_t count = model.tensors.size();
  std::vector<View> views(count);
  std::vector<bool> pinned(count, false);  // must keep a buffer of its own
  for (int tensor : model.inputs) pinned[static_cast<size_t>(tensor)] = true;
  for (const Fused& f : fused) {
    const std::string& op = f.node->op;
    if (op == "slice" || op == "reshape") pinned[static_cast<size_t>(f.node->output)] = true;
  }

  // Concat: the inputs are written straight into the output. Outermost first, so that nested
  // concats nest.
  for (size_t i = fused.size(); i-- > 0;) {
    const NodeDesc& node = *fused[i].node;
    if (node.op != "concat" || fused[i].shuffle || node.attr("axis") != 2) continue;
    size_t offset = 0;
    for (int input : node.inputs) {
      const size_t t = static_cast<size_t>(input);
      if (!pinned[t]) {
        views[t] = {node.output, offset};
        pinned[t] = true;
      }
      offset += static_cast<size_t>(model.tensors[t].c);
    }
  }

  std::vector<Placement> places(count);
  const auto resolve = [&](size_t tensor) {
    size_t at = tensor, offset = 0;
    while (views[at].base >= 0) {
      offset += views[at].offset;
      at = static_cast<size_t>(views[at].base);
    }
    return Placement{static_cast<int>(at), offset, model.tensors[at].c};
  };
  for (size_t t = 0; t < count; ++t) places[t] = resolve(t);

  // Slices of channels or rows, and reshapes that move nothing, are views of their input.
  for (const Fused& f : fused) {
    const NodeDesc& node = *f.node;
    if (node.op != "slice" && node.op != "reshape") continue;
    const Placement& x = places[static_cast<size_t>(node.inputs[0])];
    const TensorDesc& in = model.tensors[static_cast<size_t>(node.inputs[0])];
    Placement& y = places[static_cast<size_t>(node.output)];
    if (node.op == "slice") {
      const size_t begin = static_cast<size_t>(node.attr("begin"));
      const size_t stride = static_cast<size_t>(x.pixel_stride);
      if (node.attr("axis") == 2) y = {x.root, x.offset + begin, x.pixel_stride};
      if (node.attr("axis") == 0) {
        y = {x.root, x.offset + begin * static_cast<size_t>(in.w) * stride, x.pixel_stride};
      }
    } else if (x.pixel_stride == in.c && is_reshape_alias(model, node)) {
      y = {x.root, x.offset, model.tensors[static_cast<size_t>(node.output)].c};
    }
  }
  return places;
}

}  // namespace lightkern
