// add: y = a + b of quantized values; a - b where the multiplier of b is negative.
#pragma once

#include "kernels/operands.h"
#include "kernels/registry.h"
#include "kernels/requant.h"

namespace lightkern::add {

struct Args {
  Operands operands;
  AddParams params;
};

struct Kernel {
  const char* name;
  void (*run)(const Args&);
};

// pack.cc: looks for params.fit.
void fit(AddParams& params);

LIGHTKERN_DECLARE_REGISTRY(Kernel)

}  // namespace lightkern::add
