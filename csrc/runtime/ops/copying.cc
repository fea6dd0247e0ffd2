// concat, slice and pad, where placement could not make them views: rectangles of bytes copied or
// filled.
#include "kernels/copy/copy.h"
#include "runtime/lowering.h"

namespace lightkern {
namespace {

// A rectangle of rows of bytes.
struct Rectangle {
  int read = -1;  // which of the step's reads; -1: fill
  size_t from = 0, to = 0;
  ptrdiff_t x_stride = 0, y_stride = 0;
  size_t cols = 0;
  Split split{};
};

struct State {
  const copy::Kernel* kernel;
  Act value = 0;
  std::vector<Rectangle> rectangles;
};

void run(const void* state, const StepIo& io, size_t begin, size_t end, std::byte*) {
  const State& s = *static_cast<const State*>(state);
  for (const Rectangle& r : s.rectangles) {  // the units count over all rectangles
    if (begin >= end) return;
    if (begin < r.split.units) {
      const size_t until = end < r.split.units ? end : r.split.units;
      const size_t first = r.split.first(begin);
      const ptrdiff_t row = static_cast<ptrdiff_t>(first);
      s.kernel->run({r.read < 0 ? nullptr : io.reads[r.read] + r.from + row * r.x_stride,
                     r.x_stride, io.write + r.to + row * r.y_stride, r.y_stride,
                     r.split.last(until) - first, r.cols, s.value});
      begin = until;
    }
    begin -= r.split.units;
    end -= r.split.units;
  }
}

// Builds a step of rectangles.
class Copies {
 public:
  Copies(const LoweringContext& context, const Fused& fused)
      : context_(context), step_(start_step(fused)) {
    step_.reads.clear();
  }

  // `rows` rows of `cols` bytes; rows that touch each other in memory become one.
  void add(int tensor, size_t from, ptrdiff_t x_stride, size_t to, ptrdiff_t y_stride, size_t rows,
           size_t cols) {
    if (rows == 0 || cols == 0) return;
    const ptrdiff_t width = static_cast<ptrdiff_t>(cols);
    if ((tensor < 0 || x_stride == width) && y_stride == width) {
      cols *= rows;
      rows = 1;
    }
    Rectangle r{
        -1, from, to, x_stride, y_stride, cols, split_work(rows, static_cast<double>(cols), 65536)};
    if (tensor >= 0) {
      r.read = static_cast<int>(step_.reads.size());
      step_.reads.push_back(tensor);
    }
    rectangles_.push_back(r);
  }

  // Pixels [begin, end) of a row-major tensor of `channels` bytes per pixel.
  void fill(size_t begin, size_t end, ptrdiff_t y_stride, size_t channels) {
    add(-1, 0, 0, begin * static_cast<size_t>(y_stride), y_stride, end - begin, channels);
  }

  Step finish(Act value = 0) {
    if (rectangles_.empty()) return step_;
    auto state = std::make_shared<State>();
    state->kernel = pick_kernel(copy::kRegistry, context_.options, step_);
    state->value = value;
    step_.units = 0;
    for (const Rectangle& r : rectangles_) step_.units += r.split.units;
    state->rectangles = std::move(rectangles_);
    step_.state = state;
    step_.run = run;
    return step_;
  }

 private:
  const LoweringContext& context_;
  Step step_;
  std::vector<Rectangle> rectangles_;
};

}  // namespace

Step lower_concat(const LoweringContext& context, const Fused& fused) {
  if (fused.shuffle) return lower_shuffle(context, fused);
  const NodeDesc& node = *fused.node;
  const TensorView& y = context.out(node);
  const Placement& out = context.placements[static_cast<size_t>(node.output)];
  const int axis = node.attr("axis");
  const size_t y_stride = static_cast<size_t>(y.pixel_stride);
  Copies copies(context, fused);
  size_t to = 0;
  for (const int input : node.inputs) {
    const TensorView& x = context.views[static_cast<size_t>(input)];
    const Placement& in = context.placements[static_cast<size_t>(input)];
    const size_t channels = static_cast<size_t>(x.c), w = static_cast<size_t>(x.w);
    const bool inside =
        in.root == out.root && in.offset == out.offset + to && in.pixel_stride == out.pixel_stride;
    if (axis == 2) {
      if (!inside) copies.add(input, 0, x.pixel_stride, to, y.pixel_stride, x.pixels(), channels);
      to += channels;
    } else if (axis == 0) {
      copies.add(input, 0, x.pixel_stride, to, y.pixel_stride, x.pixels(), channels);
      to += x.pixels() * y_stride;
    } else {
      for (size_t row = 0; row < static_cast<size_t>(x.h); ++row) {
        copies.add(input, row * w * static_cast<size_t>(x.pixel_stride), x.pixel_stride,
                   to + row * static_cast<size_t>(y.w) * y_stride, y.pixel_stride, w, channels);
      }
      to += w * y_stride;
    }
  }
  return copies.finish();
}

Step lower_slice(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  Copies copies(context, fused);
  const Placement& in = context.placements[static_cast<size_t>(node.inputs[0])];
  const Placement& out = context.placements[static_cast<size_t>(node.output)];
  if (in.root == out.root) return copies.finish();  // a view
  const int axis = node.attr("axis");
  const size_t begin = static_cast<size_t>(node.attr("begin")),
               x_stride = static_cast<size_t>(x.pixel_stride);
  const size_t row_begin = axis == 0 ? begin : 0, col_begin = axis == 1 ? begin : 0;
  for (size_t row = 0; row < static_cast<size_t>(y.h); ++row) {
    const size_t pixel = (row_begin + row) * static_cast<size_t>(x.w) + col_begin;
    copies.add(node.inputs[0], pixel * x_stride + (axis == 2 ? begin : 0), x.pixel_stride,
               row * static_cast<size_t>(y.w) * static_cast<size_t>(y.pixel_stride), y.pixel_stride,
               static_cast<size_t>(y.w), static_cast<size_t>(y.c));
  }
  return copies.finish();
}

Step lower_pad(const LoweringContext& context, const Fused& fused) {
  const NodeDesc& node = *fused.node;
  const TensorView &x = context.in(node, 0), &y = context.out(node);
  const std::vector<int64_t>& padding = node.attr("padding", 4);
  const size_t top = static_cast<size_t>(padding[0]), left = static_cast<size_t>(padding[1]);
  const size_t h = static_cast<size_t>(x.h), w = static_cast<size_t>(x.w),
               out_w = static_cast<size_t>(y.w);
  const size_t channels = static_cast<size_t>(y.c), x_stride = static_cast<size_t>(x.pixel_stride);
  Copies copies(context, fused);
  size_t at = 0;  // pixels written so far
  for (size_t row = 0; row < h; ++row) {
    const size_t start = (top + row) * out_w + left;
    copies.fill(at, start, y.pixel_stride, channels);
    copies.add(node.inputs[0], row * w * x_stride, x.pixel_stride,
               start * static_cast<size_t>(y.pixel_stride), y.pixel_stride, w, channels);
    at = start + w;
  }
  copies.fill(at, y.pixels(), y.pixel_stride, channels);
  return copies.finish(static_cast<Act>(node.attr("fill") + kActOffset));
}

}  // namespace lightkern
