#include <algorithm>
#include <cstdlib>

#include "kernels/gemm/pairs.h"

namespace lightkern::gemm {
namespace {

// unsafe[i]: whether inputs i and i + 1 of `length`, weights `pitch` bytes apart, exceed the bound
// as a pair in any of n channels.
std::vector<uint8_t> find_unsafe(const int8_t* w, size_t length, size_t n, size_t pitch) {
  std::vector<uint8_t> unsafe(length, 0);
  for (size_t c = 0; c < n; ++c, w += pitch) {
    for (size_t i = 0; i + 1 < length; ++i) {
      unsafe[i] |= static_cast<uint8_t>(std::abs(w[i] + w[i + 1]) > kPairLimit);
    }
  }
  return unsafe;
}

// Where a step that covers `count` inputs up to some end puts them: behind `skip` zeros.
struct Cover {
  uint32_t steps;  // of the whole way to that end
  int32_t count, skip;
};

// The fewest steps over one segment, by dynamic programming over how many inputs are covered.
class SegmentCover {
 public:
  SegmentCover(std::vector<uint8_t> unsafe, int32_t overrun)
      : unsafe_(std::move(unsafe)),
        length_(static_cast<int32_t>(unsafe_.size())),
        overrun_(overrun) {}

  std::vector<Cover> run() const {
    std::vector<Cover> best(static_cast<size_t>(length_) + 1, {UINT32_MAX, 0, 0});
    best[0].steps = 0;
    for (int32_t begin = 0; begin < length_; ++begin) {
      const uint32_t steps = best[static_cast<size_t>(begin)].steps;
      if (steps == UINT32_MAX) continue;
      for (int32_t skip = 0; skip < kDepth; ++skip) {
        for (int32_t count = 1; count <= std::min(kDepth - skip, length_ - begin); ++count) {
          Cover& end = best[static_cast<size_t>(begin + count)];
          if (steps + 1 < end.steps && fits(begin, count, skip)) end = {steps + 1, count, skip};
        }
      }
    }
    std::vector<Cover> covers;
    for (int32_t end = length_; end > 0; end -= covers.back().count) {
      covers.push_back(best[static_cast<size_t>(end)]);
    }
    std::reverse(covers.begin(), covers.end());
    return covers;
  }

 private:
  static constexpr int32_t kDepth = 4;

  // Whether the step reads nothing outside of the segment, and no pair in it is unsafe.
  bool fits(int32_t begin, int32_t count, int32_t skip) const {
    const int32_t at = begin - skip;
    if (at < 0 || at + kDepth > length_ + overrun_) return false;
    const bool first_pair = skip == 0 && count >= 2, second_pair = skip <= 2 && skip + count == 4;
    return !(first_pair && unsafe_[static_cast<size_t>(at)]) &&
           !(second_pair && unsafe_[static_cast<size_t>(at + 2)]);
  }

  std::vector<uint8_t> unsafe_;
  int32_t length_, overrun_;
};

}  // namespace

std::vector<Step> steps_around_pairs(const Source& source, size_t first, size_t n) {
  size_t depth = 0, k = 0;
  for (const Segment& s : source.segments) depth += static_cast<size_t>(s.length);
  std::vector<Step> steps;
  for (const Segment& s : source.segments) {
    const int32_t overrun = source.overrun ? 3 : 0;
    const int8_t* w = source.weight + first * depth + k;
    const SegmentCover cover(find_unsafe(w, static_cast<size_t>(s.length), n, depth), overrun);
    int32_t at = 0;
    for (const Cover& c : cover.run()) {
      steps.push_back({s.offset + at - c.skip, k + static_cast<size_t>(at), c.skip, c.count,
                       s.offset + s.length + overrun});
      at += c.count;
    }
    k += static_cast<size_t>(s.length);
  }
  return steps;
}

}  // namespace lightkern::gemm
