#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

constexpr int kPairLimit = 128;  // of the absolute sum of two weights of one sign

// What a pair has too much: of its sign, or 0.
int excess(int w0, int w1) {
  const int sum = w0 + w1;
  if (sum > kPairLimit) return sum - kPairLimit;
  return sum < -kPairLimit ? sum + kPairLimit : 0;
}

// How the excess of pairs a, b, c, which follow each other, fills a step that starts at the second
// input of a: (a, b's first part | b's second part, c).
struct Shares {
  int a, b0, b1, c;
};

Shares share(int a, int b, int c) {
  int b0 = b;
  if (a > 0 && b > 0) b0 = std::min(b, kPairLimit - a);
  if (a < 0 && b < 0) b0 = std::max(b, -kPairLimit - a);
  return {a, b0, b - b0, c};
}

// Makes every pair of a panel of depth 4 exact.
class PairSplitter {
 public:
  PairSplitter(const std::vector<Step>& steps, Draft& draft) : steps_(steps), draft_(draft) {}

  void run() {
    for (size_t s = 0; s < steps_.size(); ++s) {
      if (is_unsafe(s)) find_pairs(s);
    }
    for (size_t i = 0; i < pairs_.size();) {
      const Pair& a = pairs_[i];
      const bool unaligned = steps_[a.step].skip == 0 && position(a) + 5 <= steps_[a.step].limit;
      i += unaligned ? split_unaligned(i) : split_aligned(i);
    }
  }

 private:
  struct Pair {
    size_t step;
    size_t half;
  };

  bool is_unsafe(size_t step) {
    const int8_t* w = draft_.at(step);
    int worst = 0;
    for (size_t i = 0; i < draft_.step_bytes; i += 2) {
      worst = std::max(worst, std::abs(static_cast<int>(w[i]) + w[i + 1]));
    }
    return worst > kPairLimit;
  }

  void find_pairs(size_t step) {
    const int8_t* w = draft_.at(step);
    for (size_t half = 0; half < 2; ++half) {
      bool unsafe = false;
      for (size_t c = 0; c < draft_.width; ++c) {
        unsafe |= excess(w[4 * c + 2 * half], w[4 * c + 2 * half + 1]) != 0;
      }
      if (unsafe) pairs_.push_back({step, half});
    }
  }

  int32_t position(const Pair& p) const {
    return steps_[p.step].offset + static_cast<int32_t>(2 * p.half);
  }

  // The unsafe pair of `after` bytes behind pairs_[i] in the same segment, or null.
  const Pair* find_follower(size_t i, int32_t after) const {
    const Step& own = steps_[pairs_[i].step];
    for (size_t j = i + 1; j < std::min(i + 3, pairs_.size()); ++j) {
      const Step& other = steps_[pairs_[j].step];
      const bool same_run = other.limit == own.limit && other.skip == 0;
      if (same_run && position(pairs_[j]) == position(pairs_[i]) + after) return &pairs_[j];
    }
    return nullptr;
  }

  int excess_of(const Pair* p, size_t channel) {
    if (!p) return 0;
    const int8_t* w = weights_of(*p, channel);
    return excess(w[0], w[1]);
  }

  int8_t* weights_of(const Pair& p, size_t channel) {
    return draft_.at(p.step) + 4 * channel + 2 * p.half;
  }

  int8_t* add_step(int32_t offset) {
    draft_.offsets.push_back(offset);
    draft_.weights.resize(draft_.weights.size() + draft_.step_bytes, 0);
    return draft_.weights.data() + draft_.weights.size() - draft_.step_bytes;
  }

  static void take(int8_t* from, int amount, int8_t* to) {
    *from = static_cast<int8_t>(*from - amount);
    *to = static_cast<int8_t>(*to + amount);
  }

  // One step for pairs_[i] and those of its two followers that are unsafe. Returns how many pairs
  // were served.
  size_t split_unaligned(size_t i) {
    const Pair* a = &pairs_[i];
    const Pair* b = find_follower(i, 2);
    const Pair* c = find_follower(i, 4);
    for (size_t ch = 0; c && ch < draft_.width; ++ch) {
      const Shares s = share(excess_of(a, ch), excess_of(b, ch), excess_of(c, ch));
      if (excess(s.b1, s.c) != 0) c = nullptr;
    }
    int8_t* extra = add_step(position(*a) + 1);
    for (size_t ch = 0; ch < draft_.width; ++ch, extra += 4) {
      const Shares s = share(excess_of(a, ch), excess_of(b, ch), excess_of(c, ch));
      take(weights_of(*a, ch) + 1, s.a, extra);
      if (b) take(weights_of(*b, ch), s.b0, extra + 1);
      if (b) take(weights_of(*b, ch) + 1, s.b1, extra + 2);
      if (c) take(weights_of(*c, ch), s.c, extra + 3);
    }
    return 1 + (b != nullptr) + (c != nullptr);
  }

  // One step at the same offset, for all unsafe pairs of the step of pairs_[i].
  size_t split_aligned(size_t i) {
    int8_t* extra = add_step(steps_[pairs_[i].step].offset);
    size_t served = 0;
    for (; i + served < pairs_.size() && pairs_[i + served].step == pairs_[i].step; ++served) {
      const Pair& p = pairs_[i + served];
      for (size_t ch = 0; ch < draft_.width; ++ch) {
        take(weights_of(p, ch), excess_of(&p, ch), extra + 4 * ch + 2 * p.half);
      }
    }
    return served;
  }

  const std::vector<Step>& steps_;
  Draft& draft_;
  std::vector<Pair> pairs_;
};

// Sorts the steps of a panel of depth 4: couples first. A greedy matching: the heaviest step first,
// which takes the lightest partner that fits, if any does. It is done for all channels; what stays
// single is matched again for the first half of the channels, then for the second.
class StepCoupler {
 public:
  explicit StepCoupler(Draft& draft)
      : draft_(draft), words_(draft.step_bytes / 8), loads_(draft.offsets.size() * words_) {
    for (uint32_t s = 0; s < draft.offsets.size(); ++s) {
      measure(s);
      singles_.push_back(s);
    }
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
      reorder(coupled_);
    }
    return couples;
  }

 private:
  // A step's loads in brief: a bit per load that reaches a quarter, two or three quarters of the
  // bound. Two steps cannot fit where one has a bit for i and the other for 4 - i quarters. By
  // these most candidates are rejected.
  struct Outline {
    uint64_t quarter, half, three_quarters;
    uint64_t weight;  // how far all loads exceed one half
    uint32_t step;
  };

  // The load of a pair: the sum of its positive weights and that of its negative ones, less one: 0
  // .. 127, a byte each.
  void measure(uint32_t step) {
    const int8_t* w = draft_.at(step);
    for (size_t i = 0; i < words_; ++i, w += 8) {
      uint8_t load[8];
      for (size_t j = 0; j < 8; j += 2) {
        const int up = std::max<int>(w[j], 0) + std::max<int>(w[j + 1], 0);
        const int down = -std::min<int>(w[j], 0) - std::min<int>(w[j + 1], 0);
        load[j] = static_cast<uint8_t>(std::max(up - 1, 0));
        load[j + 1] = static_cast<uint8_t>(std::max(down - 1, 0));
      }
      std::memcpy(&loads_[step * words_ + i], load, 8);
    }
  }

  // Of words [first, last) of a step's loads.
  Outline outline_of(uint32_t step, size_t first, size_t last) const {
    Outline outline{0, 0, 0, 0, step};
    for (size_t i = first; i < last; ++i) {
      const uint64_t word = loads_[step * words_ + i];
      const uint64_t bit5 = word >> 5 & kOnes, bit6 = word >> 6 & kOnes;
      outline.quarter |= (bit5 | bit6) << i % 8;
      outline.half |= bit6 << i % 8;
      outline.three_quarters |= (bit5 & bit6) << i % 8;
      const uint64_t excess = (word & bit6 * 63) + bit6;  // 0 .. 64 in each byte
      const uint64_t sums = (excess & kLowBytes) + (excess >> 8 & kLowBytes);
      outline.weight += sums * (kLowBytes / 0xff) >> 48;
    }
    return outline;
  }

  // Moves single steps that fit in words [first, last) to the couples, in twos. Returns how many.
  uint32_t match(size_t first, size_t last) {
    std::vector<Outline> order;
    for (const uint32_t s : singles_) order.push_back(outline_of(s, first, last));
    std::sort(order.begin(), order.end(), [](const Outline& a, const Outline& b) {
      return a.weight != b.weight ? a.weight < b.weight : a.step < b.step;
    });
    singles_.clear();
    uint32_t count = 0;
    while (!order.empty()) {
      const Outline own = order.back();
      order.pop_back();
      const size_t partner = find_partner(own, order, first, last);
      if (partner == order.size()) {
        singles_.push_back(own.step);
        continue;
      }
      coupled_.push_back(own.step);
      coupled_.push_back(order[partner].step);
      order.erase(order.begin() + static_cast<ptrdiff_t>(partner));
      ++count;
    }
    std::sort(singles_.begin(), singles_.end());
    return count;
  }

  // (a - 1) + (b - 1) + 1 stays below 128 in every byte iff a + b <= 128. (A sum of 0 counts as 1,
  // which loses nothing but a partner for a sum of 128.)
  bool fit(size_t a, size_t b, size_t first, size_t last) const {
    const uint64_t *x = &loads_[a * words_], *y = &loads_[b * words_];
    uint64_t carry = 0;
    for (size_t i = first; i < last; ++i) carry |= x[i] + y[i] + kOnes;
    return (carry & kOnes << 7) == 0;
  }

  size_t find_partner(const Outline& own, const std::vector<Outline>& candidates, size_t first,
                      size_t last) const {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Outline& other = candidates[i];
      const uint64_t clash = (own.half & other.half) | (own.quarter & other.three_quarters) |
                             (own.three_quarters & other.quarter);
      if (clash == 0 && fit(own.step, other.step, first, last)) return i;
    }
    return candidates.size();
  }

  void reorder(const std::vector<uint32_t>& order) {
    const Draft old = draft_;
    for (size_t s = 0; s < order.size(); ++s) {
      draft_.offsets[s] = old.offsets[order[s]];
      std::memcpy(draft_.at(s), old.weights.data() + order[s] * old.step_bytes, draft_.step_bytes);
    }
  }

  static constexpr uint64_t kOnes = 0x0101010101010101, kLowBytes = 0x00ff00ff00ff00ff;

  Draft& draft_;
  size_t words_;
  std::vector<uint64_t> loads_;  // [steps][width][2][positive, negative], bytes
  std::vector<uint32_t> coupled_, singles_;
};

}  // namespace

void split_pairs(const std::vector<Step>& steps, Draft& draft) { PairSplitter(steps, draft).run(); }

Couples couple_steps(Draft& draft, size_t nr_unit) {
  return StepCoupler(draft).run(draft.width == 2 * nr_unit);
}

}  // namespace lightkern::gemm
