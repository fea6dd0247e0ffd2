// add on NEON: 45 instructions for 16 bytes (simd/neon.h, add16).
#include "kernels/simd/neon.h"

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

void run(const Args& args) {
  const AddVec p = load_add(args.params);
  walk_operands(
      args.operands, [&](Bytes a, Bytes b) { return add16(a, b, p); },
      [&](Act a, Act b) { return requantize_add(a, b, args.params); });
}

constexpr Kernel kKernels[] = {{"add_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::add
