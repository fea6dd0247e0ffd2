// The sliding window of the pools: which inputs an output sees.
#pragma once

#include <cstddef>

namespace lightkern {

struct Window {
  int h, w;  // of the input
  int kernel_h, kernel_w;
  int stride_h, stride_w;
  int top, left;  // padding before the input
  int dilation_h, dilation_w;
};

// The taps of a window along one axis that lie in the input: [first, last) of the kernel.
struct Taps {
  int first, last;
};

// For the window whose tap 0 lies at `start` (negative in the padding). Every output sees at least
// one input.
[[maybe_unused]] static inline Taps taps_inside(int start, int kernel, int dilation, int size) {
  if (start >= 0 && start + (kernel - 1) * dilation < size)
    return {0, kernel};  // spares the divisions
  const int first = start < 0 ? (-start + dilation - 1) / dilation : 0;
  const int inside = start < size ? (size - start + dilation - 1) / dilation : 0;
  return {first, inside < kernel ? inside : kernel};
}

}  // namespace lightkern
