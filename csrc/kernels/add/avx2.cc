// add on AVX2: 32 bytes in about 50 instructions (simd/x86.inc, add_bytes), bound by the four
// vector pipes.
#include "kernels/simd/avx2.h"

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

void run(const Args& args) {
  const AddVec p = load_add(args.params);
  walk_operands(
      args.operands, [&](Bytes a, Bytes b) { return add_bytes(a, b, p); },
      [&](Act a, Act b) { return requantize_add(a, b, args.params); });
}

constexpr Kernel kKernels[] = {{"add_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::add
