// quantize on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/quantize/quantize.h"
#include "kernels/simd/x86.h"

namespace lightkern::quantize {
namespace {

#include "kernels/quantize/ymm.inc"

constexpr Kernel kKernels[] = {{"quantize_f32_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::quantize
