#include "kernels/softmax/softmax.h"

#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const softmax::Kernel* kernel;
  softmax::Args args;
  std::vector<int32_t> exp;
  Split split;  // of pixels
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  softmax::Args args = s.args;
  const size_t first = s.split.first(begin);
  args.x = io.reads[0] + static_cast<ptrdiff_t>(first) * args.x_stride;
  args.y = io.write + static_cast<ptrdiff_t>(first) * args.y_stride;
  args.rows = s.split.last(end) - first;
  s.kernel->run(args);
}

}  // namespace

Step lower_softmax(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  state->kernel = pick_kernel(softmax::kRegistry, context.options, step);
  const int32_t* exp = node.array<int32_t>("exp", 256);
  state->exp.assign(exp, exp + 256);
  state->args = {
      nullptr,           x.pixel_stride, nullptr,      y.pixel_stride, 0, static_cast<size_t>(x.c),
      state->exp.data(), 1.0f / y.scale, full_clamp(y)};
  state->split = split_work(x.pixels(), 8.0 * x.c);
  step.units = state->split.units;
  step.packed_bytes = state->exp.size() * sizeof(int32_t);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
