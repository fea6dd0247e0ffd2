// add on SSE4.1: x86.inc says how.
#include "kernels/simd/sse41.h"

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

#include "kernels/add/x86.inc"

constexpr Kernel kKernels[] = {{"add_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::add
