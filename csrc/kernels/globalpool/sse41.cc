// globalpool on SSE4.1: x86.inc says how.
#include "kernels/simd/sse41.h"

#include "kernels/globalpool/globalpool.h"

namespace lightkern::globalpool {
namespace {

#include "kernels/globalpool/x86.inc"

constexpr Kernel kKernels[] = {{"globalpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::globalpool
