// dwconv: depthwise convolution, one filter per channel, any window, stride, dilation and padding.
//
// A call computes output rows [y_begin, y_end) of channels [c_begin, c_end); both cuts are the
// driver's (runtime/ops/dwconv.cc): channels in multiples of Kernel::block, rows in multiples of
// Kernel::rows, except at the end. Padding is the kernel's work: it never reads outside of the
// image, and never needs a padded copy of the whole of it.
#pragma once

#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::dwconv {

struct Geometry {
  int h, w, c;  // input
  int oh, ow;   // output
  int kh, kw, sh, sw, dh, dw;
  int top, left;  // padding; what lies right and below follows from oh, ow
  ptrdiff_t x_pixel_stride, y_pixel_stride;  // bytes; rows are w (ow) pixels apart
};

struct Args {
  Geometry geometry;
  const Act* x;         // [h][w][c]
  Act* y;               // [oh][ow][c]
  const Act* residual;  // null, or shaped like y, with epilogue.residual_stride between pixels
  const void* packed;   // all channel blocks, as Kernel::pack wrote them
  int32_t x_zero;       // zero point of x, memory domain: the value of padding
  bool fits16;          // results_below(geometry, weights, 32000)
  const Epilogue* epilogue;
  std::byte* scratch;  // Kernel::scratch_bytes(geometry) bytes, 64-byte aligned
  int c_begin, c_end, y_begin, y_end;
};

// Canonical weights, as the model holds them.
struct Weights {
  const int8_t* weight;     // [c][kh][kw]
  const int32_t* bias;      // [c]
  const float* multiplier;  // [c]
  int32_t x_zero;           // memory domain
};

struct Kernel {
  const char* name;
  int block;  // channels per packed block
  int rows;   // output rows that are cheapest together
  const char* (*refuses)(const Geometry&,
                         const Weights&);  // null if the kernel takes it, else why not
  size_t (*scratch_bytes)(const Geometry&);
  size_t (*packed_bytes)(const Geometry&);
  void (*pack)(const Geometry&, const Weights&, void* packed);
  void (*run)(const Args&);
  bool in_order = false;  // made for cores that issue in order, slower elsewhere
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

// --- pack.cc: weights for products of row pairs --------------------------------------------------
//
// Two rows of the image lie interleaved, so that one multiply-add of 16-bit pairs covers two taps
// of a column. With two sets, the same pairs of rows serve two output rows, one below the other:
//   set 0: {w0, w1} {w2, 0}     set 1: {0, w0} {w1, w2}     (three rows; wj of one column)
// Packed per block of channels, without gaps: effective bias int32 [block], multiplier float
// [block], weights int16 [kw][pairs][sets][block][2]. Channels past the last have zeros.

// Pairs of image rows that an output row (with two sets: two output rows) needs.
constexpr int row_pairs(int kh, int sets) { return (kh + sets) / 2; }

// Whether |acc * multiplier| stays below `limit` whatever the input: then results may be clamped
// after their conversion to integers of that range. Only absurd multipliers fail at 32000.
bool results_below(const Geometry&, const Weights&, double limit);

size_t row_pair_block_bytes(const Geometry&, int block, int sets);
size_t row_pair_bytes(const Geometry&, int block, int sets);  // of all blocks
void pack_row_pairs(const Geometry&, const Weights&, int block, int sets, void* packed);

// Square windows only: pairs of columns of a row instead, {w0, w1} {w2, 0}, and as many bytes as
// for one set of row pairs: weights int16 [kh][pairs][block][2].
void pack_column_pairs(const Geometry&, const Weights&, int block, void* packed);

// --- pack.cc: weights for products tap by tap ----------------------------------------------------
//
// Packed per block of channels, without gaps: effective bias int32 [block], multiplier float
// [block], weights int8 [kh][kw][block].
size_t tap_block_bytes(const Geometry&, int block);
size_t tap_bytes(const Geometry&, int block);  // of all blocks
void pack_taps(const Geometry&, const Weights&, int block, void* packed);

// --- pack.cc: weights for dot products down the columns ------------------------------------------
//
// Four rows of the image lie interleaved, so that one dot product covers four taps of a column. Two
// sets as for row pairs: {w0, w1, w2, 0} and {0, w0, w1, w2} serve two output rows.
// Packed per block of channels, without gaps: effective bias int32 [block], multiplier float
// [block], weights int8 [block / lanes][quads][kw][sets][lanes channels][4 rows]; `lanes` is how
// many int32 a register holds.

// Quads of image rows that an output row (with two sets: two output rows) needs.
constexpr int row_quads(int kh, int sets) { return (kh + sets + 2) / 4; }

size_t row_quad_block_bytes(const Geometry&, int block, int sets);
size_t row_quad_bytes(const Geometry&, int block, int sets);  // of all blocks
void pack_row_quads(const Geometry&, const Weights&, int block, int lanes, int sets, void* packed);

// --- pack.cc: weights for dot products over bytes in registers -----------------------------------
//
// Tiles of `most` channels, the last one of the least `most` / 2^n >= 16 that holds what is left;
// without `tails`, only tiles of 16 may be wider than what is left, and several may follow. A tile
// has four parts: of each 16 channels part p has 4 p to 4 p + 3. Packed per tile and part,
// without gaps: effective bias int32, multiplier float, weights int8 [quad_dots][channels][4].
// Tiles of 16 are for two rows, a lane each: all vectors twice.
// Of 3x3, a dot product is a column of the window, {w0, w1, w2, 0}. Of 5x5 (any other), the first
// kw are the upper four rows of a column; the last row r follows in two:
//   stride 1: {0, 0, 0, r4} {r0, r1, r2, r3}     stride 2: {r1, r2, r3, r4} {0, r0, 0, 0}
constexpr int quad_dots(int taps) { return taps == 3 ? 3 : taps + 2; }
constexpr int quad_vectors(int taps) { return 2 + quad_dots(taps); }  // of a part, with its header

// Channels of the tile that begins so many channels before the last.
constexpr int quad_tile(int left, int most, bool tails) {
  while (most > 16 && (tails ? most / 2 >= left : most > left)) most /= 2;
  return most;
}

// Where a tile begins, and the bytes of all. Only tiles of 16 begin within 32 channels.
constexpr size_t quad_bytes_before(int taps, int channel) {
  return static_cast<size_t>((channel + channel % 32) * quad_vectors(taps)) * 4;
}
size_t quad_bytes(const Geometry&, int most, bool tails);
void pack_quads(const Geometry&, const Weights&, int most, bool tails, void* packed);

}  // namespace lightkern::dwconv
