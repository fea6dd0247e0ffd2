// mul on SSE4.1: x86.inc says how.
#include "kernels/simd/sse41.h"

#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

#include "kernels/mul/x86.inc"

constexpr Kernel kKernels[] = {{"mul_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::mul
