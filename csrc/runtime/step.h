// A step: one kernel bound to packed weights and a geometry, the unit that a session executes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/types.h"

namespace lightkern {

// Where the tensors of one step are when it runs. Strides are known at plan time and live in the
// step's state.
struct StepIo {
  const Act* const* reads;  // in the order of Step::reads
  Act* write;
};

struct Rejection {
  const char* kernel;
  const char* reason;  // null: it fits, but the chosen one is preferred
};

// Immutable once planned; any number of sessions share it.
struct Step {
  std::string name;                 // name of the node, or of the fused nodes joined by " + "
  std::string op;                   // "conv2d", "conv2d + add", ...
  std::string kernel;               // name of the chosen kernel
  std::vector<Rejection> rejected;  // better or other kernels, and why not
  std::vector<int> reads;           // tensor indices
  int writes = -1;
  double macs = 0;
  size_t packed_bytes = 0;

  // The work is cut into `units` equal parts, [begin, end) of which one thread does at a time. What
  // is computed must not depend on the cut. `scratch` bytes are handed to each thread, 64-byte
  // aligned, contents undefined.
  size_t units = 1;
  bool shared = true;  // there is enough of it to wake other threads for (Plan::shares)
  size_t scratch = 0;
  std::shared_ptr<const void> state;
  void (*run)(const void* state, const StepIo& io, size_t begin, size_t end,
              std::byte* scratch) = nullptr;
};

}  // namespace lightkern
