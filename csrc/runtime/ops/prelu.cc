#include "kernels/prelu/prelu.h"

#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const prelu::Kernel* kernel;
  prelu::Args args;
  std::vector<float> negative;
  Split split;  // of pixels
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  prelu::Args args = s.args;
  const size_t first = s.split.first(begin);
  args.x = io.reads[0] + static_cast<ptrdiff_t>(first) * args.x_pixel_stride;
  args.y = io.write + static_cast<ptrdiff_t>(first) * args.y_pixel_stride;
  args.pixels = s.split.last(end) - first;
  s.kernel->run(args);
}

}  // namespace

Step lower_prelu(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  state->kernel = pick_kernel(prelu::kRegistry, context.options, step);
  const size_t channels = static_cast<size_t>(x.c);
  const float* slope = node.array<float>("slope", x.c);
  for (size_t c = 0; c < channels; ++c) state->negative.push_back(x.scale * slope[c] / y.scale);
  state->args = {
      nullptr,           x.pixel_stride,         nullptr,      y.pixel_stride,     0, channels,
      x.scale / y.scale, state->negative.data(), x.zero_point, make_clamp(node, y)};
  state->split = split_work(x.pixels(), 2.0 * x.c, 65536);
  step.units = state->split.units;
  step.packed_bytes = channels * sizeof(float);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
