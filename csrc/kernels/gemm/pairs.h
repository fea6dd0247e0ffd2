// What gemm kernels with 16-bit sums of pairs need of the packer (PairRule in gemm.h): steps of
// depth 4 whose pairs are exact, and couples of such steps.
//
// Two ways to make pairs exact, of which a panel takes the one with fewer steps:
//
//   around them  A step may start at any input and use fewer than four, so it need not have an
//                unsafe pair side by side: where few pairs are unsafe, this costs a quarter of a
//                step for each.
//   split        A pair (w0, w1) that sums to 128 + e gives its excess e to one of its two inputs
//                in an extra step. Started at the second input of an unsafe pair, that step reaches
//                into the two pairs behind it, and serves all three: two thirds more steps where
//                all pairs are unsafe.
//
// PairRule::kCoupled: then steps are sorted. Couples, whose pairs could be added in 16 bits, come
// first, single steps last. Whether two steps fit depends on nothing but their weights, since a
// step may lie anywhere in the row: among the many steps of a deep layer nearly each finds a
// partner. In shallower layers many find one for half of the channels only; these come between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gemm/pack.h"

namespace lightkern::gemm {

constexpr int kPairLimit = 128;  // of the absolute sum of two weights

// A step before packing: `count` weights from k on, behind `skip` zeros.
struct Step {
  int32_t offset;
  size_t k;
  int32_t skip, count;
  int32_t limit;  // no step of this segment may read at this offset or beyond
};

// One panel while it grows.
struct Draft {
  size_t width, step_bytes;
  std::vector<int8_t> weights;
  std::vector<int32_t> offsets;

  int8_t* at(size_t step) { return weights.data() + step * step_bytes; }
};

// Whether every pair of a panel of depth 4 is exact.
bool pairs_are_exact(const Draft& draft);

// The fewest steps of depth 4 that cover the inputs of channels [first, first + n) and join no
// unsafe pair.
std::vector<Step> steps_around_pairs(const Source& source, size_t first, size_t n);

// Makes every pair of a panel of depth 4 exact: appends steps for what is taken from pairs that are
// not.
void split_pairs(const std::vector<Step>& steps, Draft& draft);

// Sorts the steps of a panel of depth 4 as Couples has them. `nr_unit` is the tile's.
Couples couple_steps(Draft& draft, size_t nr_unit);

// PairRule::kLanes, after zipping by 2 steps of depth 8: a unit of two steps has two products per
// lane of 16 bits. Sorts the units of a panel, couples of units first whose four weights of any
// lane have absolute values that sum to at most 255: |x| <= 128, so that the sum of four products
// stays within 128 * 255 < 2^15. Returns the number of couples. Each half of a couple reads 16
// inputs that adjoin.
size_t couple_lanes(Draft& draft);

}  // namespace lightkern::gemm
