// Packing of an add: the search for its fit (AddFit of requant.h).
//
// A line through the multipliers gives the right result for all but the pairs (a, b) whose sum
// comes so close to the middle between two integers that the rounding of floats decides. Of 65,536
// pairs some hundred are close enough to ask; coefficients next to the line's are tried on those,
// and what is right for them on all. There is no fit where exact middles are frequent, which round
// to even: multipliers 1/2 and 1/2.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

constexpr int kValues = 256, kCenter = 128, kBlock = 64;
constexpr int kLeastShift = 16, kMostShift = 23;
constexpr int kReach = 4;  // so far from the multipliers coefficients go
// So far, in sums, such coefficients and their start move a result.
constexpr int32_t kNear = 4 * kCenter * kReach;
constexpr size_t kMostClose = 1024;

struct Line {
  int32_t k[2], start;
  int shift;
};

// The line through the multipliers, with as many bits as coefficients and sums can have.
bool find_line(const AddParams& p, Line* line) {
  const double m[2] = {p.ma, p.mb};
  const double center =
      (kCenter - p.za) * m[0] + (kCenter - p.zb) * m[1] + p.clamp.zero_point + 0.5;
  const double most = std::fabs(center) + kCenter * (std::fabs(m[0]) + std::fabs(m[1]));
  for (int shift = kMostShift; shift >= kLeastShift; --shift) {
    const double one = 1 << shift;
    // Not the other way round: what is infinite or no number is refused.
    const bool fits = std::fabs(m[0]) * one < (1 << 23) - 256 &&
                      std::fabs(m[1]) * one < (1 << 23) - 256 && most * one < 2147e6;
    if (!fits) continue;
    const auto whole = [&](double v) { return static_cast<int32_t>(std::lround(v * one)); };
    *line = {{whole(m[0]), whole(m[1])}, whole(center), shift};
    return true;
  }
  return false;
}

// A pair close to a step of the output, relative to kCenter: the line's start may move by least to
// most before its result is wrong.
struct Close {
  int32_t a, b, least, most;
};

// Rounded half to even, for |t| < 2^22.
float round_real(float t) { return (t + 12582912.0f) - 12582912.0f; }

Close examine(const AddParams& p, const Line& line, int a, int b) {
  const int32_t one = 1 << line.shift,
                y = requantize_add(static_cast<Act>(a), static_cast<Act>(b), p);
  const int32_t lo = static_cast<int32_t>(p.clamp.lo) + p.clamp.zero_point;
  const int32_t hi = static_cast<int32_t>(p.clamp.hi) + p.clamp.zero_point;
  a -= kCenter, b -= kCenter;
  const int32_t beyond = line.start + line.k[0] * a + line.k[1] * b - y * one;
  return {a, b, y == lo ? -one : -beyond, y == hi ? one : one - 1 - beyond};
}

// False: too many. Results beyond the limits need no care, nor does one at a limit on its far side.
bool find_close(const AddParams& p, const Line& line, std::vector<Close>* close) {
  const float lo = p.clamp.lo - 0.75f, hi = p.clamp.hi + 0.75f;
  const float near =
      0.5f - static_cast<float>(kNear + kCenter) / static_cast<float>(1 << line.shift);
  float ta[kValues];
  for (int a = 0; a < kValues; ++a) ta[a] = static_cast<float>(a - p.za) * p.ma;
  for (int b = 0; b < kValues; ++b) {
    const float tb = static_cast<float>(b - p.zb) * p.mb;
    for (int first = 0; first < kValues; first += kBlock) {
      const auto is_close = [&](int a) {
        float t = ta[a] + tb;
        t = t < lo ? lo : t;
        t = t > hi ? hi : t;
        // At the limits just set it is a quarter from an integer.
        return std::fabs(t - round_real(t)) > near;
      };
      int any = 0;
      for (int a = first; a < first + kBlock; ++a) any |= is_close(a);
      for (int a = first; any && a < first + kBlock; ++a) {
        if (is_close(a)) close->push_back(examine(p, line, a, b));
      }
      if (close->size() > kMostClose) return false;
    }
  }
  return true;
}

// Whether some start, with coefficients so far from the line's, is right for all close pairs.
bool try_line(const std::vector<Close>& close, int da, int db, Line* line) {
  int32_t least = -kNear / 2, most = kNear / 2;
  for (const Close& c : close) {
    const int32_t moved = da * c.a + db * c.b;
    least = std::max(least, c.least - moved);
    most = std::min(most, c.most - moved);
    if (least > most) return false;
  }
  line->k[0] += da;
  line->k[1] += db;
  line->start += (least + most) / 2;
  return true;
}

bool adapt(const std::vector<Close>& close, Line* line) {
  for (int reach = 0; reach <= kReach; ++reach) {
    for (int da = -reach; da <= reach; ++da) {
      const int step = std::abs(da) == reach ? 1 : 2 * reach;
      for (int db = -reach; db <= reach; db += step) {
        if (try_line(close, da, db, line)) return true;
      }
    }
  }
  return false;
}

// Tries all pairs.
bool is_right(const AddParams& p, const Line& line) {
  const float zero_point = static_cast<float>(p.clamp.zero_point);
  const float lo = p.clamp.lo, hi = p.clamp.hi;
  float ta[kValues];
  int32_t sum_a[kValues];
  for (int a = 0; a < kValues; ++a) {
    ta[a] = static_cast<float>(a - p.za) * p.ma;
    sum_a[a] = (a - kCenter) * line.k[0];
  }
  for (int b = 0; b < kValues; ++b) {
    const float tb = static_cast<float>(b - p.zb) * p.mb;
    const int32_t sum_b = (b - kCenter) * line.k[1] + line.start;
    int wrong = 0;
    for (int a = 0; a < kValues; ++a) {
      float t = ta[a] + tb, fit = static_cast<float>((sum_a[a] + sum_b) >> line.shift) - zero_point;
      t = t < lo ? lo : t;
      t = t > hi ? hi : t;
      fit = fit < lo ? lo : fit;
      fit = fit > hi ? hi : fit;
      wrong |= round_real(t) != fit;
    }
    if (wrong) return false;
  }
  return true;
}

}  // namespace

void fit(AddParams& params) {
  params.fit = {};
  Line line;
  std::vector<Close> close;
  if (!find_line(params, &line) || !find_close(params, line, &close) || !adapt(close, &line) ||
      !is_right(params, line))
    return;
  const auto high = [](int32_t k) { return static_cast<int16_t>(k >> 8); };
  const auto low = [](int32_t k) { return static_cast<uint8_t>(k & 0xFF); };
  params.fit = {
      {high(line.k[0]), high(line.k[1])}, {low(line.k[0]), low(line.k[1])}, line.start, line.shift};
}

}  // namespace lightkern::add
