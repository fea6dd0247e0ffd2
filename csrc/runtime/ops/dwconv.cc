#include "kernels/dwconv/dwconv.h"

#include <algorithm>

#include "runtime/ops/conv.h"

namespace lightkern {
namespace {

// A unit is a band of output rows of a slice of channels; slices run fastest, so that the threads
// share a band of input while it is in the cache.
struct State {
  const dwconv::Kernel* kernel;
  dwconv::Args args;
  FusedEpilogue epilogue;
  Split slices, bands;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  dwconv::Args args = s.args;
  args.x = io.reads[0];
  args.y = io.write;
  args.residual = s.epilogue.residual(io);
  args.scratch = scratch;
  while (begin < end) {
    const size_t band = begin / s.slices.units, slice = begin % s.slices.units;
    const size_t slice_end = std::min(s.slices.units, slice + (end - begin));
    args.y_begin = static_cast<int>(s.bands.first(band));
    args.y_end = static_cast<int>(s.bands.last(band + 1));
    args.c_begin = static_cast<int>(s.slices.first(slice));
    args.c_end = static_cast<int>(s.slices.last(slice_end));
    s.kernel->run(args);
    begin += slice_end - slice;
  }
}

dwconv::Geometry geometry_of(const ConvWindow& w) {
  return {w.h,
          w.w,
          w.groups,
          w.oh,
          w.ow,
          w.kh,
          w.kw,
          w.sh,
          w.sw,
          w.dh,
          w.dw,
          w.top,
          w.left,
          w.x_pixel_stride,
          w.y_pixel_stride};
}

// Equal slices of at most 64 channels, a cache line. Bands: high enough that filling the kernel's
// rows does not show, low enough that threads share the work (slices may be few, and the last one
// narrow) and that the input of a band fits into half of a small second-level cache.
void split(State& s, int block, int rows) {
  constexpr size_t kSlice = 64, kLeastRows = 8, kLeastUnits = 4, kBandBytes = 128 << 10;
  constexpr double kLeastMacs = 30000;
  const dwconv::Geometry& g = s.args.geometry;
  const size_t c = static_cast<size_t>(g.c), oh = static_cast<size_t>(g.oh),
               grain = static_cast<size_t>(rows);
  const size_t slices = (c + kSlice - 1) / kSlice;
  s.slices =
      split_work(c, 1, static_cast<double>((c + slices - 1) / slices), static_cast<size_t>(block));
  const size_t row_bytes = static_cast<size_t>(g.w) * c * static_cast<size_t>(g.sh);
  const double row_macs =
      static_cast<double>(g.ow) * g.kh * g.kw * static_cast<double>(std::min(c, kSlice));
  const size_t bands = (kLeastUnits + s.slices.units - 1) / s.slices.units;
  const size_t shared = ((oh + bands - 1) / bands + grain - 1) / grain * grain;
  const size_t fitting =
      std::max(kLeastRows, std::min(shared, kBandBytes / row_bytes / grain * grain));
  s.bands = split_work(oh, row_macs, kLeastMacs, std::max(grain, kLeastRows));
  if (s.bands.per_unit < fitting) s.bands = split_work(oh, 1, static_cast<double>(fitting), grain);
}

}  // namespace

Step lower_depthwise(const LoweringContext& context, const Fused& fused, const ConvWindow& window) {
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  dwconv::Args& args = state->args;
  args.geometry = geometry_of(window);
  args.x_zero = context.in(*fused.node, 0).zero_point;
  const dwconv::Geometry& g = args.geometry;
  const ConvWeights canonical = weights_of(context, *fused.node, window);
  const dwconv::Weights weights = {canonical.weight, canonical.bias, canonical.multiplier.data(),
                                   args.x_zero};
  args.fits16 = dwconv::results_below(g, weights, 32000.0);
  state->kernel =
      pick_kernel(dwconv::kRegistry, context.options, step, [&](const dwconv::Kernel& kernel) {
        const char* reason = kernel.refuses(g, weights);
        return reason ? reason : wrong_core(kernel, context.options);
      });
  const dwconv::Kernel& kernel = *state->kernel;
  step.packed_bytes = kernel.packed_bytes(g);
  std::byte* packed = context.storage.take(step.packed_bytes);
  kernel.pack(g, weights, packed);

  state->epilogue = FusedEpilogue(context, fused);
  args.packed = packed;
  args.epilogue = &state->epilogue.values;
  split(*state, kernel.block, kernel.rows);

  step.macs = window.macs();
  step.units = state->slices.units * state->bands.units;
  step.scratch = kernel.scratch_bytes(g);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
