#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

constexpr int kLaneLimit = 255;  // 128 * 255 < 2^15
constexpr size_t kUnitDepth = 16;

// Sums of absolute weights that share a lane: inputs l and l + 8 of a unit, per channel.
std::vector<uint8_t> lane_loads(const int8_t* w, size_t width) {
  std::vector<uint8_t> loads(width * 8);
  for (size_t i = 0; i < loads.size(); ++i) {
    const int8_t* pair = w + i / 8 * kUnitDepth + i % 8;
    loads[i] = static_cast<uint8_t>(std::abs(static_cast<int>(pair[0])) +
                                    std::abs(static_cast<int>(pair[8])));
  }
  return loads;
}

bool fit(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] + b[i] > kLaneLimit) return false;
  }
  return true;
}

// Couples found greedily: the heaviest unit first, which takes the lightest partner that fits. The
// rest follow in their order.
std::vector<size_t> match_units(const std::vector<std::vector<uint8_t>>& loads,
                                const std::vector<bool>& whole, size_t& couples) {
  std::vector<size_t> order;
  std::vector<int> total(loads.size());
  for (size_t u = 0; u < loads.size(); ++u) {
    for (uint8_t load : loads[u]) total[u] += load;
    if (whole[u]) order.push_back(u);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return total[a] < total[b]; });
  std::vector<size_t> sorted;
  std::vector<bool> taken(loads.size());
  while (!order.empty()) {
    const size_t own = order.back();
    order.pop_back();
    const auto partner = std::find_if(order.begin(), order.end(),
                                      [&](size_t u) { return fit(loads[own], loads[u]); });
    if (partner == order.end()) continue;
    for (size_t u : {own, *partner}) sorted.push_back(u), taken[u] = true;
    order.erase(partner);
  }
  couples = sorted.size() / 2;
  for (size_t u = 0; u < loads.size(); ++u) {
    if (!taken[u]) sorted.push_back(u);
  }
  return sorted;
}

}  // namespace

size_t couple_lanes(Draft& draft) {
  const size_t units = draft.offsets.size() / 2, unit_bytes = 2 * draft.step_bytes;
  std::vector<std::vector<uint8_t>> loads;
  std::vector<bool> whole;
  for (size_t u = 0; u < units; ++u) {
    loads.push_back(lane_loads(draft.at(2 * u), draft.width));
    whole.push_back(draft.offsets[2 * u + 1] == draft.offsets[2 * u] + 8);
  }
  size_t couples = 0;
  const std::vector<size_t> order = match_units(loads, whole, couples);
  if (couples == 0) return 0;
  const Draft old = draft;
  for (size_t u = 0; u < units; ++u) {
    std::copy_n(old.offsets.data() + 2 * order[u], 2, draft.offsets.data() + 2 * u);
    std::memcpy(draft.at(2 * u), old.weights.data() + order[u] * unit_bytes, unit_bytes);
  }
  return couples;
}

}  // namespace lightkern::gemm
