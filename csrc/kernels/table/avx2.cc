// table on AVX2 (simd/avx2.h, lookup): 21 to 29 instructions for 32 bytes where the table has a
// fit, else 16 pshufb and 37 instructions.
#include "kernels/simd/avx2.h"

#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  lookup_rows(args.x, args.x_stride, args.y, args.y_stride, args.rows, args.cols,
              load_table(args.table, args.fit), args.table);
}

constexpr Kernel kKernels[] = {{"table_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::table
