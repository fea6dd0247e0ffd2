// channel_shuffle, and a concat with a channel_shuffle behind it: one interleave.
#include "kernels/interleave/interleave.h"
#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const interleave::Kernel* kernel;
  interleave::Args args;
  std::vector<ptrdiff_t> strides;  // per part
  bool one_tensor;                 // the parts are slices of it
  Split split;                     // of pixels
};

// The thread's scratch holds the pointers to the parts.
void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  interleave::Args args = s.args;
  const ptrdiff_t first = static_cast<ptrdiff_t>(s.split.first(begin));
  const Act** parts = reinterpret_cast<const Act**>(scratch);
  for (size_t i = 0; i < args.parts; ++i) {
    const Act* x = s.one_tensor ? io.reads[0] + i * args.channels : io.reads[i];
    parts[i] = x + first * s.strides[i];
  }
  args.x = parts;
  args.y = io.write + first * args.y_pixel_stride;
  args.pixels = s.split.last(end) - s.split.first(begin);
  s.kernel->run(args);
}

}  // namespace

Step lower_shuffle(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView& y = context.views[static_cast<size_t>(final_output(fused))];
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  state->one_tensor = !fused.shuffle;
  const size_t parts =
      state->one_tensor ? static_cast<size_t>(node.attr("groups")) : node.inputs.size();
  if (parts == 0 || static_cast<size_t>(y.c) % parts != 0) {
    throw std::invalid_argument("node '" + node.name + "': channels do not divide into groups");
  }
  for (size_t i = 0; i < parts; ++i) {
    state->strides.push_back(context.in(node, state->one_tensor ? 0 : i).pixel_stride);
  }
  state->kernel = pick_kernel(
      interleave::kRegistry, context.options, step,
      [&](const interleave::Kernel& kernel) -> const char* {
        return kernel.parts && kernel.parts != parts ? "takes another number of parts" : nullptr;
      });
  state->args = {nullptr, state->strides.data(),           parts, nullptr, y.pixel_stride,
                 0,       static_cast<size_t>(y.c) / parts};
  state->split = split_work(y.pixels(), y.c, 65536);
  step.units = state->split.units;
  step.scratch = parts * sizeof(const Act*);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
