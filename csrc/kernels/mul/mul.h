// mul: y = a * b of quantized values. The integer product is exact (17 bits), so it is also exact
// in float.
#pragma once

#include "kernels/operands.h"
#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::mul {

// The mul below by one factor per column, in integers, for CPUs that multiply words and add the
// products (avx512vnni). For a factor b
//
//   y = (start + high * 256 * (a - 128) + low * a) >> shift, packed to a byte and limited
//
// No sum leaves int32. Tables of bytes, since those are looked up fast: least significant first.
struct Fit {
  uint8_t low[256], high[2][256], start[4][256];  // [b]; high and start have signs
  int shift;                                      // 16 to 23
};

struct Args {
  Operands operands;
  int32_t za, zb;    // zero points, memory domain
  float multiplier;  // t = float((a - za) * (b - zb)) * multiplier
  Clamp clamp;
  const Fit* fit;  // null, or gives the same for all a and b
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
  bool fits = false;  // has use for args.fit where b is one row for all
};

// pack.cc: false if there is no fit for these zero points, multiplier and limits.
bool fit(const Args& args, Fit* fit);

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::mul
