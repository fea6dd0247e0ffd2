#include "runtime/plan.h"

namespace lightkern {
namespace {

// Per tensor: the node that reads it if it is read once and is no output of the model, else -1.
std::vector<int> find_only_readers(const ModelDesc& model) {
  std::vector<int> reads(model.tensors.size(), 0), reader(model.tensors.size(), -1);
  for (size_t i = 0; i < model.nodes.size(); ++i) {
    for (int tensor : model.nodes[i].inputs) {
      ++reads[static_cast<size_t>(tensor)];
      reader[static_cast<size_t>(tensor)] = static_cast<int>(i);
    }
  }
  for (int tensor : model.outputs) ++reads[static_cast<size_t>(tensor)];
  for (size_t t = 0; t < reads.size(); ++t) {
    if (reads[t] != 1) reader[t] = -1;
  }
  return reader;
}

bool same_shape(const TensorDesc& a, const TensorDesc& b) {
  return a.h == b.h && a.w == b.w && a.c == b.c;
}

// A concat of as many equal inputs as the shuffle has groups interleaves them.
bool is_interleave(const ModelDesc& model, const NodeDesc& concat, const NodeDesc& shuffle) {
  if (static_cast<size_t>(shuffle.attr("groups")) != concat.inputs.size()) return false;
  const TensorDesc& first = model.tensors[static_cast<size_t>(concat.inputs[0])];
  for (int input : concat.inputs) {
    if (!same_shape(model.tensors[static_cast<size_t>(input)], first)) return false;
  }
  return concat.attr("axis") == 2;
}

}  // namespace

std::vector<Fused> fuse_nodes(const ModelDesc& model, bool enabled) {
  const std::vector<int> only_reader = find_only_readers(model);
  std::vector<Fused> at(model.nodes.size());  // by the last node of each step
  std::vector<bool> absorbed(model.nodes.size(), false);
  const auto reader_of = [&](int tensor, const char* op) {
    const int next = only_reader[static_cast<size_t>(tensor)];
    const bool fits = next >= 0 && !absorbed[static_cast<size_t>(next)] &&
                      model.nodes[static_cast<size_t>(next)].op == op;
    return fits ? next : -1;
  };
  // Backwards, so that of two convolutions that feed one add the later takes it: the other is
  // complete by then.
  for (size_t i = model.nodes.size(); i-- > 0;) {
    if (absorbed[i]) continue;
    const NodeDesc& node = model.nodes[i];
    Fused fused;
    fused.node = &node;
    size_t last = i;
    const auto absorb = [&](int next) {
      last = static_cast<size_t>(next);
      absorbed[last] = true;
      at[last] = Fused{};
      return &model.nodes[last];
    };
    if (enabled && (node.op == "conv2d" || node.op == "linear")) {
      if (const int next = reader_of(node.output, "table"); next >= 0) fused.table = absorb(next);
      const int own = final_output(fused);
      if (const int next = reader_of(own, "add"); next >= 0) {
        const std::vector<int>& inputs = model.nodes[static_cast<size_t>(next)].inputs;
        const int other = inputs[0] == own ? inputs[1] : inputs[0];
        if (same_shape(model.tensors[static_cast<size_t>(own)],
                       model.tensors[static_cast<size_t>(other)])) {
          fused.add = absorb(next);
          fused.residual = other;
        }
      }
    } else if (enabled && node.op == "concat") {
      const int next = reader_of(node.output, "channel_shuffle");
      if (next >= 0 && is_interleave(model, node, model.nodes[static_cast<size_t>(next)])) {
        fused.shuffle = absorb(next);
      }
    }
    at[last] = fused;
  }
  std::vector<Fused> order;
  for (const Fused& fused : at) {
    if (fused.node) order.push_back(fused);
  }
  return order;
}

}  // namespace lightkern
