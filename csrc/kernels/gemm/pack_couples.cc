#include <algorithm>
#include <cstring>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101, kLowBytes = 0x00ff00ff00ff00ff;
constexpr size_t kBlock = 64;

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

// In place: bit c of row r becomes bit r of row c.
void transpose(uint64_t (&rows)[kBlock]) {
  uint64_t mask = 0x00000000ffffffff;
  for (size_t size = kBlock / 2; size; size /= 2, mask ^= mask << size) {
    for (size_t r = 0; r < kBlock; r = (r + size + 1) & ~size) {
      const uint64_t swap = (rows[r] >> size ^ rows[r + size]) & mask;
      rows[r] ^= swap << size;
      rows[r + size] ^= swap;
    }
  }
}

size_t lowest_bit(uint64_t bits) { return static_cast<size_t>(__builtin_ctzll(bits)); }

// A step's loads in brief: a bit per load that reaches a quarter, two or three quarters of the
// bound. Two steps cannot fit where one has a bit for i and the other for 4 - i quarters.
struct Outline {
  uint64_t quarter, half, three_quarters;
  uint64_t weight;  // how far all loads exceed one half
};

// The outlines of 64 candidates, by load instead of by candidate: bit c belongs to candidate c.
class CandidateBlock {
 public:
  void set(size_t c, const Outline& outline) {
    free_ |= uint64_t{1} << c;
    quarter_[c] = outline.quarter;
    half_[c] = outline.half;
    three_quarters_[c] = outline.three_quarters;
  }
  void finish() {
    transpose(quarter_);
    transpose(half_);
    transpose(three_quarters_);
  }
  void take(size_t c) { free_ &= ~(uint64_t{1} << c); }

  // Those that are free and do not clash with `own`, by their outlines.
  uint64_t matches(const Outline& own) const {
    uint64_t left = free_;
    remove(half_, own.half, left);
    remove(three_quarters_, own.quarter, left);
    remove(quarter_, own.three_quarters, left);
    return left;
  }

 private:
  static void remove(const uint64_t (&rows)[kBlock], uint64_t loads, uint64_t& left) {
    for (; loads && left; loads &= loads - 1) left &= ~rows[lowest_bit(loads)];
  }

  uint64_t free_ = 0;
  uint64_t quarter_[kBlock] = {}, half_[kBlock] = {}, three_quarters_[kBlock] = {};
};

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
      reorder(coupled_);
    }
    return couples;
  }

 private:
  // Of words [first, last) of a step's loads.
  Outline outline_of(uint32_t step, size_t first, size_t last) const {
    Outline outline{};
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

  // The single steps, those that exceed one half least first.
  std::vector<uint32_t> by_weight() const {
    std::vector<uint64_t> keys;
    for (const uint32_t s : singles_) keys.push_back(outlines_[s].weight << 32 | s);
    std::sort(keys.begin(), keys.end());
    std::vector<uint32_t> order;
    for (const uint64_t key : keys) order.push_back(static_cast<uint32_t>(key));
    return order;
  }

  // Moves single steps that fit in words [first, last) to the couples, in twos. Returns how many.
  uint32_t match(size_t first, size_t last) {
    outlines_.resize(draft_.offsets.size());
    for (const uint32_t s : singles_) outlines_[s] = outline_of(s, first, last);
    const std::vector<uint32_t> order = by_weight();
    singles_.clear();
    std::vector<CandidateBlock> blocks((order.size() + kBlock - 1) / kBlock);
    for (size_t i = 0; i < order.size(); ++i) {
      blocks[i / kBlock].set(i % kBlock, outlines_[order[i]]);
    }
    for (CandidateBlock& block : blocks) block.finish();

    std::vector<bool> taken(order.size());
    uint32_t count = 0;
    for (size_t i = order.size(); i-- > 0;) {
      if (taken[i]) continue;
      blocks[i / kBlock].take(i % kBlock);
      const size_t partner = find_partner(i, order, blocks, first, last);
      if (partner == i) {
        singles_.push_back(order[i]);
        continue;
      }
      blocks[partner / kBlock].take(partner % kBlock);
      taken[partner] = true;
      coupled_.push_back(order[i]);
      coupled_.push_back(order[partner]);
      ++count;
    }
    std::sort(singles_.begin(), singles_.end());
    return count;
  }

  // Index within `order` of the first free step that fits to that of index `own`, else `own`. All
  // behind `own` are taken.
  size_t find_partner(size_t own, const std::vector<uint32_t>& order,
                      const std::vector<CandidateBlock>& blocks, size_t first, size_t last) const {
    for (size_t b = 0; b <= own / kBlock; ++b) {
      uint64_t left = blocks[b].matches(outlines_[order[own]]);
      for (; left; left &= left - 1) {
        const size_t other = b * kBlock + lowest_bit(left);
        if (fit(order[own], order[other], first, last)) return other;
      }
    }
    return own;
  }

  // (a - 1) + (b - 1) + 1 stays below 128 in every byte iff a + b <= 128. (A sum of 0 counts as 1,
  // which loses nothing but a partner for a sum of 128.)
  bool fit(size_t a, size_t b, size_t first, size_t last) const {
    const uint64_t *x = &loads_[a * words_], *y = &loads_[b * words_];
    uint64_t carry = 0;
    for (size_t i = first; i < last; ++i) carry |= x[i] + y[i] + kOnes;
    return (carry & kOnes << 7) == 0;
  }

  void reorder(const std::vector<uint32_t>& order) {
    const Draft old = draft_;
    for (size_t s = 0; s < order.size(); ++s) {
      draft_.offsets[s] = old.offsets[order[s]];
      std::memcpy(draft_.at(s), old.weights.data() + order[s] * old.step_bytes, draft_.step_bytes);
    }
  }

  Draft& draft_;
  size_t words_;
  std::vector<uint64_t> loads_;    // [steps][width][2][positive, negative], bytes
  std::vector<Outline> outlines_;  // [steps]
  std::vector<uint32_t> coupled_, singles_;
};

}  // namespace

Couples couple_steps(Draft& draft, size_t nr_unit) {
  return StepCoupler(draft).run(draft.width == 2 * nr_unit);
}

}  // namespace lightkern::gemm
