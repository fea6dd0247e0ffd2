// gemm: y = epilogue(a * w^T + bias), the core of pointwise and dense convolution and of linear
// layers.
//
// A call computes `m` rows against one panel of up to `nr` output channels. The driver
// (runtime/ops/gemm.cc) walks blocks of rows that stay in cache and, inside, panels. Rows are read
// where they lie: a step of the depth names the byte offset of its `kr` inputs relative to the
// start of the row, so that the window of a convolution needs no copy of its own.
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::gemm {

// How a weight is stored. A kernel says which format it takes; the plan chooses.
enum class WeightFormat { kDense };

// What a kernel demands of neighbouring weights.
//   kAny      nothing.
//   kExact    it multiplies u8 by s8 and adds pairs in saturating 16 bits (pmaddubsw): exact iff in
//             each pair (2i, 2i + 1) of a step the positive weights sum to at most 128 and the
//             negative ones to at least -128. The packer moves what exceeds that into additional
//             steps, so that the kernel needs to know nothing of it.
//   kCoupled  the same, and it can add the pairs of two steps in 16 bits before it widens them. The
//             packer looks for steps that together stay within the bound, in all channels of the
//             panel or in those of one half, and puts such couples first.
//   kLanes    it multiplies bytes to 16 bits (smull) and adds two products there, which is exact
//             for all weights. Of two units of 16 inputs it can add all four products of a lane
//             before it widens them: exact iff in each lane of each channel of the panel the
//             absolute weights sum to at most 255, for 128 * 255 < 2^15. Lane l of a unit holds
//             inputs l and l + 8. Which units meet is free, so the packer matches heavy ones with
//             light ones (of layers of 256 and more inputs it couples over nine tenths) and puts
//             such couples first.
//   kWords    it multiplies and adds pairs of 16 bits (pmaddwd), exact for all weights, which are
//             packed as int16. Rows come as its RowCopy leaves them, in 16 bits too, and are read
//             step by step, whatever the offsets say.
enum class PairRule { kAny, kExact, kCoupled, kLanes, kWords };

struct Tile {
  int mr, nr;   // rows and output channels that a kernel computes at once
  int kr;       // depth of one step
  int nr_unit;  // the last panel is as wide as the channels left, rounded up to this
  int zip = 1;  // steps whose weights lie together per channel
};

// PairRule::kLanes: `all` twos of zipped steps. PairRule::kCoupled: how many twos of steps, from
// the first step of a panel on, may be added in 16 bits: first those that may in every channel,
// then those that may only in channels 0 .. nr_unit - 1, then those that may only in the others
// (there are none of these two kinds unless the panel is 2 * nr_unit wide).
struct Couples {
  uint32_t all = 0, low = 0, high = 0;
};

// Packed weights of one panel. `width` channels are stored, of which `n` exist; others are zero.
struct Panel {
  // [steps][width][kr], or [steps / zip][width][zip][kr], then the rest; 64-byte aligned
  const int8_t* weights;
  // [steps], bytes from the start of a row to the kr inputs of a step, all of them readable
  const int32_t* offsets;
  const int32_t* bias;      // [width], effective: bias - x_zero * sum(weights)
  const float* multiplier;  // [width]
  uint32_t steps;
  uint32_t lead;  // the first `lead` offsets are 0, kr, 2 * kr, ...
  Couples couples;
  uint32_t width, n;
  // |accumulator * multiplier| < 2^31 whatever the inputs: no conversion to int32 can overflow
  bool bounded;
  // the same within 16 bits, with room to add a zero point
  bool bounded16;
};

struct Args {
  const Act* a;        // [m] rows
  ptrdiff_t a_stride;  // bytes between rows
  bool copied;         // rows are as Kernel::row_copy left them; a_stride is between its units
  size_t m;            // >= 1
  const Panel* panel;
  size_t panels;        // of Kernel::row alone: so many, whose outputs lie one behind the other
  Act* y;               // [m][n]
  ptrdiff_t y_stride;   // bytes between rows
  const Act* residual;  // null, or [m][n] with epilogue.residual_stride between rows
  const Epilogue* epilogue;
};

// How a kernel likes to have rows of one line copied before it reads them. A unit of `rows` rows
// (the last may hold fewer) takes rows * width bytes for each of k inputs, k rounded up to `depth`;
// what lies there beyond k meets weights of zero.
struct RowCopy {
  int rows, width;
  bool needed;  // the kernel reads no others
  void (*run)(const Act* a, ptrdiff_t a_stride, size_t m, size_t k, Act* to, ptrdiff_t to_stride);
  int depth = 0;   // 0: kr
  int panels = 3;  // unless it is needed: it pays where so many read the same rows
};

// Lines of pixels, of which the first `inputs` bytes are wanted: byte i of pixel p comes from
// from[i] + p * pixel. The bytes behind become anything, which the next line of the same call
// mends, or a later call. kMergedBytes from the last pixel on may be read and written, and as many
// bytes as there are inputs in front of from[i] may be read.
constexpr int kMostMerged = 4;
constexpr size_t kMostMergedPixel = 16, kMergedBytes = 32;
struct Merge {
  const Act* from[kMostMerged];
  int inputs;    // 1 .. kMostMerged
  size_t pixel;  // bytes from one pixel to the next, in all lines; inputs .. kMostMergedPixel
  size_t pixels, lines;  // pixels of a line
  ptrdiff_t pitch;       // bytes from one line to the next, of all
  Act* to;
};

struct Kernel {
  const char* name;
  Tile tile;
  WeightFormat format;
  PairRule pairs;
  void (*run)(const Args&);
  RowCopy row_copy = {};                  // run is null where rows are read as they are
  void (*row)(const Args&) = nullptr;     // a single row as it is, against args.panels at once
  bool in_order = false;                  // made for cores that issue in order, slower elsewhere
  void (*merge)(const Merge&) = nullptr;  // null where copying windows out is as good
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::gemm
