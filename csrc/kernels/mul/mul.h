// mul: y = a * b of quantized values. The integer product is exact (17 bits), so it is also exact
// in float.
#pragma once

#include "kernels/operands.h"
#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::mul {

struct Args {
  Operands operands;
  int32_t za, zb;    // zero points, memory domain
  float multiplier;  // t = float((a - za) * (b - zb)) * multiplier
  Clamp clamp;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::mul
