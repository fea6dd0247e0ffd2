#include "kernels/table/table.h"

#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const table::Kernel* kernel;
  table::Args args;
  std::vector<Act> table;
  Split split;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  table::Args args = s.args;
  const size_t first = s.split.first(begin);
  args.x = io.reads[0] + static_cast<ptrdiff_t>(first) * args.x_stride;
  args.y = io.write + static_cast<ptrdiff_t>(first) * args.y_stride;
  args.rows = s.split.last(end) - first;
  s.kernel->run(args);
}

}  // namespace

Step lower_table(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  state->kernel = pick_kernel(table::kRegistry, context.options, step,
                              [](const table::Kernel&) -> const char* { return nullptr; });
  state->table = memory_table(node);
  state->args = {nullptr,  x.pixel_stride,           nullptr, y.pixel_stride,
                 x.pixels(), static_cast<size_t>(x.c), state->table.data()};
  state->split = split_work(x.pixels(), x.c, 8192);
  step.units = state->split.units;
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
