#include "kernels/table/table.h"

#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const table::Kernel* kernel;
  table::Args args;
  std::unique_ptr<const MemoryTable> table;
  RowWork work;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  table::Args args = s.args;
  args.x = io.reads[0] + s.work.offset(begin, args.x_stride);
  args.y = io.write + s.work.offset(begin, args.y_stride);
  args.rows = s.work.rows(begin, end);
  args.cols = s.work.cols(begin, end);
  s.kernel->run(args);
}

}  // namespace

Step lower_table(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  state->kernel = pick_kernel(table::kRegistry, context.options, step);
  state->table = std::make_unique<MemoryTable>(node);
  const MemoryTable& table = *state->table;
  state->args = {nullptr,
                 x.pixel_stride,
                 nullptr,
                 y.pixel_stride,
                 0,
                 0,
                 table.values,
                 table.fits ? &table.fit : nullptr};
  state->work = split_rows(y, x.dense() && y.dense());
  step.units = state->work.split.units;
  step.packed_bytes = sizeof(table.values);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
