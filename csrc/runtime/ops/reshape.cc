// reshape, where elements change their order in memory: between channels-first and channels-last.
#include "kernels/reorder/reorder.h"
#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const reorder::Kernel* kernel;
  reorder::Args args;
  Split split;  // of elements
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  reorder::Args args = s.args;
  args.x = reinterpret_cast<const uint8_t*>(io.reads[0]);
  args.y = reinterpret_cast<uint8_t*>(io.write);
  args.begin = s.split.first(begin);
  args.end = s.split.last(end);
  s.kernel->run(args);
}

reorder::Order order_of(const TensorView& t, bool channels_first) {
  if (channels_first) return {t.pixels(), 1, t.pixel_stride};
  return {static_cast<size_t>(t.c), t.pixel_stride, 1};
}

}  // namespace

Step lower_reshape(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  const Placement& in = context.placements[static_cast<size_t>(node.inputs[0])];
  const Placement& out = context.placements[static_cast<size_t>(node.output)];
  if (in.root == out.root) return step;  // a view
  auto state = std::make_shared<State>();
  state->kernel = pick_kernel(reorder::kRegistry, context.options, step);
  const std::vector<int64_t>& chw = node.attr("chw", 2);
  state->args = {nullptr, order_of(x, chw[0] != 0), nullptr, order_of(y, chw[1] != 0), 0, 0, 0};
  state->split = split_work(x.pixels() * static_cast<size_t>(x.c), 1, 49152, 64);
  step.units = state->split.units;
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
