// table: y = table[x], any function of one int8 value.
#pragma once

#include "base/types.h"
#include "kernels/registry.h"

namespace lightkern {
struct TableFit;  // kernels/fit.h
}  // namespace lightkern

namespace lightkern::table {

struct Args {
  const Act* x;        // [rows][cols]
  ptrdiff_t x_stride;  // bytes between rows
  Act* y;              // [rows][cols]
  ptrdiff_t y_stride;
  size_t rows, cols;
  const Act* table;     // [256], indexed by the byte of the memory value
  const TableFit* fit;  // null, or the same function
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::table
