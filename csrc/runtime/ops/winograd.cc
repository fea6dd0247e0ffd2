#include "kernels/winograd/winograd.h"

#include <cstdlib>

#include "runtime/ops/conv.h"

namespace lightkern {
namespace {

// A unit is a band of pairs of output rows of one block of groups; bands run fastest, while the
// weights of the block are in L1.
struct State {
  const winograd::Kernel* kernel;
  winograd::Args args;
  FusedEpilogue epilogue;
  Split bands;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  winograd::Args args = s.args;
  args.x = io.reads[0];
  args.y = io.write;
  args.residual = s.epilogue.residual(io);
  args.scratch = scratch;
  for (; begin < end; ++begin) {
    const size_t band = begin % s.bands.units;
    args.block_begin = static_cast<int>(begin / s.bands.units);
    args.block_end = args.block_begin + 1;
    args.pair_begin = static_cast<int>(s.bands.first(band));
    args.pair_end = static_cast<int>(s.bands.last(band + 1));
    s.kernel->run(args);
  }
}

winograd::Geometry geometry_of(const ConvWindow& w) {
  return {w.h,
          w.w,
          w.oh,
          w.ow,
          w.groups,
          w.icg,
          w.ocg,
          w.top,
          w.left,
          w.x_pixel_stride,
          w.y_pixel_stride};
}

winograd::Weights weights_for(const ConvWeights& w, int32_t x_zero) {
  return {w.weight, w.bias, w.multiplier.data(), x_zero};
}

// Pairs for which kernels of bytes need further steps (gemm.h, PairRule::kExact).
bool has_heavy_pairs(const ConvWindow& w, const ConvWeights& weights) {
  const size_t count = static_cast<size_t>(w.groups) * static_cast<size_t>(w.ocg) * w.depth();
  for (size_t i = 0; i + 1 < count; i += 2) {
    if (std::abs(weights.weight[i] + weights.weight[i + 1]) > 128) return true;
  }
  return false;
}

// Whether the work that is saved exceeds that of tiles beyond the edges and of weights that grow by
// 32 / 9, which a small image has no work to hide behind. Against gemm in bytes, as measured on
// AVX2: 1.1 to 1.3 times as fast on whole tiles, 1.9 times where pairs are heavy.
bool pays(const ConvWindow& w, const ConvWeights& weights) {
  constexpr int kMostWeights = 128 * 128;  // per tap and group: they should stay in L2
  if (w.icg * w.ocg > kMostWeights) return false;
  const double pixels = static_cast<double>(w.oh) * w.ow;
  const double used = pixels / (4.0 * ((w.oh + 1) / 2) * ((w.ow + 1) / 2));
  if (used >= 0.85 && (pixels >= 400 || w.icg * w.ocg <= 256)) return true;
  return used >= 0.6 && has_heavy_pairs(w, weights);
}

}  // namespace

bool prefers_winograd(const LoweringContext& context, const NodeDesc& node, const ConvWindow& w) {
  const PlanOptions& options = context.options;
  const bool fits = w.kh == 3 && w.kw == 3 && w.sh == 1 && w.sw == 1 && w.dh == 1 && w.dw == 1;
  if (!fits) return false;
  if (options.kernel.rfind("winograd_", 0) == 0) return true;
  if (options.kernel.rfind("gemm_", 0) == 0 || options.kernel.rfind("gconv_", 0) == 0) return false;
  // Where the best level has a kernel of its own: others multiply bytes faster.
  const ConvWeights canonical = weights_of(context, node, w);
  if (!pays(w, canonical)) return false;
  const winograd::Weights weights = weights_for(canonical, context.in(node, 0).zero_point);
  for (size_t i = 0; i < winograd::kRegistry.count; ++i) {
    const winograd::Entry& entry = winograd::kRegistry.entries[i];
    if (entry.isa != options.levels.front() || entry.isa == Isa::scalar) continue;
    for (size_t k = 0; k < entry.table->count; ++k) {
      if (!winograd::refuses(entry.table->kernels[k].tile, geometry_of(w), weights)) return true;
    }
  }
  return false;
}

Step lower_winograd(const LoweringContext& context, const Fused& fused, const ConvWindow& window) {
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  winograd::Args& args = state->args;
  args.geometry = geometry_of(window);
  args.x_zero = context.in(*fused.node, 0).zero_point;
  const winograd::Geometry& g = args.geometry;
  const ConvWeights canonical = weights_of(context, *fused.node, window);
  const winograd::Weights weights = weights_for(canonical, args.x_zero);
  state->kernel = pick_kernel(
      winograd::kRegistry, context.options, step,
      [&](const winograd::Kernel& kernel) { return winograd::refuses(kernel.tile, g, weights); });
  const winograd::Tile& tile = state->kernel->tile;
  args.layout = winograd::make_layout(tile, g);
  args.bounded = winograd::is_bounded(g, weights);
  step.packed_bytes = winograd::packed_bytes(tile, g);
  std::byte* packed = context.storage.take(step.packed_bytes);
  winograd::pack(tile, g, weights, packed);

  state->epilogue = FusedEpilogue(context, fused);
  args.packed = packed;
  args.epilogue = &state->epilogue.values;
  const double pair_macs =
      2.0 * g.ow * args.layout.groups_per_block * g.ocg * static_cast<double>(window.depth());
  state->bands = split_work(static_cast<size_t>(args.layout.pairs), pair_macs, 250000);

  step.macs = window.macs();
  step.units = static_cast<size_t>(args.layout.blocks) * state->bands.units;
  step.scratch = winograd::scratch_bytes(tile, g);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
