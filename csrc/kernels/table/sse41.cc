// table on SSE4.1 (simd/sse41.h, lookup): 21 to 29 instructions for 16 bytes where the table has
// a fit, else 16 pshufb and 47 instructions.
#include "kernels/simd/sse41.h"

#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  lookup_rows(args.x, args.x_stride, args.y, args.y_stride, args.rows, args.cols,
              load_table(args.table, args.fit), args.table);
}

constexpr Kernel kKernels[] = {{"table_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::table
