#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

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

bool is_exact(const int8_t* w, size_t bytes) {
  int16_t least = 0, most = 0;
  for (size_t i = 0; i < bytes; i += 2) {
    const int16_t sum = static_cast<int16_t>(w[i] + w[i + 1]);
    least = std::min(least, sum);
    most = std::max(most, sum);
  }
  return least >= -kPairLimit && most <= kPairLimit;
}

// Makes every pair of a panel of depth 4 exact.
class PairSplitter {
 public:
  PairSplitter(const std::vector<Step>& steps, Draft& draft) : steps_(steps), draft_(draft) {}

  void run() {
    for (size_t s = 0; s < steps_.size(); ++s) {
      if (!is_exact(draft_.at(s), draft_.step_bytes)) find_pairs(s);
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

}  // namespace

bool pairs_are_exact(const Draft& draft) {
  return is_exact(draft.weights.data(), draft.weights.size());
}

void split_pairs(const std::vector<Step>& steps, Draft& draft) { PairSplitter(steps, draft).run(); }

}  // namespace lightkern::gemm
