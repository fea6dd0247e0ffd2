// add on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

#include "kernels/add/x86.inc"

constexpr Kernel kKernels[] = {{"add_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::add
