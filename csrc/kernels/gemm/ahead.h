// How weights reach the cache before they are needed, on x86.
#pragma once

#include <xmmintrin.h>

#include "kernels/gemm/gemm.h"

namespace lightkern::gemm {
namespace {  // code of one level must never be merged with that of another

// Brings weights of the next panel into L1 while one is at work, so many bytes with each step that
// the whole of it comes evenly over all tiles. A model's weights rarely stay in L2 from run to run,
// and not always in L3; fetched in bursts they take longer than left to the CPU (README.md has
// figures). Nothing is read, so the address may be any.
struct Ahead {
  const char* next;
  ptrdiff_t bytes;

  // For m rows of a panel, so many to a tile.
  Ahead(const Panel& panel, size_t m, size_t tile_rows)
      : next(reinterpret_cast<const char*>(panel.weights) + panel.steps * step_bytes(panel)),
        bytes(static_cast<ptrdiff_t>(step_bytes(panel) * tile_rows / m) + 1) {}

  static size_t step_bytes(const Panel& panel) { return 4 * size_t{panel.width}; }

  inline void fetch(int steps = 1) {
    _mm_prefetch(next, _MM_HINT_T0);
    next += steps * bytes;
  }
};

}  // namespace
}  // namespace lightkern::gemm
