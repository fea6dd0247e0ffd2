// Packing of a table: the search for a fit (kernels/fit.h). At most some ten thousand lines are
// tried per table, since the ends of a chunk give its slope, and its middle its bend, to within the
// rounding of values.
#include <algorithm>

#include "kernels/fit.h"

namespace lightkern {
namespace {

constexpr int kChunk = 16;

int bulge(int lo) { return lo * (kChunk - 1 - lo); }

struct Line {
  int slope, bend, start;  // start < 0: none
};

// A start with which the line gives all values of a chunk, or -1. The result of an entry is
// (line + start) >> bits, so each allows an interval of 2^bits starts.
int start_of(const Act* chunk, int slope, int bend, int bits) {
  int least = -(1 << 20), most = 1 << 20;
  for (int lo = 0; lo < kChunk; ++lo) {
    const int start = (chunk[lo] << bits) - slope * lo - bend * bulge(lo);
    least = std::max(least, start);
    most = std::min(most, start + (1 << bits) - 1);
  }
  return least <= most ? least & 0xFFFF : -1;  // sums are taken modulo 2^16
}

Line find_line(const Act* chunk, int bits) {
  const int one = 1 << bits, last = kChunk - 1;
  const int slope = (chunk[last] - chunk[0]) * one / last;
  const int middle = chunk[kChunk / 2 - 1] + chunk[kChunk / 2] - chunk[0] - chunk[last];
  const int bend = middle * one / (2 * bulge(kChunk / 2));
  const int slopes = one / last + 2, bends = 2 * one / (2 * bulge(kChunk / 2)) + 2;
  for (int b = bend - bends; b <= bend + bends; ++b) {
    for (int s = slope - slopes; s <= slope + slopes; ++s) {
      if (std::max(b, s) > 127 || std::min(b, s) < -128) continue;
      const int start = start_of(chunk, s, b, bits);
      if (start >= 0) return {s, b, start};
    }
  }
  return {0, 0, -1};
}

Act value_of(const TableFit& fit, int x) {
  const int hi = x / kChunk, lo = x % kChunk;
  const int start = fit.start_low[hi] | fit.start_high[hi] << 8;
  const int line = (fit.slope[hi] * lo + fit.bend[hi] * bulge(lo) + start) & 0xFFFF;
  int y = std::min(line * fit.scale >> 16, 255);
  for (int i = 0; i < fit.fixes; ++i) {
    if (fit.fix[i].first == hi * kChunk) y ^= fit.fix[i].value[lo];
  }
  return static_cast<Act>(y);
}

bool fit_with(const Act* table, int bits, TableFit* fit) {
  *fit = {};
  fit->scale = static_cast<uint16_t>(1 << (16 - bits));
  for (int hi = 0; hi < 256 / kChunk; ++hi) {
    const Act* chunk = table + hi * kChunk;
    const Line line = find_line(chunk, bits);
    if (line.start < 0) {
      if (fit->fixes == kMostFixes) return false;
      TableFit::Fix& fix = fit->fix[fit->fixes++];
      fix.first = static_cast<uint8_t>(hi * kChunk);
      std::copy(chunk, chunk + kChunk, fix.value);
      continue;
    }
    fit->slope[hi] = static_cast<int8_t>(line.slope);
    fit->bend[hi] = static_cast<int8_t>(line.bend);
    fit->start_low[hi] = static_cast<uint8_t>(line.start & 0xFF);
    fit->start_high[hi] = static_cast<uint8_t>(line.start >> 8);
  }
  for (int x = 0; x < 256; ++x) {
    if (value_of(*fit, x) != table[x]) return false;
  }
  return true;
}

}  // namespace

bool fit_table(const Act* table, TableFit* fit) {
  TableFit other;
  const bool found = fit_with(table, 6, fit);
  if (found && fit->fixes == 0) return true;
  if (fit_with(table, 7, &other) && (!found || other.fixes < fit->fixes)) {
    *fit = other;
    return true;
  }
  return found;
}

}  // namespace lightkern
