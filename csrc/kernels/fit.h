// A table of 256 bytes as arithmetic, for CPUs whose byte shuffle takes 16 entries at once (x86).
//
// Of an index x, hi = x / 16 and lo = x % 16. Activation functions are smooth, so that within most
// of the 16 chunks a line, bent a little, rounds to just the values of the table:
//
//   y = ((slope[hi] * lo + bend[hi] * lo * (15 - lo) + start[hi]) * scale) >> 16
//
// A chunk for which no such line exists (a kink of hard-swish) has zeros there and its values in a
// fix. fit_table checks all 256 entries; a table without a fit is looked up.
#pragma once

#include <cstdint>

#include "base/types.h"

namespace lightkern {

constexpr int kMostFixes = 2;

struct TableFit {
  int8_t slope[16], bend[16];
  uint8_t start_low[16], start_high[16];  // 16 bits each
  struct Fix {
    uint8_t value[16];
    uint8_t first;  // index of the chunk's first entry
  } fix[kMostFixes];
  int fixes;
  uint16_t scale;  // 2^16 / 2^s: lines are computed with s fraction bits
};

// table/pack.cc: false if there is no fit for these 256 values.
bool fit_table(const Act* table, TableFit* fit);

}  // namespace lightkern
