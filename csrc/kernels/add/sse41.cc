// add on SSE4.1: 16 bytes in about 50 instructions (simd/x86.inc, add_bytes), bound by the four
// vector pipes.
#include "kernels/simd/sse41.h"

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

void run(const Args& args) {
  const AddVec p = load_add(args.params);
  walk_operands(
      args.operands, [&](Bytes a, Bytes b) { return add_bytes(a, b, p); },
      [&](Act a, Act b) { return requantize_add(a, b, args.params); });
}

constexpr Kernel kKernels[] = {{"add_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::add
