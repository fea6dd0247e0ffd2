// Between users' arrays and tensors: quantize, dequantize, and the layouts NCHW and NHWC.
#pragma once

#include "kernels/dequantize/dequantize.h"
#include "kernels/quantize/quantize.h"
#include "kernels/reorder/reorder.h"
#include "runtime/session.h"

namespace lightkern {

// One input of one image; units are pixels. Other threads take part if it is `shared`.
struct InputStage {
  bool is_float;
  const quantize::Kernel* quantize;
  quantize::Args floats;
  const reorder::Kernel* reorder;
  reorder::Args integers;
  size_t units;
  bool shared;
};

InputStage make_input_stage(const Plan& plan, size_t tensor, const IoArray& array, size_t image,
                            Act* memory);
bool load_input(const InputStage& stage, size_t begin, size_t end);  // true if a NaN was seen
void store_output(const Plan& plan, size_t tensor, const IoArray& array, size_t image,
                  const Act* memory);

}  // namespace lightkern
