// avgpool on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/avgpool/view.h"

namespace lightkern::avgpool {
namespace {

#include "kernels/avgpool/x86.inc"

constexpr Kernel kKernels[] = {{"avgpool_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::avgpool
