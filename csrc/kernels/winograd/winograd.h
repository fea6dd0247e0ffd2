// winograd: 3x3 convolution, stride 1, as F(2x2, 3x3) in integers: the same sums with 16 products
// for 4 outputs instead of 36. S. Winograd, "Arithmetic Complexity of Computations" (1980); A.
// Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
//
//   inputs d [4][4], weights g [3][3], outputs y [2][2], per input channel; sums over channels
//   4 y = A^T [(2G g (2G)^T) * (B^T d B)] A
//   B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]   2G = [2 0 0; 1 1 1; 1 -1 1; 0 0 2]
//   A^T = [1 1 1 0; 0 1 -1 1]                        (the last row of 2G negated in turn)
//
// Twice G keeps weights whole, so nothing is rounded: sums come out four times as great and the
// multiplier is a quarter, both exact. Bounds: inputs are bytes, so |B^T d B| <= 1024; weights
// |2G g (2G)^T| <= 9 * 128; both fit int16. Sums are taken modulo 2^32; refuses() makes sure that
// the result, four times an accumulator, fits.
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::winograd {

struct Geometry {
  int h, w, oh, ow;
  int groups, icg, ocg;                      // channels per group: input, output
  int top, left;                             // padding
  ptrdiff_t x_pixel_stride, y_pixel_stride;  // bytes; rows are w (ow) pixels apart
};

// Canonical weights, as the model holds them.
struct Weights {
  const int8_t* weight;     // [groups * ocg][3][3][icg]
  const int32_t* bias;      // [groups * ocg]
  const float* multiplier;  // [groups * ocg]
  int32_t x_zero;           // memory domain; packing folds bias - x_zero * sum(weight)
};

// Input channels in a register of int16, outputs in one of int32. Channels per group must be
// multiples of `outputs`. Groups are computed in blocks of `inputs` channels, wide ones alone.
struct Tile {
  int inputs, outputs;
};

constexpr int kPositions = 16;   // products per tile of 2x2 outputs
constexpr int kTilesAtOnce = 4;  // or more, that a kernel multiplies with one load of weights

// Values from one transformed tile to the next. Where a block is one group, tiles lie off the
// distances at which lines of L1 compete, since those that are multiplied together are read
// together; for two groups in a block that gained nothing.
static inline int tile_stride_of(int channels, int pairs) {
  return kPositions * channels + (channels == 2 * pairs ? 16 : 0);
}

struct Layout {
  int groups_per_block, blocks;
  int channels;        // of a block, rounded up to whole registers
  int tile_stride;     // tile_stride_of()
  int pairs;           // of output rows
  int chunk;           // tiles of a row that are transformed before they are multiplied
  size_t panel_bytes;  // of packed weights: `outputs` channels of one group
  size_t transformed_bytes, sums_bytes;  // of scratch, in this order
};

Layout make_layout(const Tile& tile, const Geometry& g);

// Null if a kernel with this tile takes the geometry and the weights, else the reason.
const char* refuses(const Tile& tile, const Geometry& g, const Weights& w);

// |accumulator * multiplier| < 2^31 whatever the inputs: no conversion to int32 can overflow.
bool is_bounded(const Geometry& g, const Weights& w);

size_t packed_bytes(const Tile& tile, const Geometry& g);
size_t scratch_bytes(const Tile& tile, const Geometry& g);

// Panels of all groups. One panel, 64-byte aligned:
//   int16 weights[16][icg / 2][outputs][2] | int32 4 * bias[outputs] | float multiplier /
//   4[outputs]
// (scalar: icg and 1 instead of icg / 2 and 2)
void pack(const Tile& tile, const Geometry& g, const Weights& w, std::byte* packed);

struct Args {
  Geometry geometry;
  Layout layout;
  const Act* x;         // [h][w][groups * icg]
  Act* y;               // [oh][ow][groups * ocg]
  const Act* residual;  // null, or shaped like y, with epilogue.residual_stride between pixels
  const std::byte* packed;
  int32_t x_zero;  // zero point of x, memory domain: the value of padding
  bool bounded;    // is_bounded()
  const Epilogue* epilogue;
  std::byte* scratch;          // scratch_bytes(), 64-byte aligned
  int block_begin, block_end;  // blocks of groups
  int pair_begin, pair_end;    // pairs of output rows
};

struct Kernel {
  const char* name;
  Tile tile;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::winograd
