// Drives gemm kernels over a convolution or a linear layer; gemm_rows.h is about how rows are read.
#include <algorithm>

#include "runtime/ops/gemm_rows.h"

namespace lightkern {
namespace {

struct State {
  const gemm::Kernel* kernel;
  RowSource rows;
  std::vector<gemm::Packed> weights;  // per group
  FusedEpilogue epilogue;
  // A unit is a block of output lines, of pixels in them, and of panels of each of a few groups.
  Split groups, lines, pixels, panels;
  bool panels_outermost;
  bool single_row;  // and the kernel takes it against many panels at once
};

struct Block {
  RowBlock rows;
  size_t p0, p1;
};

Block block_of(const State& s, size_t unit) {
  const size_t per_groups = s.lines.units * s.pixels.units * s.panels.units;
  const size_t group = unit / per_groups;
  size_t rest = unit % per_groups, panel, place;
  if (s.panels_outermost) {
    place = rest % (s.lines.units * s.pixels.units);
    panel = rest / (s.lines.units * s.pixels.units);
  } else {
    panel = rest % s.panels.units;
    place = rest / s.panels.units;
  }
  const size_t line = place / s.pixels.units, pixel = place % s.pixels.units;
  return {{s.groups.first(group), s.groups.last(group + 1), s.lines.first(line),
           s.lines.last(line + 1), s.pixels.first(pixel), s.pixels.last(pixel + 1)},
          s.panels.first(panel),
          s.panels.last(panel + 1)};
}

// All panels of one group of a block against its rows.
void multiply(const State& s, const Block& b, size_t group, const Rows& rows, Act* y,
              const Act* residual) {
  const ConvWindow& w = s.rows.window;
  gemm::Args args{};
  args.a_stride = rows.pixel;
  args.copied = s.rows.access == RowAccess::kCopied;
  args.m = b.rows.x1 - b.rows.x0;
  size_t lines = b.rows.y1 - b.rows.y0;
  if (s.rows.access == RowAccess::kWindows && s.pixels.units == 1) {
    args.m *= lines, lines = 1;  // nothing lies between
  }
  args.y_stride = w.y_pixel_stride;
  args.epilogue = &s.epilogue.values;
  for (size_t p = b.p0; p < b.p1; ++p) {
    args.panel = &s.weights[group].panels[p];
    const ptrdiff_t channel =
        static_cast<ptrdiff_t>(group) * w.ocg + static_cast<ptrdiff_t>(p) * s.kernel->tile.nr;
    for (size_t line = 0; line < lines; ++line) {
      const ptrdiff_t pixel =
          static_cast<ptrdiff_t>(b.rows.y0 + line) * w.ow + static_cast<ptrdiff_t>(b.rows.x0);
      args.a = rows.first + static_cast<ptrdiff_t>(line) * rows.line;
      args.y = y + pixel * args.y_stride + channel;
      args.residual =
          residual ? residual + pixel * s.epilogue.values.residual_stride + channel : nullptr;
      s.kernel->run(args);
    }
  }
}

// Units are nothing but panels here, which follow each other.
void run_single_row(const State& s, const StepIo& io, size_t begin, size_t end) {
  const size_t p0 = s.panels.first(begin), p1 = s.panels.last(end);
  const size_t channel = p0 * static_cast<size_t>(s.kernel->tile.nr);
  const Act* residual = s.epilogue.residual(io);
  gemm::Args args{};
  args.a = io.reads[0];
  args.m = 1;
  args.panel = &s.weights[0].panels[p0];
  args.panels = p1 - p0;
  args.y = io.write + channel;
  args.residual = residual ? residual + channel : nullptr;
  args.epilogue = &s.epilogue.values;
  s.kernel->row(args);
}

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  if (s.single_row) return run_single_row(s, io, begin, end);
  const size_t icg = static_cast<size_t>(s.rows.window.icg);
  RowBlock last{};
  for (size_t unit = begin; unit < end; ++unit) {
    const Block b = block_of(s, unit);
    Rows rows = read_rows(s.rows, b.rows, io.reads[0] + b.rows.g0 * icg,
                          reinterpret_cast<Act*>(scratch), b.rows == last);
    last = b.rows;
    for (size_t g = b.rows.g0; g < b.rows.g1; ++g, rows.first += icg) {
      multiply(s, b, g, rows, io.write, s.epilogue.residual(io));
    }
  }
}

// --- planning ------------------------------------------------------------------------------------

// Cuts the output into blocks whose inputs stay in cache, and into enough units for several
// threads.
void split(State& s, size_t panels_per_group) {
  constexpr size_t kBlockBytes = 24 << 10, kLeastPixels = 48, kUnits = 64, kMostCopied = 64 << 10;
  constexpr double kLeastMacs = 40000;
  const ConvWindow& w = s.rows.window;
  const size_t mr = static_cast<size_t>(s.kernel->tile.mr),
               nr = static_cast<size_t>(s.kernel->tile.nr);
  const size_t oh = static_cast<size_t>(w.oh), ow = static_cast<size_t>(w.ow);
  const size_t groups = s.groups.per_unit;
  const size_t width =
      s.rows.access == RowAccess::kCopied ? static_cast<size_t>(s.kernel->row_copy.width) : 1;
  const size_t bytes_per_pixel = std::max<size_t>(
      groups * static_cast<size_t>(w.icg * w.sw) * static_cast<size_t>(w.kh) * width, 1);
  const double macs_per_pixel = static_cast<double>(w.depth() * groups) * w.ocg;

  // Of inputs and weights, the greater one should pass through the cache once.
  const double input_bytes = static_cast<double>(oh * ow) * static_cast<double>(bytes_per_pixel);
  const double weight_bytes =
      static_cast<double>(panels_per_group * nr) * static_cast<double>(w.depth());
  const bool more_weights = weight_bytes > input_bytes;
  // Rows that are copied for less effort: all at once, where that saves reading weights again.
  const bool one_copy = s.rows.access == RowAccess::kCopied && !s.kernel->row_copy.needed &&
                        more_weights && input_bytes <= static_cast<double>(kMostCopied);
  const size_t fitting =
      one_copy ? ow
               : std::max(kLeastPixels / width,
                          kBlockBytes / (bytes_per_pixel + groups * static_cast<size_t>(w.ocg)));
  const size_t pixel_blocks = (ow + fitting - 1) / fitting;
  const size_t pixels = (ow + pixel_blocks - 1) / pixel_blocks;
  s.pixels = split_work(ow, 1, static_cast<double>(pixels), mr);
  const bool several_lines = w.dh == 1 && w.sh <= w.kh && s.pixels.units == 1;
  s.lines =
      split_work(oh, 1, several_lines ? static_cast<double>(std::max<size_t>(fitting / ow, 1)) : 1);

  const size_t blocks = s.lines.units * s.pixels.units * s.groups.units;
  const double block_macs =
      macs_per_pixel * static_cast<double>(s.lines.per_unit * s.pixels.per_unit);
  const size_t most_parts = std::max<size_t>(static_cast<size_t>(block_macs / kLeastMacs), 1);
  const size_t parts = std::min({(kUnits + blocks - 1) / blocks, most_parts, panels_per_group});
  s.panels =
      split_work(panels_per_group, 1, static_cast<double>((panels_per_group + parts - 1) / parts));
  s.panels_outermost = s.rows.access == RowAccess::kInPlace && more_weights;
}

void pack_weights(State& s, const LoweringContext& context, const NodeDesc& node) {
  const ConvWindow& w = s.rows.window;
  const size_t ocg = static_cast<size_t>(w.ocg), k = w.depth();
  const ConvWeights weights = weights_of(context, node, w);
  // A single row is bound by reading its weights: couples, which take long to find, would gain
  // nothing.
  const bool single_row = w.oh * w.ow == 1;
  const gemm::PairRule pairs = single_row && s.kernel->pairs == gemm::PairRule::kCoupled
                                   ? gemm::PairRule::kExact
                                   : s.kernel->pairs;
  const std::vector<gemm::Segment> segments = row_segments(s.rows);
  std::vector<int8_t> sorted;
  const int8_t* weight = weights.weight;
  if (s.rows.access == RowAccess::kRests) {  // one group
    sorted = sort_weights(s.rows, weight, ocg);
    weight = sorted.data();
  }
  for (size_t g = 0; g < static_cast<size_t>(w.groups); ++g) {
    const gemm::Source source{weight + g * ocg * k,
                              weights.bias + g * ocg,
                              weights.multiplier.data() + g * ocg,
                              ocg,
                              s.rows.x_zero,
                              segments,
                              s.rows.access != RowAccess::kInPlace};
    s.weights.push_back(gemm::pack(source, s.kernel->tile, pairs, context.storage));
  }
}

// Whether 16-bit words take less time than exact pairs of these weights: where many of them could
// saturate. Asks the first panel alone.
bool words_pay(const LoweringContext& context, const NodeDesc& node, const ConvWindow& w,
               const gemm::Kernel& kernel) {
  constexpr double kWordCost = 1.25;  // of a multiply of words, whose sum is one more addition
  if (w.ow < 2 * kernel.tile.mr) return false;  // bound by reading weights
  const ConvWeights weights = weights_of(context, node, w);
  const gemm::Source source{
      weights.weight,
      weights.bias,
      weights.multiplier.data(),
      std::min(static_cast<size_t>(w.ocg), static_cast<size_t>(kernel.tile.nr)),
      context.in(node, 0).zero_point,
      {{0, static_cast<int32_t>(w.depth())}},
      true};
  gemm::Tile pairs = kernel.tile;
  pairs.kr = 4;
  return kWordCost * gemm::count_multiplies(source, kernel.tile, kernel.pairs) <
         gemm::count_multiplies(source, pairs, gemm::PairRule::kCoupled);
}

const gemm::Kernel* choose_kernel(const LoweringContext& context, const NodeDesc& node,
                                  const ConvWindow& w, Step& step) {
  const auto refuses = [&](const gemm::Kernel& kernel) -> const char* {
    if (kernel.format != gemm::WeightFormat::kDense) return "it takes another weight format";
    if (kernel.row_copy.needed && !is_one_line(w)) return "it takes pointwise layers only";
    const bool asked =
        kernel.pairs == gemm::PairRule::kWords && context.options.kernel != kernel.name;
    if (asked && !words_pay(context, node, w, kernel)) return "pairs of bytes take less time";
    return wrong_core(kernel, context.options);
  };
  return pick_kernel(gemm::kRegistry, context.options, step, refuses);
}

}  // namespace

Step lower_gemm(const LoweringContext& context, const Fused& fused, ConvWindow window) {
  const NodeDesc& node = *fused.node;
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  State& s = *state;
  if (window.kh == 1 && window.kw == 1 && window.sh == 1 && window.sw == 1 &&
      !sees_padding(window)) {
    window.w = window.ow = window.oh * window.ow;  // pointwise: the image is one line
    window.h = window.oh = 1;
  }
  s.kernel = choose_kernel(context, node, window, step);
  const gemm::Tile& tile = s.kernel->tile;
  const size_t panels = static_cast<size_t>((window.ocg + tile.nr - 1) / tile.nr);
  s.rows = choose_rows(*s.kernel, window, static_cast<Act>(context.in(node, 0).zero_point), panels);
  s.groups = split_groups(s.rows);
  split(s, panels);
  s.single_row = s.kernel->row && s.rows.access == RowAccess::kInPlace && window.groups == 1 &&
                 window.oh * window.ow == 1;
  step.scratch = reserve_rows(s.rows, s.groups.per_unit, s.lines.per_unit, s.pixels.per_unit);
  pack_weights(s, context, node);

  s.epilogue = FusedEpilogue(context, fused);
  for (const gemm::Packed& packed : s.weights) step.packed_bytes += packed.bytes;
  step.macs = window.macs();
  step.units = s.groups.units * s.lines.units * s.pixels.units * s.panels.units;
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
