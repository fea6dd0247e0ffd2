// mul on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

#include "kernels/mul/x86.inc"

constexpr Kernel kKernels[] = {{"mul_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::mul
