// Between users' arrays and tensors: quantize, dequantize, and the layouts NCHW and NHWC.
#pragma once

#include "kernels/dequantize/dequantize.h"
#include "kernels/quantize/quantize.h"
#include "runtime/session.h"

namespace lightkern {

// One input of one image; units are pixels.
struct InputStage {
  const quantize::Kernel* kernel;
  quantize::Args args;       // for float arrays
  const int8_t* integers;    // for int8 arrays, else null; strides as in args
  size_t units;
};

InputStage make_input_stage(const Plan& plan, size_t tensor, const IoArray& array, size_t image, Act* memory);
bool load_input(const InputStage& stage, size_t begin, size_t end);  // true if a NaN was seen
void store_output(const Plan& plan, size_t tensor, const IoArray& array, size_t image, const Act* memory);

}  // namespace lightkern
