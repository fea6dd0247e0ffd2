// What the vector levels of resize share: an output pixel between others, and one channel of it.
// Static, so that code of one ISA is never merged with that of another. (The walk over pixels stays
// in each of them: behind a callback GCC 12 keeps the corners on the stack.)
#pragma once

#include "kernels/resize/resize.h"

namespace lightkern::resize {
namespace {

// The four neighbours of one output pixel and their weights.
struct Corners {
  const Act *low_left, *low_right, *high_left, *high_right;
  int32_t fx, fy;
};

inline Act mean1(const Corners& at, size_t c) {
  const int32_t low = at.low_left[c] * (2048 - at.fx) + at.low_right[c] * at.fx;
  const int32_t high = at.high_left[c] * (2048 - at.fx) + at.high_right[c] * at.fx;
  return static_cast<Act>((low * (2048 - at.fy) + high * at.fy + (1 << 21)) >> 22);
}

}  // namespace
}  // namespace lightkern::resize
