#include "kernels/gconv/gconv.h"

#include "runtime/lowering.h"

namespace lightkern {
namespace {

// A unit is a band of output rows of one block of groups; blocks run fastest.
struct State {
  const gconv::Kernel* kernel;
  gconv::Args args;
  Epilogue epilogue;
  std::vector<Act> table;
  Buffer packed;
  bool has_residual;
  Split bands;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  gconv::Args args = s.args;
  args.x = io.reads[0];
  args.y = io.write;
  args.residual = s.has_residual ? io.reads[1] : nullptr;
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

gconv::Geometry geometry_of(const NodeDesc& node, const TensorView& x, const TensorView& y) {
  const auto at = [&](const char* key, size_t count, size_t i) {
    return static_cast<int>(node.attr(key, count)[i]);
  };
  const int groups = node.attr("groups");
  return {x.h,
          x.w,
          y.h,
          y.w,
          groups,
          x.c / groups,
          y.c / groups,
          at("kernel", 2, 0),
          at("kernel", 2, 1),
          at("stride", 2, 0),
          at("stride", 2, 1),
          at("dilation", 2, 0),
          at("dilation", 2, 1),
          at("padding", 4, 0),
          at("padding", 4, 1),
          x.pixel_stride,
          y.pixel_stride};
}

}  // namespace

bool prefers_group_kernel(const LoweringContext& context, const NodeDesc& node) {
  const auto forced = [&](const char* op) { return context.options.kernel.rfind(op, 0) == 0; };
  const int groups = node.attr("groups");
  if (groups == 1 || forced("gemm_")) return false;
  if (forced("gconv_")) return true;
  // From 16 channels per group on the panels of a gemm are full, and with one tap there is too
  // little to sum up per transpose. Below, the registers of a vector kernel must be full.
  const int icg = context.in(node, 0).c / groups;
  const bool one_tap = node.attr("kernel", 2)[0] * node.attr("kernel", 2)[1] == 1;
  return icg == 1 || icg == 2 || icg == 4 || (icg == 8 && !one_tap);
}

Step lower_group(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  gconv::Args& args = state->args;
  args.geometry = geometry_of(node, x, context.views[static_cast<size_t>(final_output(fused))]);
  const gconv::Geometry& g = args.geometry;

  const float* weight_scale = node.array<float>("weight_scale", y.c);
  std::vector<float> multiplier(static_cast<size_t>(y.c));
  for (size_t c = 0; c < multiplier.size(); ++c)
    multiplier[c] = x.scale * weight_scale[c] / y.scale;
  const int64_t filter = static_cast<int64_t>(g.kh) * g.kw * g.icg;
  const gconv::Weights weights = {node.array<int8_t>("weight", y.c * filter),
                                  node.array<int32_t>("bias", y.c), multiplier.data(),
                                  x.zero_point};
  state->kernel = pick_kernel(
      gconv::kRegistry, context.options, step,
      [&](const gconv::Kernel& kernel) { return gconv::refuses(kernel.tile, g, weights); });
  const gconv::Tile& tile = state->kernel->tile;
  args.layout = gconv::make_layout(tile, g);
  state->packed = Buffer(gconv::packed_bytes(tile, g), context.options.guard);
  gconv::pack(tile, g, weights, state->packed.as<std::byte>());

  state->epilogue = make_epilogue(context, fused);
  if (fused.table) {
    state->table = memory_table(*fused.table);
    state->epilogue.table = state->table.data();
  }
  state->has_residual = fused.add != nullptr;
  args.packed = state->packed.as<std::byte>();
  args.x_zero = x.zero_point;
  args.epilogue = &state->epilogue;
  // A band loads kernel-height rows before its first result: make it worth that.
  const double row_macs = static_cast<double>(g.ow) * args.layout.groups_per_block * g.ocg *
                          static_cast<double>(filter);
  state->bands =
      split_work(static_cast<size_t>(g.oh), row_macs, 60000, static_cast<size_t>(2 * g.kh));

  step.macs = static_cast<double>(g.oh) * g.ow * y.c * static_cast<double>(filter);
  step.packed_bytes = state->packed.size();
  step.units = static_cast<size_t>(args.layout.blocks) * state->bands.units;
  step.scratch = gconv::scratch_bytes(tile, g);
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
