// gconv: group convolution with few channels per group, any window.
//
// No library read fills its registers here: with 2 to 16 input channels per group a gemm has
// nothing to broadcast. So the work is turned around ("planar"): one register holds the input
// channels of several groups as they lie in NHWC, is multiplied by one register of weights per
// output index o, and sums up into one accumulator per o, whose lanes are the groups. No activation
// is ever shuffled; lanes are transposed into channel order once per output pixel.
//
// A group must fill whole lanes: `lane` channels (4 with int8 weights, 2 with int16 weights) are
// summed inside one 32-bit lane. With one input channel per group (a depthwise multiplier), a lane
// holds two neighbouring columns instead. Wide groups are better served by one gemm each
// (runtime/ops/conv.cc).
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::gconv {

struct Geometry {
  int h, w;              // input
  int oh, ow;            // output
  int groups, icg, ocg;  // channels per group: input, output
  int kh, kw, sh, sw, dh, dw;
  int top, left;  // padding; what lies right and below follows from oh, ow
  ptrdiff_t x_pixel_stride, y_pixel_stride;  // bytes; rows are w (ow) pixels apart
};

// Canonical weights, as the model holds them.
struct Weights {
  const int8_t* weight;     // [groups * ocg][kh][kw][icg]
  const int32_t* bias;      // [groups * ocg]
  const float* multiplier;  // [groups * ocg]
  int32_t x_zero;           // memory domain; packing folds bias - x_zero * sum(weight)
};

// What one register holds: `elements` input channels of `bytes` bytes each, `lane` of them per
// 32-bit lane.
struct Tile {
  int elements, bytes, lane;
  bool safe_pairs;  // the kernel multiplies pairs with 16-bit saturation (numerics: exact only for
                    // safe pairs)
  bool square = false;  // it takes groups of 4, 8 or 16 channels with as many outputs
};

// The scalar kernel's tile: one group per block, one channel per "register".
constexpr Tile kScalarTile = {1, 1, 1, false};

// How a geometry is cut for a tile.
struct Layout {
  int groups_per_block, blocks;
  int columns;         // input columns that one step reads: 2 for one channel per group, else 1
  int steps;           // steps per kernel row
  int padded_width;    // columns of a row in scratch
  int ring;            // rows in scratch
  size_t row_bytes;    // bytes of a row in scratch
  size_t block_bytes;  // packed block of groups; a multiple of 64
};

// Output indices of a group are computed in chunks: 4 as often as it fits, then 2, then 1. One
// chunk of a packed block:
//   int32 bias[size][lanes] | float multiplier[groups_per_block][size] |
//   weights[kh][steps][size][register]
// The bias of a group lies in its first lane: accumulators start from it.
//
// A square tile has as many outputs as inputs per group, so it can keep what belongs to an output
// in a lane of its own: of `lanes` accumulators, one is added to the others turned by 1, 2 and 3
// lanes (pack.cc, output_of). Bias and multipliers lie in the order of the results (place_result).
struct Chunk {
  int size;                          // output indices
  size_t bias, multiplier, weights;  // offsets in bytes from the start of the chunk
  size_t bytes;                      // a multiple of 64
};

static inline Chunk make_chunk(const Tile& tile, const Geometry& g, const Layout& l,
                               int outputs_left) {
  const bool scalar = tile.elements == 1;
  const auto rounded = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
  Chunk c{};
  c.size = scalar ? 1 : outputs_left >= 4 ? 4 : outputs_left >= 2 ? 2 : 1;
  const size_t size = static_cast<size_t>(c.size);
  const size_t lanes = scalar ? 1 : static_cast<size_t>(tile.elements / tile.lane);
  const size_t step_bytes = static_cast<size_t>((scalar ? g.icg : tile.elements) * tile.bytes);
  c.multiplier = rounded(size * lanes * 4);
  c.weights = c.multiplier + rounded(static_cast<size_t>(l.groups_per_block) * size * 4);
  c.bytes = c.weights + rounded(static_cast<size_t>(g.kh * l.steps) * size * step_bytes);
  return c;
}

Layout make_layout(const Tile& tile, const Geometry& g);

// Null if a kernel with this tile takes the geometry and the weights, else the reason.
const char* refuses(const Tile& tile, const Geometry& g, const Weights& w);

size_t packed_bytes(const Tile& tile, const Geometry& g);
size_t scratch_bytes(const Tile& tile, const Geometry& g);

// Writes all blocks; layout in pack.cc.
void pack(const Tile& tile, const Geometry& g, const Weights& w, std::byte* packed);

struct Args {
  Geometry geometry;
  Layout layout;
  const Act* x;         // [h][w][groups * icg]
  Act* y;               // [oh][ow][groups * ocg]
  const Act* residual;  // null, or shaped like y, with epilogue.residual_stride between pixels
  const std::byte* packed;
  int32_t x_zero;  // zero point of x, memory domain: the value of padding
  const Epilogue* epilogue;
  std::byte* scratch;          // scratch_bytes(), 64-byte aligned
  int block_begin, block_end;  // blocks of groups
  int y_begin, y_end;          // output rows
};

struct Kernel {
  const char* name;
  Tile tile;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::gconv
