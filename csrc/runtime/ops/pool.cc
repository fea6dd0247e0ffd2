// avg_pool, max_pool, global_avg_pool.
#include "kernels/avgpool/avgpool.h"
#include "kernels/globalpool/globalpool.h"
#include "kernels/maxpool/maxpool.h"
#include "runtime/lowering.h"

namespace lightkern {
namespace {

template <class Kernel, class Args>
struct State {
  const Kernel* kernel;
  Args args;
  Split split;  // output rows of a windowed pool, channels of a global one
};

using GlobalState = State<globalpool::Kernel, globalpool::Args>;

template <class Kernel, class Args>
void run_windows(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State<Kernel, Args>& s = *static_cast<const State<Kernel, Args>*>(state);
  Args args = s.args;
  args.x = io.reads[0];
  args.row_begin = static_cast<int>(s.split.first(begin));
  args.row_end = static_cast<int>(s.split.last(end));
  args.y = io.write + args.row_begin * args.y_pixel_stride * args.out_w;
  s.kernel->run(args);
}

void run_global(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const GlobalState& s = *static_cast<const GlobalState*>(state);
  globalpool::Args args = s.args;
  const size_t first = s.split.first(begin);
  args.x = io.reads[0] + first;
  args.y = io.write + first;
  args.channels = s.split.last(end) - first;
  s.kernel->run(args);
}

Window make_window(const NodeDesc& node, const TensorView& x, const TensorView& y) {
  const auto two = [&](const char* key) {
    const std::vector<int64_t>& values = node.attr(key, 2);
    return std::pair<int, int>(static_cast<int>(values[0]), static_cast<int>(values[1]));
  };
  const auto [kernel_h, kernel_w] = two("kernel");
  const auto [stride_h, stride_w] = two("stride");
  const auto [dilation_h, dilation_w] =
      node.ints.count("dilation") ? two("dilation") : std::pair<int, int>(1, 1);
  const std::vector<int64_t>& padding = node.attr("padding", 4);
  const Window window = {x.h,
                         x.w,
                         kernel_h,
                         kernel_w,
                         stride_h,
                         stride_w,
                         static_cast<int>(padding[0]),
                         static_cast<int>(padding[1]),
                         dilation_h,
                         dilation_w};
  // The rules of the format say so already; reading out of bounds rests on it.
  const auto sees_input = [](int out, int size, int kernel, int stride, int before, int dilation) {
    if (out < 1 || kernel < 1 || stride < 1 || before < 0 || dilation < 1) return false;
    for (const int at : {0, out - 1}) {
      const Taps taps = taps_inside(at * stride - before, kernel, dilation, size);
      if (taps.first >= taps.last) return false;
    }
    return true;
  };
  if (!sees_input(y.h, x.h, kernel_h, stride_h, window.top, dilation_h) ||
      !sees_input(y.w, x.w, kernel_w, stride_w, window.left, dilation_w)) {
    throw std::invalid_argument("node '" + node.name + "': some outputs see padding only");
  }
  return window;
}

template <class Kernel, class Args>
Step lower_windows(const KernelRegistry<Kernel>& registry, const LoweringContext& context,
                   const Fused& fused, Args args) {
  const TensorView &x = context.in(*fused.node, 0), &y = context.out(*fused.node);
  Step step = start_step(fused);
  auto state = std::make_shared<State<Kernel, Args>>();
  state->kernel = pick_kernel(registry, context.options, step);
  args.window = make_window(*fused.node, x, y);
  args.x_pixel_stride = x.pixel_stride;
  args.y_pixel_stride = y.pixel_stride;
  args.out_w = y.w;
  args.channels = static_cast<size_t>(y.c);
  state->args = args;
  const double per_row =
      static_cast<double>(y.w) * y.c * args.window.kernel_h * args.window.kernel_w;
  state->split = split_work(static_cast<size_t>(y.h), per_row, 200000);
  step.units = state->split.units;
  step.state = state;
  step.run = run_windows<Kernel, Args>;
  return step;
}

Step lower_global(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<GlobalState>();
  state->kernel = pick_kernel(globalpool::kRegistry, context.options, step);
  const float multiplier = x.scale / y.scale / static_cast<float>(x.pixels());
  state->args = {nullptr,      x.pixel_stride,           nullptr,
                 x.pixels(),   static_cast<size_t>(x.c), multiplier,
                 x.zero_point, make_clamp(node, y)};
  state->split = split_work(static_cast<size_t>(x.c), static_cast<double>(x.pixels()), 200000, 64);
  step.units = state->split.units;
  step.state = state;
  step.run = run_global;
  return step;
}

}  // namespace

Step lower_pool(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  if (node.op == "global_avg_pool") return lower_global(context, fused);
  if (node.op == "max_pool")
    return lower_windows(maxpool::kRegistry, context, fused, maxpool::Args{});
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  avgpool::Args args{};
  args.include_padding = node.attr("count_include_pad") != 0;
  args.scale = x.scale / y.scale;
  args.zero_point = x.zero_point;
  args.clamp = make_clamp(node, y);
  return lower_windows(avgpool::kRegistry, context, fused, args);
}

}  // namespace lightkern
