// Layout of packed weights, for any tile {mr, nr, kr, nr_unit, zip}:
//
//   panel p    output channels p * nr ..., n of them exist; width = nr, for the last panel n
//              rounded up to nr_unit
//   weights    [steps][width][kr]: step s multiplies the kr bytes at row + offsets[s]
//              with zip: [steps / zip][width][zip][kr], then steps % zip steps as above
//
//   step               weights                                         offsets
//   main steps         k .. k + kr - 1 of a segment                    ascending by kr
//   a segment's tail   overrun: the last k % kr, then zeros            continues
//                      else: zeros, then the last k % kr, so that the  end of the segment - kr
//                      step ends where the segment does
//
// PairRule::kExact makes pairs exact that could saturate (pairs.h): by extra steps at any offsets
// for what had to be taken from such pairs, or by main steps that start anywhere between them.
//
// PairRule::kWords stores each weight in 16 bits.
//
// PairRule::kCoupled then sorts all steps, couples first; PairRule::kLanes sorts zipped twos of
// steps (pairs.h).
//
// For 4x16c4 and one segment of 10 inputs without overrun: steps 0..3 4..7 6..9 (6 and 7 with
// weight 0), lead = 2.
#include "kernels/gemm/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

constexpr size_t kAlignment = 64;

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

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

void copy_steps(const Source& source, const std::vector<Step>& steps, size_t first, size_t n,
                size_t kr, size_t k, Draft& draft) {
  draft.weights.assign(steps.size() * draft.step_bytes, 0);
  draft.offsets.resize(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    const Step& step = steps[s];
    draft.offsets[s] = step.offset;
    int8_t* to = draft.at(s) + step.skip;
    const int8_t* from = source.weight + first * k + step.k;
    if (step.count == 4 && kr == 4) {
      for (size_t c = 0; c < n; ++c) std::memcpy(to + 4 * c, from + k * c, 4);
      continue;
    }
    for (size_t c = 0; c < n; ++c, to += kr, from += k) {
      std::memcpy(to, from, static_cast<size_t>(step.count));
    }
  }
}

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

// The steps of one panel after another.
class PanelPacker {
 public:
  struct Result {
    Couples couples;
    bool main_steps;  // in their order
  };

  PanelPacker(const Source& source, const Tile& tile, PairRule pairs)
      : source_(source), tile_(tile), pairs_(pairs), steps_(make_steps(source, tile.kr)) {
    for (const Segment& s : source.segments) depth_ += static_cast<size_t>(s.length);
  }

  size_t depth() const { return depth_; }

  // The panel of the channels from `first` on.
  Result run(size_t first, Draft& draft) const {
    const size_t nr = static_cast<size_t>(tile_.nr), kr = static_cast<size_t>(tile_.kr);
    const size_t n = std::min(nr, source_.n - first), unit = static_cast<size_t>(tile_.nr_unit);
    draft.width = std::min(nr, round_up(n, unit));
    draft.step_bytes = draft.width * kr;
    copy_steps(source_, steps_, first, n, kr, depth_, draft);
    Result result{{}, true};
    if (pairs_ == PairRule::kExact || pairs_ == PairRule::kCoupled) {
      result.main_steps = make_exact(first, n, draft);
    }
    if (pairs_ == PairRule::kCoupled) result.couples = couple_steps(draft, unit);
    if (tile_.zip > 1) zip_steps(draft, kr, static_cast<size_t>(tile_.zip));
    if (pairs_ == PairRule::kLanes && draft.width == nr) {
      result.couples.all = static_cast<uint32_t>(couple_lanes(draft));
    }
    const Couples& c = result.couples;
    result.main_steps &= c.all + c.low + c.high == 0;
    return result;
  }

 private:
  // Returns whether all pairs were exact already.
  bool make_exact(size_t first, size_t n, Draft& draft) const {
    if (pairs_are_exact(draft)) return true;
    const std::vector<Step> around = steps_around_pairs(source_, first, n);
    split_pairs(steps_, draft);
    if (around.size() < draft.offsets.size()) {
      copy_steps(source_, around, first, n, 4, depth_, draft);
    }
    return false;
  }

  const Source& source_;
  const Tile& tile_;
  PairRule pairs_;
  std::vector<Step> steps_;
  size_t depth_ = 0;
};

uint32_t count_lead(const std::vector<int32_t>& offsets, int32_t kr) {
  uint32_t lead = 0;
  while (lead < offsets.size() && offsets[lead] == static_cast<int32_t>(lead) * kr) ++lead;
  return lead;
}

// Sums over the weights of a channel, and of their absolute values. Neither exceeds 32 bits in a
// model that passed the rules, since 255 times the latter does not.
struct WeightSums {
  uint32_t plain, absolute;
};

WeightSums sum_weights(const int8_t* w, size_t k) {
  WeightSums sums{0, 0};
  for (size_t i = 0; i < k; ++i) {
    const int32_t value = w[i];
    sums.plain += static_cast<uint32_t>(value);
    sums.absolute += static_cast<uint32_t>(value < 0 ? -value : value);
  }
  return sums;
}

int32_t effective_bias(const Source& source, size_t channel, const WeightSums& sums) {
  return static_cast<int32_t>(static_cast<uint32_t>(source.bias[channel]) -
                              static_cast<uint32_t>(source.x_zero) * sums.plain);
}

// The greatest magnitude that an output can have before it is rounded and clamped.
double most_of(const Source& source, size_t channel, const WeightSums& sums) {
  const double most = 255.0 * sums.absolute + std::abs(static_cast<double>(source.bias[channel]));
  return most * static_cast<double>(source.multiplier[channel]);
}

// Memory for the parts of the panels.
class Parts {
 public:
  Parts(Storage& storage, size_t& bytes) : storage_(storage), bytes_(bytes) {}

  template <class T>
  T* take(size_t count) {
    bytes_ += round_up(count * sizeof(T), kAlignment);
    return reinterpret_cast<T*>(storage_.take(count * sizeof(T)));
  }
  template <class T>
  const T* copy(const std::vector<T>& values) {
    T* to = take<T>(values.size());
    std::memcpy(to, values.data(), values.size() * sizeof(T));
    return to;
  }
  const int8_t* copy_words(const std::vector<int8_t>& values) {
    int16_t* to = take<int16_t>(values.size());
    std::copy(values.begin(), values.end(), to);
    return reinterpret_cast<const int8_t*>(to);
  }

 private:
  Storage& storage_;
  size_t& bytes_;
};

void fill_channels(const Source& source, size_t first, size_t k, Parts& parts, Panel& panel) {
  int32_t* bias = parts.take<int32_t>(panel.width);
  float* multiplier = parts.take<float>(panel.width);
  double most = 0.0;
  for (size_t c = 0; c < panel.n; ++c) {
    const WeightSums sums = sum_weights(source.weight + (first + c) * k, k);
    most = std::max(most, most_of(source, first + c, sums));
    bias[c] = effective_bias(source, first + c, sums);
    multiplier[c] = source.multiplier[first + c];
  }
  std::fill(bias + panel.n, bias + panel.width, 0);
  std::fill(multiplier + panel.n, multiplier + panel.width, 0.0f);
  panel.bounded = most < 2147483000.0;
  panel.bounded16 = most < 32000.0;
  panel.bias = bias;
  panel.multiplier = multiplier;
}

}  // namespace

double count_multiplies(const Source& source, const Tile& tile, PairRule pairs) {
  const PanelPacker packer(source, tile, pairs);
  Draft draft;
  const Couples c = packer.run(0, draft).couples;
  const double steps = static_cast<double>(draft.offsets.size());
  if (pairs == PairRule::kWords) return steps;
  return 2 * steps - (c.all + 0.5 * (c.low + c.high));  // a couple shares one of its four
}

Packed pack(const Source& source, const Tile& tile, PairRule pairs, Storage& storage) {
  const PanelPacker packer(source, tile, pairs);
  const size_t nr = static_cast<size_t>(tile.nr);
  Packed packed{{}, 0};
  Parts parts(storage, packed.bytes);
  const int32_t* common_offsets = nullptr;
  Draft draft;  // one panel at a time: what it needs stays in the cache
  for (size_t first = 0; first < source.n; first += nr) {
    const PanelPacker::Result result = packer.run(first, draft);
    Panel panel{};
    panel.weights =
        pairs == PairRule::kWords ? parts.copy_words(draft.weights) : parts.copy(draft.weights);
    if (!result.main_steps) {
      panel.offsets = parts.copy(draft.offsets);
    } else {
      if (!common_offsets) common_offsets = parts.copy(draft.offsets);
      panel.offsets = common_offsets;
    }
    panel.steps = static_cast<uint32_t>(draft.offsets.size());
    panel.lead = count_lead(draft.offsets, tile.kr);
    panel.couples = result.couples;
    panel.width = static_cast<uint32_t>(draft.width);
    panel.n = static_cast<uint32_t>(std::min(nr, source.n - first));
    fill_channels(source, first, packer.depth(), parts, panel);
    packed.panels.push_back(panel);
  }
  return packed;
}

}  // namespace lightkern::gemm
