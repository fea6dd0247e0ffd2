// dequantize on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/dequantize/dequantize.h"
#include "kernels/simd/x86.h"

namespace lightkern::dequantize {
namespace {

#include "kernels/dequantize/x86.inc"

constexpr Kernel kKernels[] = {{"dequantize_f32_8_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::dequantize
