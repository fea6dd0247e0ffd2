// reorder: copies element i of one tensor to element i of another, each counted in an order of its
// own: a reshape between channels-first and channels-last order, or int8 arrays at the API.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"

namespace lightkern::reorder {

// Element i lies at (i / inner) * outer_stride + (i % inner) * inner_stride. Rows of memory: inner
// = channels, outer_stride = pixel stride, inner_stride = 1. Channels first: inner = pixels,
// outer_stride = 1, inner_stride = pixel stride.
struct Order {
  size_t inner;
  ptrdiff_t outer_stride, inner_stride;  // in bytes
};

struct Args {
  const uint8_t* x;
  Order x_order;
  uint8_t* y;
  Order y_order;
  size_t begin, end;  // elements
  uint8_t offset;     // added to each, modulo 256
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::reorder
