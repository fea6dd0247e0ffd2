// avgpool on SSE4.1: x86.inc says how.
#include "kernels/simd/sse41.h"

#include "kernels/avgpool/view.h"

namespace lightkern::avgpool {
namespace {

#include "kernels/avgpool/x86.inc"

constexpr Kernel kKernels[] = {{"avgpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::avgpool
