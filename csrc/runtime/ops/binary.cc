// add, sub, mul: the second operand may be broadcast.
#include "kernels/add/add.h"
#include "kernels/mul/mul.h"
#include "runtime/lowering.h"

namespace lightkern {
namespace {

template <class Kernel, class Args>
struct State {
  const Kernel* kernel;
  Args args;
  RowWork work;
  std::unique_ptr<const mul::Fit> fit;  // args may point to it
};

// The search takes as long as some hundred rows.
void find_fit(State<mul::Kernel, mul::Args>& state, size_t rows) {
  constexpr size_t kWorthFit = 16;
  const Operands& o = state.args.operands;
  if (!state.kernel->fits || !o.b_step || o.b_stride || rows < kWorthFit) return;
  auto fit = std::make_unique<mul::Fit>();
  if (!mul::fit(state.args, fit.get())) return;
  state.args.fit = fit.get();
  state.fit = std::move(fit);
}
void find_fit(State<add::Kernel, add::Args>&, size_t) {}  // make_add did

template <class Kernel, class Args>
void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State<Kernel, Args>& s = *static_cast<const State<Kernel, Args>*>(state);
  Args args = s.args;
  Operands& o = args.operands;
  o.a = io.reads[0] + s.work.offset(begin, o.a_stride);
  o.b = io.reads[1] + (o.b_stride || o.b_step ? s.work.offset(begin, o.b_stride) : 0);
  o.y = io.write + s.work.offset(begin, o.y_stride);
  o.rows = s.work.rows(begin, end);
  o.cols = s.work.cols(begin, end);
  s.kernel->run(args);
}

template <class Kernel, class Args>
Step lower(const KernelRegistry<Kernel>& registry, const LoweringContext& context,
           const Fused& fused, Args args) {
  const NodeDesc& node = *fused.node;
  const TensorView &a = context.in(node, 0), &b = context.in(node, 1), &y = context.out(node);
  const bool per_pixel = b.h == a.h && b.w == a.w;  // one pixel broadcasts like one of one
  const bool per_channel = b.c == a.c;
  if ((!per_pixel && b.pixels() != 1) || (!per_channel && b.c != 1)) {
    throw std::invalid_argument("node '" + node.name + "': the inputs do not broadcast");
  }
  Operands& o = args.operands;
  o.a_stride = a.pixel_stride;
  o.b_stride = b.pixels() == 1 ? 0 : b.pixel_stride;
  o.b_step = b.c == 1 && a.c != 1 ? 0 : 1;
  o.y_stride = y.pixel_stride;
  const bool one_value = o.b_stride == 0 && b.c == 1;
  const bool same = a.pixels() == 1 || (per_pixel && b.dense());
  if (one_value) o.b_step = 0;
  Step step = start_step(fused);
  auto state = std::make_shared<State<Kernel, Args>>();
  state->kernel = pick_kernel(registry, context.options, step);
  state->args = args;
  state->work = split_rows(y, a.dense() && y.dense() && (one_value || (per_channel && same)), 2);
  find_fit(*state, state->work.flat ? 1 : y.pixels());
  step.units = state->work.split.units;
  step.state = state;
  step.run = run<Kernel, Args>;
  return step;
}

}  // namespace

Step lower_binary(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  if (node.inputs.size() != 2)
    throw std::invalid_argument("node '" + node.name + "': needs two inputs");
  const TensorView &a = context.in(node, 0), &b = context.in(node, 1), &y = context.out(node);
  if (node.op == "mul") {
    const float multiplier = a.scale * b.scale / y.scale;
    return lower(
        mul::kRegistry, context, fused,
        mul::Args{{}, a.zero_point, b.zero_point, multiplier, make_clamp(node, y), nullptr});
  }
  return lower(add::kRegistry, context, fused, add::Args{{}, make_add(node, a, b, y)});
}

}  // namespace lightkern
