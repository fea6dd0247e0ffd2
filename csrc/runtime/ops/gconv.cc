#include "kernels/gconv/gconv.h"

#include <algorithm>

#include "runtime/ops/conv.h"

namespace lightkern {
namespace {

// A unit is a band of output rows of one block of groups; blocks run fastest.
struct State {
  const gconv::Kernel* kernel;
  gconv::Args args;
  FusedEpilogue epilogue;
  Split bands;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  gconv::Args args = s.args;
  args.x = io.reads[0];
  args.y = io.write;
  args.residual = s.epilogue.residual(io);
  args.scratch = scratch;
  const size_t blocks = static_cast<size_t>(s.args.layout.blocks);
  for (; begin < end; ++begin) {
    const size_t band = begin / blocks;
    args.block_begin = static_cast<int>(begin % blocks);
    args.block_end = args.block_begin + 1;
    args.y_begin = static_cast<int>(s.bands.first(band));
    args.y_end = static_cast<int>(s.bands.last(band + 1));
    s.kernel->run(args);
  }
}

gconv::Geometry geometry_of(const ConvWindow& w) {
  return {
      w.h,  w.w,  w.oh,  w.ow,   w.groups,         w.icg,           w.ocg, w.kh, w.kw, w.sh, w.sw,
      w.dh, w.dw, w.top, w.left, w.x_pixel_stride, w.y_pixel_stride};
}

// A layer as a kernel sees it. Where its lanes hold four channels and groups have two, two groups
// are one, whose weights are zero for the inputs of the other: half of the products are wasted, but
// bytes take their place four by four.
struct Problem {
  gconv::Geometry geometry;
  std::vector<int8_t> merged;  // weights, unless they are the model's own
  gconv::Weights weights;
};

bool can_merge(const ConvWindow& w) {
  return kActOffset != 0 && w.icg == 2 && w.groups % 2 == 0;  // it was measured on x86 alone
}

Problem merge_pairs(const ConvWindow& w, const gconv::Weights& weights) {
  Problem p{geometry_of(w), {}, weights};
  p.geometry.groups /= 2, p.geometry.icg *= 2, p.geometry.ocg *= 2;
  const size_t outputs = static_cast<size_t>(w.groups * w.ocg), inputs = 2;
  const size_t taps = static_cast<size_t>(w.kh * w.kw), ocg = static_cast<size_t>(w.ocg);
  p.merged.resize(outputs * taps * 2 * inputs);
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t t = 0; t < taps; ++t) {
      int8_t* to = p.merged.data() + (o * taps + t) * 2 * inputs + o / ocg % 2 * inputs;
      std::copy_n(weights.weight + (o * taps + t) * inputs, inputs, to);
    }
  }
  p.weights.weight = p.merged.data();
  return p;
}

// Whether the best level has a kernel for as many outputs as inputs per group, all at once.
bool has_square_kernel(const PlanOptions& options) {
  for (size_t i = 0; i < gconv::kRegistry.count; ++i) {
    const gconv::Entry& entry = gconv::kRegistry.entries[i];
    for (size_t k = 0; k < entry.table->count; ++k) {
      if (entry.isa == options.levels.front() && entry.table->kernels[k].tile.square) return true;
    }
  }
  return false;
}

// Whether seven eighths of registers of 64 channels are full.
bool fills_registers(const ConvWindow& w) {
  const int channels = w.groups * w.icg, registers = (channels + 63) / 64;
  return 8 * channels >= 7 * 64 * registers;
}

}  // namespace

bool prefers_group_kernel(const PlanOptions& options, const ConvWindow& window) {
  const auto forced = [&](const char* op) { return options.kernel.rfind(op, 0) == 0; };
  if (window.groups == 1 || forced("gemm_")) return false;
  if (forced("gconv_")) return true;
  // With one tap there is too little to sum up per transpose, unless groups are tiny. From 8
  // channels per group on x86, where the time of both is known, and from 16 on Arm, the panels of a
  // gemm are full enough. Below, the registers of a vector kernel must be full. A kernel of square
  // groups takes 8 channels 2 to 3 times as fast as gemm, one tap included, and 16 channels 1.1 to
  // 1.3 times, unless they leave its registers empty.
  constexpr bool x86 = kActOffset != 0;
  const int icg = window.icg;
  const bool one_tap = window.kh * window.kw == 1;
  if (icg == 1 || icg == 2 || icg == 4 || (icg == 8 && !one_tap && !x86)) return true;
  const bool square = window.ocg == icg && has_square_kernel(options);
  return square && (icg == 8 || (icg == 16 && !one_tap && fills_registers(window)));
}

Step lower_group(const LoweringContext& context, const Fused& fused, const ConvWindow& window) {
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  gconv::Args& args = state->args;
  args.x_zero = context.in(*fused.node, 0).zero_point;
  const ConvWeights canonical = weights_of(context, *fused.node, window);
  const gconv::Weights weights = {canonical.weight, canonical.bias, canonical.multiplier.data(),
                                  args.x_zero};
  const Problem plain{geometry_of(window), {}, weights};
  const Problem merged = can_merge(window) ? merge_pairs(window, weights) : plain;
  const auto problem = [&](const gconv::Tile& tile) -> const Problem& {
    return can_merge(window) && tile.lane == 4 ? merged : plain;
  };
  state->kernel =
      pick_kernel(gconv::kRegistry, context.options, step, [&](const gconv::Kernel& kernel) {
        const Problem& p = problem(kernel.tile);
        return gconv::refuses(kernel.tile, p.geometry, p.weights);
      });
  const gconv::Tile& tile = state->kernel->tile;
  const Problem& chosen = problem(tile);
  const gconv::Geometry& g = args.geometry = chosen.geometry;
  args.layout = gconv::make_layout(tile, g);
  step.packed_bytes = gconv::packed_bytes(tile, g);
  std::byte* packed = context.storage.take(step.packed_bytes);
  gconv::pack(tile, g, chosen.weights, packed);

  state->epilogue = FusedEpilogue(context, fused);
  args.packed = packed;
  args.epilogue = &state->epilogue.values;
  // A band loads kernel-height rows before its first result: make it worth that, the more so where
  // results take little time.
  const double row_macs = static_cast<double>(g.ow) * args.layout.groups_per_block * g.ocg *
                          static_cast<double>(window.depth());
  state->bands = split_work(static_cast<size_t>(g.oh), row_macs, 60000,
                            static_cast<size_t>((tile.square ? 4 : 2) * g.kh));

  step.macs = window.macs();
  step.units = static_cast<size_t>(args.layout.blocks) * state->bands.units;
  step.scratch = gconv::scratch_bytes(tile, g);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
