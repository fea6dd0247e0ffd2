#include <algorithm>
#include <cstring>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101, kLowBytes = 0x00ff00ff00ff00ff;

// Eight weights of two channels' pairs -> their eight loads: the sum of a pair's positive weights
// and that of its negative ones, each less one unless it is 0: 0 .. 127, a byte each.
uint64_t loads_of(const int8_t* w) {
  uint64_t word;
  std::memcpy(&word, w, sizeof(word));
  const uint64_t signs = word >> 7 & kOnes, negative = signs * 0xff;
  const uint64_t up = word & ~negative, down = ((word ^ negative) + signs) & negative;
  const auto load = [](uint64_t bytes) {
    const uint64_t sums = (bytes & kLowBytes) + (bytes >> 8 & kLowBytes);  // 0 .. 128
    return sums - ((sums + kLowBytes) >> 8 & kLowBytes);
  };
  return load(up) | load(down) << 8;
}

// How far eight loads together exceed one half of the bound.
uint32_t excess_of(uint64_t loads) {
  const uint64_t half = loads >> 6 & kOnes;
  const uint64_t excess = (loads & half * 63) + half;  // 0 .. 64 in each byte
  const uint64_t sums = (excess & kLowBytes) + (excess >> 8 & kLowBytes);
  return static_cast<uint32_t>(sums * (kLowBytes / 0xff) >> 48);
}

// (a - 1) + (b - 1) + 1 stays below 128 in every byte iff a + b <= 128. (A sum of 0 counts as 1,
// which loses nothing but a partner for a sum of 128.)
template <size_t kWords>
bool fit(const uint64_t* a, const uint64_t* b) {
  uint64_t carry = 0;
  for (size_t i = 0; i < kWords; ++i) carry |= a[i] + b[i] + kOnes;
  return (carry & kOnes << 7) == 0;
}

// Sorts the steps of a panel of depth 4: couples first. A greedy matching: the heaviest step first,
// which takes the lightest partner that fits, if any does. It is done for all channels; what stays
// single is matched again for the first half of the channels, then for the second.
class StepCoupler {
 public:
  explicit StepCoupler(Draft& draft)
      : draft_(draft), words_(draft.step_bytes / 8), loads_(draft.weights.size() / 8) {
    for (size_t i = 0; i < loads_.size(); ++i) loads_[i] = loads_of(&draft.weights[8 * i]);
    for (uint32_t s = 0; s < draft.offsets.size(); ++s) singles_.push_back(s);
  }

  Couples run(bool halves) {
    Couples couples;
    couples.all = match(0, words_);
    if (halves) {
      couples.low = match(0, words_ / 2);
      couples.high = match(words_ / 2, words_);
    }
    if (!coupled_.empty()) {
      coupled_.insert(coupled_.end(), singles_.begin(), singles_.end());
      reorder();
    }
    return couples;
  }

 private:
  // The single steps by how far their loads in words [first, last) exceed one half of the bound, in
  // classes of about equal excess, least first.
  std::vector<uint32_t> by_excess(size_t first, size_t last) const {
    constexpr uint32_t kClass = 16, kClasses = 256;
    std::vector<uint8_t> classes;
    uint32_t starts[kClasses + 1] = {};
    for (const uint32_t s : singles_) {
      uint32_t excess = 0;
      for (size_t i = first; i < last; ++i) excess += excess_of(loads_[s * words_ + i]);
      classes.push_back(static_cast<uint8_t>(std::min(excess / kClass, kClasses - 1)));
      ++starts[classes.back() + 1];
    }
    for (uint32_t c = 0; c < kClasses; ++c) starts[c + 1] += starts[c];
    std::vector<uint32_t> order(singles_.size());
    for (size_t i = 0; i < order.size(); ++i) order[starts[classes[i]]++] = singles_[i];
    return order;
  }

  // Moves single steps that fit in words [first, last) to the couples, in twos. Returns how many.
  uint32_t match(size_t first, size_t last) {
    switch (last - first) {
      case 8:
        return match_words<8>(first);
      case 4:
        return match_words<4>(first);
      case 2:
        return match_words<2>(first);
      default:
        return 0;  // no kernel has panels of another width
    }
  }

  template <size_t kWords>
  uint32_t match_words(size_t first) {
    std::vector<uint32_t> order = by_excess(first, first + kWords);
    singles_.clear();
    uint32_t count = 0;
    while (!order.empty()) {
      const uint32_t own = order.back();
      order.pop_back();
      const uint64_t* loads = &loads_[own * words_ + first];
      const auto partner = std::find_if(order.begin(), order.end(), [&](uint32_t other) {
        return fit<kWords>(loads, &loads_[other * words_ + first]);
      });
      if (partner == order.end()) {
        singles_.push_back(own);
        continue;
      }
      coupled_.push_back(own);
      coupled_.push_back(*partner);
      order.erase(partner);
      ++count;
    }
    std::sort(singles_.begin(), singles_.end());
    return count;
  }

  // Puts the steps in the order of coupled_.
  void reorder() {
    const std::vector<int32_t> offsets = draft_.offsets;
    const std::vector<int8_t> weights = draft_.weights;
    for (size_t s = 0; s < coupled_.size(); ++s) {
      const size_t from = coupled_[s];
      draft_.offsets[s] = offsets[from];
      std::memcpy(draft_.at(s), &weights[from * draft_.step_bytes], draft_.step_bytes);
    }
  }

  Draft& draft_;
  size_t words_;
  std::vector<uint64_t> loads_;  // [steps][width][2][positive, negative], bytes
  std::vector<uint32_t> coupled_, singles_;
};

}  // namespace

Couples couple_steps(Draft& draft, size_t nr_unit) {
  return StepCoupler(draft).run(draft.width == 2 * nr_unit);
}

}  // namespace lightkern::gemm
