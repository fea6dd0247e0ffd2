// table on NEON: 256 bytes in 16 registers, four lookups of 64 (simd/neon.h, apply_table): 7
// instructions for 16 bytes, and what the loop takes.
#include "kernels/simd/neon.h"

#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  apply_table(args.x, args.x_stride, args.y, args.y_stride, args.rows, args.cols, args.table);
}

constexpr Kernel kKernels[] = {{"table_s8_32_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::table
