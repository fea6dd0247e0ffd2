// Drives gemm kernels over a convolution or a linear layer.
//
// Rows of a gemm are windows, and a window is read where it lies: the packer gives each step of the
// depth the byte offset of its inputs. Where windows reach into the padding, the few lines of the
// image that a block of output needs are first copied into scratch with the padding around them;
// that reads every input about kh / sh times, instead of the kh * kw / (sh * sw) times of a copy
// per window. Of a group convolution the channels of several groups are copied at once. Only where
// a line of the window is short and fills its steps badly, as with the three channels of a picture
// (9 steps instead of 7), windows are then copied out too, one behind the other.
#include <algorithm>
#include <cstring>

#include "kernels/gemm/pack.h"
#include "runtime/ops/conv.h"

namespace lightkern {
namespace {

// Groups are copied together up to this many channels: a pixel of them is then one or two moves.
constexpr size_t kCopiedChannels = 32;

struct State {
  const gemm::Kernel* kernel;
  ConvWindow window;
  bool copies;             // lines are read from scratch
  ptrdiff_t pixel, pitch;  // bytes between pixels and between lines of those
  ptrdiff_t gathered;  // bytes between windows that are copied out, behind the lines; 0: none is
  size_t line_bytes;   // of scratch
  ptrdiff_t paired;    // bytes between pairs of rows in scratch (Kernel::pair_rows); 0: none are
  std::vector<gemm::Packed> weights;  // per group
  FusedEpilogue epilogue;
  Act x_zero;
  // A unit is a block of output lines, of pixels in them, and of panels of each of a few groups.
  Split groups, lines, pixels, panels;
  bool panels_outermost;
};

struct Block {
  size_t g0, g1, y0, y1, x0, x1, p0, p1;

  bool same_windows(const Block& other) const {
    return g0 == other.g0 && y0 == other.y0 && x0 == other.x0;
  }
};

Block block_of(const State& s, size_t unit) {
  const size_t per_groups = s.lines.units * s.pixels.units * s.panels.units;
  Block b{};
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
  b.g0 = s.groups.first(group), b.g1 = s.groups.last(group + 1);
  b.y0 = s.lines.first(line), b.y1 = s.lines.last(line + 1);
  b.x0 = s.pixels.first(pixel), b.x1 = s.pixels.last(pixel + 1);
  b.p0 = s.panels.first(panel), b.p1 = s.panels.last(panel + 1);
  return b;
}

// Copies `count` pixels of `channels` bytes from one stride to another.
void copy_pixels(const Act* from, ptrdiff_t stride, size_t channels, size_t count, Act* to,
                 ptrdiff_t to_stride) {
  if (stride == to_stride && static_cast<ptrdiff_t>(channels) == stride) {
    std::memcpy(to, from, count * channels);
    return;
  }
  const auto copy = [&](auto pixel) {
    for (size_t i = 0; i < count; ++i, from += stride, to += to_stride) pixel();
  };
  // A length that the compiler knows becomes two moves instead of a call.
  if (channels == kCopiedChannels) {
    copy([&] { std::memcpy(to, from, kCopiedChannels); });
  } else {
    copy([&] { std::memcpy(to, from, channels); });
  }
}

// The lines and columns that the windows of a block see, with zero points where they see padding.
void copy_windows(const State& s, const Block& b, const Act* x, Act* scratch) {
  const ConvWindow& w = s.window;
  const ptrdiff_t lines = static_cast<ptrdiff_t>(b.y1 - b.y0 - 1) * w.sh + w.kh;
  const ptrdiff_t columns =
      static_cast<ptrdiff_t>(b.x1 - b.x0 - 1) * w.sw + static_cast<ptrdiff_t>(w.kw - 1) * w.dw + 1;
  const ptrdiff_t column0 = static_cast<ptrdiff_t>(b.x0) * w.sw - w.left;
  const ptrdiff_t begin = std::clamp<ptrdiff_t>(-column0, 0, columns);
  const ptrdiff_t end = std::clamp<ptrdiff_t>(w.w - column0, begin, columns);
  const size_t channels = (b.g1 - b.g0) * static_cast<size_t>(w.icg);
  const auto zero_points = [&](Act* to, ptrdiff_t pixels) {
    std::memset(to, s.x_zero, static_cast<size_t>(pixels * s.pixel));
  };
  for (ptrdiff_t i = 0; i < lines; ++i) {
    const ptrdiff_t line = static_cast<ptrdiff_t>(b.y0) * w.sh - w.top + i * w.dh;
    Act* to = scratch + i * s.pitch;
    if (line < 0 || line >= w.h || begin == end) {
      zero_points(to, columns);
      continue;
    }
    zero_points(to, begin);
    copy_pixels(x + (line * w.w + column0 + begin) * w.x_pixel_stride, w.x_pixel_stride, channels,
                static_cast<size_t>(end - begin), to + begin * s.pixel, s.pixel);
    zero_points(to + end * s.pixel, columns - end);
  }
}

// Copies `bytes` of each line of a window: constant sizes take few instructions, and each copy
// mends the end of the one before it. height: of the window, if it is known.
template <size_t bytes, int height = 0>
void gather(const State& s, const Block& b, const Act* lines, Act* to) {
  const ConvWindow& w = s.window;
  const ptrdiff_t length = static_cast<ptrdiff_t>(w.kw) * w.icg, step = w.sw * s.pixel;
  const ptrdiff_t pitch = s.pitch, gathered = s.gathered;
  const int kh = height ? height : w.kh;
  for (size_t y = b.y0; y < b.y1; ++y, lines += w.sh * pitch) {
    const Act* window = lines;
    for (size_t x = b.x0; x < b.x1; ++x, window += step, to += gathered) {
      for (int r = 0; r < kh; ++r) std::memcpy(to + r * length, window + r * pitch, bytes);
    }
  }
}

// The windows of a block, from lines of it, one behind the other. Reads and writes up to
// kMostGathered bytes too many.
constexpr size_t kMostGathered = 32;
void gather_windows(const State& s, const Block& b, const Act* lines, Act* to) {
  if (s.window.kw * s.window.icg > 16) return gather<kMostGathered>(s, b, lines, to);
  s.window.kh == 3 ? gather<16, 3>(s, b, lines, to) : gather<16>(s, b, lines, to);
}

// Windows of a block: the first one, and how far others are from it.
struct Windows {
  const Act* first;
  ptrdiff_t pixel, line;
};

// All panels of one group of a block against its windows.
void multiply(const State& s, const Block& b, size_t group, const Windows& windows, Act* y,
              const Act* residual) {
  const ConvWindow& w = s.window;
  gemm::Args args{};
  args.a_stride = windows.pixel;
  args.paired = s.paired > 0;
  args.m = b.x1 - b.x0;
  size_t lines = b.y1 - b.y0;
  if (s.gathered && s.pixels.units == 1) args.m *= lines, lines = 1;  // nothing lies between
  args.y_stride = w.y_pixel_stride;
  args.epilogue = &s.epilogue.values;
  for (size_t p = b.p0; p < b.p1; ++p) {
    args.panel = &s.weights[group].panels[p];
    const ptrdiff_t channel =
        static_cast<ptrdiff_t>(group) * w.ocg + static_cast<ptrdiff_t>(p) * s.kernel->tile.nr;
    for (size_t line = 0; line < lines; ++line) {
      const ptrdiff_t pixel =
          static_cast<ptrdiff_t>(b.y0 + line) * w.ow + static_cast<ptrdiff_t>(b.x0);
      args.a = windows.first + static_cast<ptrdiff_t>(line) * windows.line;
      args.y = y + pixel * args.y_stride + channel;
      args.residual =
          residual ? residual + pixel * s.epilogue.values.residual_stride + channel : nullptr;
      s.kernel->run(args);
    }
  }
}

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte* scratch) {
  const State& s = *static_cast<const State*>(state);
  const ConvWindow& w = s.window;
  Act* lines = reinterpret_cast<Act*>(scratch);
  Block copied{};
  for (size_t unit = begin; unit < end; ++unit) {
    const Block b = block_of(s, unit);
    const Act* x = io.reads[0] + b.g0 * static_cast<size_t>(w.icg);
    Windows windows{lines, w.sw * s.pixel, w.sh * s.pitch};
    if (s.gathered) {
      windows = {lines + s.line_bytes, s.gathered,
                 static_cast<ptrdiff_t>(b.x1 - b.x0) * s.gathered};
    }
    if (s.paired) {
      windows.pixel = s.paired;
      if (unit == begin || !b.same_windows(copied)) {
        s.kernel->pair_rows(x + static_cast<ptrdiff_t>(b.x0) * s.pixel, s.pixel, b.x1 - b.x0,
                            w.depth(), lines, s.paired);
        copied = b;
      }
    } else if (!s.copies) {
      windows.first = x + static_cast<ptrdiff_t>(b.y0) * windows.line +
                      static_cast<ptrdiff_t>(b.x0) * windows.pixel;
    } else if (unit == begin || !b.same_windows(copied)) {
      copy_windows(s, b, x, lines);
      if (s.gathered) gather_windows(s, b, lines, lines + s.line_bytes);
      copied = b;
    }
    for (size_t g = b.g0; g < b.g1; ++g, windows.first += w.icg) {
      multiply(s, b, g, windows, io.write, s.epilogue.residual(io));
    }
  }
}

// --- planning ------------------------------------------------------------------------------------

bool sees_padding(const ConvWindow& w) {
  return w.top > 0 || w.left > 0 ||
         static_cast<int64_t>(w.oh - 1) * w.sh + static_cast<int64_t>(w.kh - 1) * w.dh >= w.h ||
         static_cast<int64_t>(w.ow - 1) * w.sw + static_cast<int64_t>(w.kw - 1) * w.dw >= w.w;
}

// Runs of inputs that adjoin in memory, in the order of the weights.
std::vector<gemm::Segment> segments_of(const ConvWindow& w, ptrdiff_t pixel, ptrdiff_t line_step) {
  std::vector<gemm::Segment> segments;
  const bool adjoin = w.kw == 1 || (w.dw == 1 && pixel == w.icg);
  const int parts = adjoin ? 1 : w.kw, length = adjoin ? w.kw * w.icg : w.icg;
  for (int r = 0; r < w.kh; ++r) {
    for (int part = 0; part < parts; ++part) {
      const ptrdiff_t offset = r * line_step + static_cast<ptrdiff_t>(part) * w.dw * pixel;
      segments.push_back({static_cast<int32_t>(offset), length});
    }
  }
  return segments;
}

// Whether windows copied out take fewer steps than lines do.
bool worth_gathering(const ConvWindow& w, size_t kr) {
  const size_t length = static_cast<size_t>(w.kw) * static_cast<size_t>(w.icg);
  const auto steps = [&](size_t inputs) { return (inputs + kr - 1) / kr; };
  return w.groups == 1 && w.dw == 1 && length <= kMostGathered &&
         steps(w.depth()) < static_cast<size_t>(w.kh) * steps(length);
}

// Whether so many panels read the rows of a pointwise layer that a copy of them pays.
bool worth_pairing(const State& s, size_t panels_per_group) {
  const ConvWindow& w = s.window;
  return s.kernel->pair_rows && !s.copies && w.groups == 1 && w.kh == 1 && w.kw == 1 && w.oh == 1 &&
         w.sw == 1 && w.ow >= s.kernel->tile.mr && panels_per_group >= 3;
}

// Cuts the output into blocks whose inputs stay in cache, and into enough units for several
// threads.
void split(State& s, size_t panels_per_group) {
  constexpr size_t kBlockBytes = 24 << 10, kLeastPixels = 48, kUnits = 64;
  constexpr double kLeastMacs = 40000;
  const ConvWindow& w = s.window;
  const size_t mr = static_cast<size_t>(s.kernel->tile.mr),
               nr = static_cast<size_t>(s.kernel->tile.nr);
  const size_t oh = static_cast<size_t>(w.oh), ow = static_cast<size_t>(w.ow);
  const size_t groups = s.groups.per_unit;
  const size_t bytes_per_pixel =
      std::max<size_t>(groups * static_cast<size_t>(w.icg * w.sw) * static_cast<size_t>(w.kh), 1);
  const double macs_per_pixel = static_cast<double>(w.depth() * groups) * w.ocg;

  const size_t fitting =
      std::max(kLeastPixels, kBlockBytes / (bytes_per_pixel + groups * static_cast<size_t>(w.ocg)));
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
  // Of inputs and weights, the greater one should pass through the cache once.
  const double input_bytes = static_cast<double>(oh * ow) * static_cast<double>(bytes_per_pixel);
  const double weight_bytes =
      static_cast<double>(panels_per_group * nr) * static_cast<double>(w.depth());
  s.panels_outermost = !s.copies && !s.paired && weight_bytes > input_bytes;
}

void pack_weights(State& s, const LoweringContext& context, const NodeDesc& node) {
  const ConvWindow& w = s.window;
  const size_t ocg = static_cast<size_t>(w.ocg), k = w.depth();
  const ConvWeights weights = weights_of(context, node, w);
  // A single row is bound by reading its weights: couples, which take long to find, would gain
  // nothing.
  const bool single_row = w.oh * w.ow == 1;
  const gemm::PairRule pairs = single_row && s.kernel->pairs == gemm::PairRule::kCoupled
                                   ? gemm::PairRule::kExact
                                   : s.kernel->pairs;
  for (size_t g = 0; g < static_cast<size_t>(w.groups); ++g) {
    const gemm::Source source{weights.weight + g * ocg * k,
                              weights.bias + g * ocg,
                              weights.multiplier.data() + g * ocg,
                              ocg,
                              context.in(node, 0).zero_point,
                              s.gathered ? std::vector<gemm::Segment>{{0, static_cast<int32_t>(k)}}
                                         : segments_of(w, s.pixel, s.pitch * (s.copies ? 1 : w.dh)),
                              s.copies || s.paired};
    s.weights.push_back(gemm::pack(source, s.kernel->tile, pairs, context.storage));
  }
}

}  // namespace

Step lower_gemm(const LoweringContext& context, const Fused& fused, ConvWindow window) {
  const NodeDesc& node = *fused.node;
  Step step = start_step(fused);
  auto state = std::make_shared<State>();
  State& s = *state;
  s.kernel = pick_kernel(
      gemm::kRegistry, context.options, step, [](const gemm::Kernel& kernel) -> const char* {
        return kernel.format == gemm::WeightFormat::kDense ? nullptr
                                                           : "it takes another weight format";
      });
  const gemm::Tile& tile = s.kernel->tile;

  if (window.kh == 1 && window.kw == 1 && window.sh == 1 && window.sw == 1 &&
      !sees_padding(window)) {
    window.w = window.ow = window.oh * window.ow;  // pointwise: the image is one line
    window.h = window.oh = 1;
  }
  s.window = window;
  s.pixel = window.x_pixel_stride;
  s.pitch = window.w * window.x_pixel_stride;
  // Without padding windows are read in place, if each segment fills a step: none may read beyond
  // the tensor.
  const size_t kr = static_cast<size_t>(tile.kr);
  const bool gathers = worth_gathering(window, kr);
  s.copies = gathers || sees_padding(window) || segments_of(window, s.pixel, 0)[0].length < tile.kr;
  s.groups = split_work(static_cast<size_t>(window.groups), window.icg,
                        s.copies ? static_cast<double>(kCopiedChannels) : 1);
  const size_t panels = static_cast<size_t>((window.ocg + tile.nr - 1) / tile.nr);
  if (worth_pairing(s, panels))
    s.paired = static_cast<ptrdiff_t>(2 * ((window.depth() + kr - 1) / kr * kr));
  split(s, panels);
  if (s.paired) step.scratch = (s.pixels.per_unit + 1) / 2 * static_cast<size_t>(s.paired);
  if (s.copies) {
    const ptrdiff_t columns = static_cast<ptrdiff_t>(s.pixels.per_unit - 1) * window.sw +
                              static_cast<ptrdiff_t>(window.kw - 1) * window.dw + 1;
    const size_t lines =
        (s.lines.per_unit - 1) * static_cast<size_t>(window.sh) + static_cast<size_t>(window.kh);
    s.pixel = static_cast<ptrdiff_t>(s.groups.per_unit) * window.icg;
    s.pitch = columns * s.pixel;
    step.scratch = lines * static_cast<size_t>(s.pitch) + kr - 1;
    if (gathers) {
      s.gathered = static_cast<ptrdiff_t>((window.depth() + kr - 1) / kr * kr);
      s.line_bytes = lines * static_cast<size_t>(s.pitch) + kMostGathered;
      step.scratch = s.line_bytes + kMostGathered +
                     s.lines.per_unit * s.pixels.per_unit * static_cast<size_t>(s.gathered);
    }
  }
  pack_weights(s, context, node);

  s.x_zero = static_cast<Act>(context.in(node, 0).zero_point);
  s.epilogue = FusedEpilogue(context, fused);
  for (const gemm::Packed& packed : s.weights) step.packed_bytes += packed.bytes;
  step.macs = window.macs();
  step.units = s.groups.units * s.lines.units * s.pixels.units * s.panels.units;
  step.state = state;
  step.run = run;
  return step;
}

}  // namespace lightkern
