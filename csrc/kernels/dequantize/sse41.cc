// dequantize on SSE4.1: x86.inc says how.
#include "kernels/simd/sse41.h"

#include "kernels/dequantize/dequantize.h"

namespace lightkern::dequantize {
namespace {

#include "kernels/dequantize/x86.inc"

constexpr Kernel kKernels[] = {{"dequantize_f32_8_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::dequantize
