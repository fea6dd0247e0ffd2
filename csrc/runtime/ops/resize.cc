#include "kernels/resize/resize.h"

#include <algorithm>

#include "runtime/lowering.h"

namespace lightkern {
namespace {

struct State {
  const resize::Kernel* kernel;
  resize::Args args;
  std::vector<resize::Pair> y_pairs, x_pairs;
  Split split;  // of output rows
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  resize::Args args = s.args;
  const size_t first = s.split.first(begin);
  args.x = io.reads[0];
  args.y = io.write + static_cast<ptrdiff_t>(first * args.cols) * args.y_pixel_stride;
  args.y_pairs += first;
  args.rows = s.split.last(end) - first;
  s.kernel->run(args);
}

std::vector<resize::Pair> make_pairs(const NodeDesc& node, const char* low_key,
                                     const char* fraction_key, int outputs, int inputs,
                                     ptrdiff_t stride) {
  const int32_t* low = node.array<int32_t>(low_key, outputs);
  const int32_t* fraction = node.array<int32_t>(fraction_key, outputs);
  std::vector<resize::Pair> pairs;
  for (int i = 0; i < outputs; ++i) {
    if (low[i] < 0 || low[i] >= inputs || fraction[i] < 0 || fraction[i] > 2048) {
      throw std::invalid_argument("node '" + node.name + "': " + low_key + " or " + fraction_key +
                                  " is out of range");
    }
    const int high = std::min(low[i] + 1, inputs - 1);
    pairs.push_back({low[i] * stride, high * stride, fraction[i]});
  }
  return pairs;
}

}  // namespace

Step lower_resize(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  state->kernel = pick_kernel(resize::kRegistry, context.options, step);
  state->y_pairs = make_pairs(node, "y_low", "y_fraction", y.h, x.h, x.w * x.pixel_stride);
  state->x_pairs = make_pairs(node, "x_low", "x_fraction", y.w, x.w, x.pixel_stride);
  state->args = {nullptr,
                 nullptr,
                 y.pixel_stride,
                 0,
                 static_cast<size_t>(y.w),
                 static_cast<size_t>(y.c),
                 state->y_pairs.data(),
                 state->x_pairs.data()};
  state->split = split_work(static_cast<size_t>(y.h), 4.0 * y.w * y.c, 65536);
  step.units = state->split.units;
  step.packed_bytes = (state->y_pairs.size() + state->x_pairs.size()) * sizeof(resize::Pair);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
