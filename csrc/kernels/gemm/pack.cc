// Layout of packed weights, for any tile {mr, nr, kr, nr_unit}:
//
//   panel p           output channels p * nr ..., n of them exist; width = nr, for the last panel n rounded up to nr_unit
//   weights           [steps][width][kr]: step s multiplies the kr bytes at row + offsets[s]
//                     with zip: [steps / zip][width][zip][kr], then steps % zip steps as above
//
//   step              weights                                                  offsets
//   main steps        k .. k + kr - 1 of a segment                             ascending by kr
//   a segment's tail  overrun: the last k % kr, then zeros                     continues
//                     else: zeros, then the last k % kr, so that the step      end of the segment - kr
//                     ends where the segment does and nothing beyond is read
//   extra steps       PairRule::kExact: what had to be taken from pairs        any, unaligned
//                     that could saturate
//
// for 4x16c4 and one segment of 10 inputs without overrun: steps 0..3 4..7 6..9 (6 and 7 with weight 0), lead = 2.
//
// Why extra steps are few: a pair (w0, w1) that sums to 128 + e gives its excess e to one of its two inputs, in a step
// whose four inputs may start anywhere. Started at the second input of an unsafe pair, that step reaches into the two pairs
// behind it, and serves all three.
//
// PairRule::kCoupled: then steps are sorted. Couples, whose pairs could be added in 16 bits, come first, single steps last.
// Whether two steps fit depends on nothing but their weights, since a step may lie anywhere in the row: among the many
// steps of a deep layer nearly each finds a partner.
#include "kernels/gemm/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace lightkern::gemm {
namespace {

constexpr size_t kAlignment = 64;
constexpr int kPairLimit = 128;  // of the absolute sum of two weights of one sign

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// A step before packing: `count` weights from k on, behind `skip` zeros.
struct Step {
  int32_t offset;
  size_t k;
  int32_t skip, count;
  int32_t limit;  // no step of this segment may read at this offset or beyond
};

std::vector<Step> make_steps(const Source& source, int32_t kr) {
  std::vector<Step> steps;
  size_t k = 0;
  for (const Segment& s : source.segments) {
    const int32_t limit = s.offset + s.length + (source.overrun ? kr - 1 : 0);
    for (int32_t at = 0; at < s.length; at += kr) {
      const int32_t count = std::min(kr, s.length - at);
      const int32_t skip = source.overrun ? 0 : kr - count;
      steps.push_back({s.offset + at - skip, k + static_cast<size_t>(at), skip, count, limit});
    }
    k += static_cast<size_t>(s.length);
  }
  return steps;
}

// One panel while it grows.
struct Draft {
  size_t width, step_bytes;
  std::vector<int8_t> weights;
  std::vector<int32_t> offsets;

  int8_t* at(size_t step) { return weights.data() + step * step_bytes; }
};

void copy_main_steps(const Source& source, const std::vector<Step>& steps, size_t first, size_t n, size_t kr,
                     size_t k, Draft& draft) {
  draft.weights.assign(steps.size() * draft.step_bytes, 0);
  draft.offsets.resize(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    const Step& step = steps[s];
    draft.offsets[s] = step.offset;
    int8_t* to = draft.at(s) + step.skip;
    const int8_t* from = source.weight + first * k + step.k;
    for (size_t c = 0; c < n; ++c, to += kr, from += k) {
      if (step.count == 4) {
        std::memcpy(to, from, 4);
      } else {
        std::memcpy(to, from, static_cast<size_t>(step.count));
      }
    }
  }
}

// What a pair has too much: of its sign, or 0.
int excess(int w0, int w1) {
  const int sum = w0 + w1;
  if (sum > kPairLimit) return sum - kPairLimit;
  return sum < -kPairLimit ? sum + kPairLimit : 0;
}

// How the excess of pairs a, b, c, which follow each other, fills a step that starts at the second input of a:
// (a, b's first part | b's second part, c).
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

  int32_t position(const Pair& p) const { return steps_[p.step].offset + static_cast<int32_t>(2 * p.half); }

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

  // One step for pairs_[i] and those of its two followers that are unsafe. Returns how many pairs were served.
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

// Sorts the steps of a panel of depth 4: couples first. A greedy matching: the heaviest step first, which takes the
// lightest partner that fits, if any does.
class StepCoupler {
 public:
  explicit StepCoupler(Draft& draft)
      : draft_(draft),
        steps_(draft.offsets.size()),
        words_(draft.step_bytes / 8),
        loads_(steps_ * words_),
        heavy_(steps_),
        weight_(steps_) {}

  // Returns the number of couples.
  size_t run() {
    for (size_t s = 0; s < steps_; ++s) measure(s);
    std::vector<uint32_t> order(steps_);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return weight_[a] < weight_[b]; });
    std::vector<uint32_t> couples, singles;
    while (!order.empty()) {
      const uint32_t own = order.back();
      order.pop_back();
      const size_t partner = find_partner(own, order);
      if (partner < order.size()) {
        couples.push_back(own);
        couples.push_back(order[partner]);
        order.erase(order.begin() + static_cast<ptrdiff_t>(partner));
      } else {
        singles.push_back(own);
      }
    }
    const size_t count = couples.size() / 2;
    if (count == 0) return 0;
    std::sort(singles.begin(), singles.end());
    couples.insert(couples.end(), singles.begin(), singles.end());
    reorder(couples);
    return count;
  }

 private:
  // Per pair of a step the sums of its positive and of its negative weights, less one: 0 .. 127, a byte each.
  void measure(size_t step) {
    const int8_t* w = draft_.at(step);
    uint8_t load[8] = {};
    for (size_t i = 0; i < draft_.step_bytes; i += 2) {
      const int up = std::max<int>(w[i], 0) + std::max<int>(w[i + 1], 0);
      const int down = -std::min<int>(w[i], 0) - std::min<int>(w[i + 1], 0);
      load[i % 8] = static_cast<uint8_t>(std::max(up - 1, 0));
      load[i % 8 + 1] = static_cast<uint8_t>(std::max(down - 1, 0));
      weight_[step] += std::max(up - kPairLimit / 2, 0) + std::max(down - kPairLimit / 2, 0);
      if (i % 8 == 6) std::memcpy(&loads_[step * words_ + i / 8], load, 8);
    }
    for (size_t i = 0; i < words_; ++i) heavy_[step] |= (loads_[step * words_ + i] >> 6 & kOnes) << i % 8;
  }

  // (a - 1) + (b - 1) + 1 stays below 128 in every byte iff a + b <= 128. (A sum of 0 counts as 1, which loses nothing
  // but a partner for a sum of 128.)
  bool fit(size_t a, size_t b) const {
    const uint64_t *x = &loads_[a * words_], *y = &loads_[b * words_];
    uint64_t carry = 0;
    for (size_t i = 0; i < words_; ++i) carry |= x[i] + y[i] + kOnes;
    return (carry & kOnes << 7) == 0;
  }

  size_t find_partner(uint32_t own, const std::vector<uint32_t>& candidates) const {
    const uint64_t heavy = heavy_[own];
    
    
    for (size_t i = 0; i < candidates.size(); ++i) {
      if ((heavy & heavy_[candidates[i]]) == 0 && fit(own, candidates[i])) return i;
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

  static constexpr uint64_t kOnes = 0x0101010101010101;

  Draft& draft_;
  size_t steps_, words_;
  std::vector<uint64_t> loads_;  // [steps][width][2][positive, negative], bytes
  std::vector<uint64_t> heavy_;  // a bit per load beyond half of the bound: two of those never fit
  std::vector<int> weight_;      // by how much in all
};

// The weights of `zip` steps in a row, beside each other per channel.
void zip_steps(Draft& draft, size_t kr, size_t zip) {
  const std::vector<int8_t> apart = draft.weights;
  const size_t whole = draft.offsets.size() / zip * zip;
  for (size_t s = 0; s < whole; ++s) {
    int8_t* to = draft.at(s / zip * zip) + s % zip * kr;
    const int8_t* from = apart.data() + s * draft.step_bytes;
    for (size_t c = 0; c < draft.width; ++c, to += zip * kr, from += kr) std::memcpy(to, from, kr);
  }
}

uint32_t count_lead(const std::vector<int32_t>& offsets, int32_t kr) {
  uint32_t lead = 0;
  while (lead < offsets.size() && offsets[lead] == static_cast<int32_t>(lead) * kr) ++lead;
  return lead;
}

int32_t effective_bias(const Source& source, size_t channel, size_t k) {
  const int8_t* w = source.weight + channel * k;
  int32_t sum = 0;
  for (size_t i = 0; i < k; ++i) sum += w[i];
  return static_cast<int32_t>(static_cast<uint32_t>(source.bias[channel]) -
                              static_cast<uint32_t>(source.x_zero) * static_cast<uint32_t>(sum));
}

bool is_bounded(const Source& source, size_t channel, size_t k) {
  const double most = 255.0 * 127.0 * static_cast<double>(k) + std::abs(static_cast<double>(source.bias[channel]));
  return most * static_cast<double>(source.multiplier[channel]) < 2147483000.0;
}

// Where the parts of a panel go, in bytes from the start of the storage.
struct Place {
  size_t weights, offsets, bias, multiplier;
};

void fill_panel(const Source& source, const Draft& draft, size_t first, size_t k, const Place& place, std::byte* base,
                Panel& panel) {
  std::memcpy(base + place.weights, draft.weights.data(), draft.weights.size());
  std::memcpy(base + place.offsets, draft.offsets.data(), draft.offsets.size() * sizeof(int32_t));
  int32_t* bias = reinterpret_cast<int32_t*>(base + place.bias);
  float* multiplier = reinterpret_cast<float*>(base + place.multiplier);
  panel.bounded = true;
  for (size_t c = 0; c < draft.width; ++c) {
    if (c < panel.n) panel.bounded &= is_bounded(source, first + c, k);
    bias[c] = c < panel.n ? effective_bias(source, first + c, k) : 0;
    multiplier[c] = c < panel.n ? source.multiplier[first + c] : 0.0f;
  }
  panel.weights = reinterpret_cast<const int8_t*>(base + place.weights);
  panel.offsets = reinterpret_cast<const int32_t*>(base + place.offsets);
  panel.bias = bias;
  panel.multiplier = multiplier;
}

}  // namespace

Packed pack(const Source& source, const Tile& tile, PairRule pairs, Guard guard) {
  const std::vector<Step> steps = make_steps(source, tile.kr);
  size_t k = 0;
  for (const Segment& s : source.segments) k += static_cast<size_t>(s.length);
  const size_t nr = static_cast<size_t>(tile.nr), kr = static_cast<size_t>(tile.kr);

  Packed packed;
  std::vector<Draft> drafts;
  std::vector<Place> places;
  size_t bytes = 0;
  const auto reserve = [&](size_t size) {
    const size_t at = bytes;
    bytes = round_up(bytes + size, kAlignment);
    return at;
  };
  const size_t common_offsets = reserve(steps.size() * sizeof(int32_t));
  for (size_t first = 0; first < source.n; first += nr) {
    const size_t n = std::min(nr, source.n - first);
    Draft draft;
    draft.width = std::min(nr, round_up(n, static_cast<size_t>(tile.nr_unit)));
    draft.step_bytes = draft.width * kr;
    copy_main_steps(source, steps, first, n, kr, k, draft);
    if (pairs != PairRule::kAny) PairSplitter(steps, draft).run();
    const size_t couples = pairs == PairRule::kCoupled ? StepCoupler(draft).run() : 0;
    if (tile.zip > 1) zip_steps(draft, kr, static_cast<size_t>(tile.zip));

    const bool own_offsets = draft.offsets.size() > steps.size() || couples > 0;
    Place place;
    place.weights = reserve(draft.weights.size());
    place.offsets = own_offsets ? reserve(draft.offsets.size() * sizeof(int32_t)) : common_offsets;
    place.bias = reserve(draft.width * sizeof(int32_t));
    place.multiplier = reserve(draft.width * sizeof(float));
    places.push_back(place);
    Panel panel{};
    panel.steps = static_cast<uint32_t>(draft.offsets.size());
    panel.lead = count_lead(draft.offsets, tile.kr);
    panel.couples = static_cast<uint32_t>(couples);
    panel.width = static_cast<uint32_t>(draft.width);
    panel.n = static_cast<uint32_t>(n);
    packed.panels.push_back(panel);
    packed.steps += draft.offsets.size();
    packed.couples += couples;
    packed.extra_steps += draft.offsets.size() - steps.size();
    drafts.push_back(std::move(draft));
  }
  packed.storage = Buffer(bytes, guard);
  for (size_t p = 0; p < drafts.size(); ++p) {
    fill_panel(source, drafts[p], p * nr, k, places[p], packed.storage.as<std::byte>(), packed.panels[p]);
  }
  return packed;
}

}  // namespace lightkern::gemm
