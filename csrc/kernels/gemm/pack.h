// Packing for gemm: weights of a layer, in their canonical order, into the panels of one kernel.
#pragma once

#include <vector>

#include "base/storage.h"
#include "kernels/gemm/gemm.h"

namespace lightkern::gemm {

// `length` consecutive inputs of a row, `offset` bytes from its start. A pointwise or linear layer
// is one segment; a window has one per row of the kernel, or one per element where those do not
// adjoin.
struct Segment {
  int32_t offset;
  int32_t length;
};

struct Source {
  const int8_t* weight;     // [n][k], k = sum of all segments' lengths, in their order
  const int32_t* bias;      // [n]
  const float* multiplier;  // [n]
  size_t n;
  int32_t x_zero;  // zero point of the rows, memory domain
  std::vector<Segment> segments;
  bool overrun;  // up to kr - 1 bytes behind each segment may be read (their weights are zero)
};

struct Packed {
  std::vector<Panel> panels;  // they point into the storage
  size_t bytes;
};

// Multiplies of one vector that a row takes against the panel of channel 0, as packed for such a
// tile.
double count_multiplies(const Source& source, const Tile& tile, PairRule pairs);

// Needs segments of at least kr inputs unless overrun is allowed. Throws std::bad_alloc.
Packed pack(const Source& source, const Tile& tile, PairRule pairs, Storage& storage);

}  // namespace lightkern::gemm
