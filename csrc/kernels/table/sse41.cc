// table on SSE4.1: 16 pshufb per vector (simd/sse41.h, lookup16), 47 instructions for 16 bytes.
#include "kernels/simd/sse41.h"

#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  const TableVec table = load_table(args.table, args.fit);
  for (size_t row = 0; row < args.rows; ++row) {
    const ptrdiff_t r = static_cast<ptrdiff_t>(row);
    lookup_row(args.x + r * args.x_stride, args.y + r * args.y_stride, args.cols, table,
               args.table);
  }
}

constexpr Kernel kKernels[] = {{"table_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::table
