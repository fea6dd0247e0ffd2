#include <algorithm>
#include <numeric>

#include "runtime/plan.h"

namespace lightkern {

// Largest buffer first, each into the lowest gap that is free during its lifetime ("greedy by
// size", Pisarchyk and Lee, arXiv:2001.03288).
size_t assign_offsets(const std::vector<Lifetime>& buffers, std::vector<size_t>& offsets) {
  constexpr size_t kAlignment = 64;
  const auto rounded = [](size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  offsets.assign(buffers.size(), 0);
  std::vector<size_t> placed;  // ascending offsets
  size_t total = 0;
  for (size_t i : order) {
    if (buffers[i].bytes == 0) continue;
    size_t at = 0;
    for (size_t other : placed) {
      const bool overlap =
          buffers[other].first <= buffers[i].last && buffers[i].first <= buffers[other].last;
      if (!overlap) continue;
      if (at + rounded(buffers[i].bytes) <= offsets[other]) break;
      at = std::max(at, offsets[other] + rounded(buffers[other].bytes));
    }
    offsets[i] = at;
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](size_t a, size_t b) { return offsets[a] < offsets[b]; }),
                  i);
    total = std::max(total, at + rounded(buffers[i].bytes));
  }
  return total;
}

}  // namespace lightkern
