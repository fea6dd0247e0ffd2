// globalpool on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/globalpool/globalpool.h"

namespace lightkern::globalpool {
namespace {

#include "kernels/globalpool/x86.inc"

constexpr Kernel kKernels[] = {{"globalpool_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::globalpool
