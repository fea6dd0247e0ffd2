#include <algorithm>
#include <cstdint>
#include <numeric>

#include "runtime/plan.h"

namespace lightkern {
namespace {

size_t rounded(size_t bytes) {
  constexpr size_t kAlignment = 64;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

bool meet(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

// One buffer after the other, each into the lowest gap that is free during its lifetime.
size_t place_in_order(const std::vector<Lifetime>& buffers, const std::vector<size_t>& order,
                      std::vector<size_t>& offsets) {
  offsets.assign(buffers.size(), 0);
  std::vector<size_t> placed;  // ascending offsets
  size_t total = 0;
  for (size_t i : order) {
    if (buffers[i].bytes == 0) continue;
    const size_t bytes = rounded(buffers[i].bytes);
    size_t at = 0;
    for (size_t other : placed) {
      if (!meet(buffers[i], buffers[other])) continue;
      if (at + bytes <= offsets[other]) break;
      at = std::max(at, offsets[other] + rounded(buffers[other].bytes));
    }
    offsets[i] = at;
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](size_t a, size_t b) { return offsets[a] < offsets[b]; }),
                  i);
    total = std::max(total, at + bytes);
  }
  return total;
}

}  // namespace

size_t least_arena(const std::vector<Lifetime>& buffers) {
  size_t most = 0;
  for (const Lifetime& begin : buffers) {  // the sum can only grow where a lifetime begins
    if (begin.bytes == 0) continue;
    size_t live = 0;
    for (const Lifetime& b : buffers) {
      if (b.first <= begin.first && begin.first <= b.last) live += rounded(b.bytes);
    }
    most = std::max(most, live);
  }
  return most;
}

// Largest first is good as a rule ("greedy by size", Pisarchyk and Lee, arXiv:2001.03288); where it
// misses the bound, longest first or in order of use may not; where all do, exchanges of two
// buffers in the best order are tried, as long as they make nothing worse.
size_t assign_offsets(const std::vector<Lifetime>& buffers, std::vector<size_t>& offsets) {
  using Before = bool (*)(const Lifetime&, const Lifetime&);
  const Before criteria[] = {
      [](const Lifetime& a, const Lifetime& b) { return a.bytes > b.bytes; },
      [](const Lifetime& a, const Lifetime& b) { return a.last - a.first > b.last - b.first; },
      [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; },
      [](const Lifetime& a, const Lifetime& b) { return a.last > b.last; },
  };
  const size_t least = least_arena(buffers);
  offsets.clear();
  size_t best = 0;
  std::vector<size_t> order(buffers.size()), best_order, candidate;
  for (const Before before : criteria) {
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return before(buffers[a], buffers[b]); });
    const size_t total = place_in_order(buffers, order, candidate);
    if (offsets.size() != buffers.size() || total < best) {
      best = total;
      best_order = order;
      offsets = candidate;
    }
    if (best == least) return best;
  }
  constexpr int kExchanges = 500;
  uint32_t random = 1;  // a fixed sequence: the same plan every time
  const auto draw = [&] {
    random = random * 1664525u + 1013904223u;
    return (random >> 8) % buffers.size();
  };
  for (int i = 0; i < kExchanges && best > least + least / 64 && buffers.size() > 1; ++i) {
    order = best_order;
    std::swap(order[draw()], order[draw()]);
    const size_t total = place_in_order(buffers, order, candidate);
    if (total > best) continue;
    best = total;
    best_order = order;
    offsets = candidate;
  }
  return best;
}

}  // namespace lightkern
