// Packing of a mul by a row of factors: the search for its fit (mul.h). For each factor b a line
// next to the one through the multiplier is looked for, which gives the right results of all 256 a:
// products come so close to the middle between two integers now and then that the rounding of
// floats decides.
#include <algorithm>
#include <cmath>

#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

constexpr int kValues = 256, kCenter = 128;
constexpr int kLeastShift = 16, kMostShift = 23;
constexpr int kReach = 8;  // so far from the multiplier coefficients go

// As many bits as all coefficients and sums can have; 0: too few.
int find_shift(const Args& args) {
  const double m = std::fabs(static_cast<double>(args.multiplier));
  const double most_b = std::max(args.zb, kValues - 1 - args.zb) * m;
  const double most = most_b * (kCenter + std::abs(kCenter - args.za)) + 2 * kValues;
  for (int shift = kMostShift; shift >= kLeastShift; --shift) {
    const double one = 1 << shift;
    // Not the other way round: what is infinite or no number is refused.
    if (most_b * one < (1 << 23) - 256 && most * one < 2147e6) return shift;
  }
  return 0;
}

// What start + k * (a - kCenter) must be at least and at most, for each a.
struct Bounds {
  int32_t least[kValues], most[kValues];
};

Bounds bounds_of(const Args& args, int b, int shift) {
  const Clamp& clamp = args.clamp;
  const int32_t lo = static_cast<int32_t>(clamp.lo) + clamp.zero_point;
  const int32_t hi = static_cast<int32_t>(clamp.hi) + clamp.zero_point;
  const float factor = static_cast<float>(b - args.zb);
  Bounds bounds;
  for (int a = 0; a < kValues; ++a) {
    // The product is exact in float.
    const float product = static_cast<float>(a - args.za) * factor;
    float t = product * args.multiplier;
    t = t < clamp.lo ? clamp.lo : t;
    t = t > clamp.hi ? clamp.hi : t;
    const int32_t y = round_half_even(t) + clamp.zero_point;
    bounds.least[a] = y > lo ? y << shift : INT32_MIN;
    bounds.most[a] = y < hi ? ((y + 1) << shift) - 1 : INT32_MAX;
  }
  return bounds;
}

// Whether a line of this slope gives all results; `start` then is the middle of all that do.
bool find_start(const Bounds& bounds, int32_t k, int32_t near, int shift, int32_t* start) {
  constexpr int32_t kFar = 1 << 24;
  int32_t least = -kFar, most = kFar;
  int32_t sum = near - kCenter * k;
  for (int a = 0; a < kValues; ++a, sum += k) {
    // Far below all results one is as good as another, and differences stay within int32.
    const int32_t line = std::max(sum, -(1 << shift));
    const int32_t low = bounds.least[a] == INT32_MIN ? -kFar : bounds.least[a] - line;
    const int32_t high = bounds.most[a] == INT32_MAX ? kFar : bounds.most[a] - line;
    least = least > low ? least : low;
    most = most < high ? most : high;
  }
  *start = near + (least + most) / 2;
  return least <= most;
}

}  // namespace

bool fit(const Args& args, Fit* fit) {
  fit->shift = find_shift(args);
  if (!fit->shift) return false;
  const double one = 1 << fit->shift;
  for (int b = 0; b < kValues; ++b) {
    const double m = static_cast<double>(b - args.zb) * args.multiplier;
    const int32_t k = static_cast<int32_t>(std::lround(m * one));
    const int32_t near = static_cast<int32_t>(
        std::lround((m * (kCenter - args.za) + args.clamp.zero_point + 0.5) * one));
    const Bounds bounds = bounds_of(args, b, fit->shift);
    int32_t start = 0, at = k;
    for (int i = 1; !find_start(bounds, at, near, fit->shift, &start); ++i) {
      if (i > 2 * kReach) return false;
      at = k + (i % 2 ? i + 1 : -i) / 2;
    }
    fit->low[b] = static_cast<uint8_t>(at & 0xFF);
    for (int i = 0; i < 2; ++i) fit->high[i][b] = static_cast<uint8_t>(at >> (8 + 8 * i) & 0xFF);
    start -= kCenter * fit->low[b];
    for (int i = 0; i < 4; ++i) fit->start[i][b] = static_cast<uint8_t>(start >> (8 * i) & 0xFF);
  }
  return true;
}

}  // namespace lightkern::mul
