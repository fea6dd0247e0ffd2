// table on AVX-512 with VBMI: 64 bytes in three instructions and a mask (simd/vbmi.inc).
#include "kernels/simd/avx2.h"
#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  lookup_rows(args.x, args.x_stride, args.y, args.y_stride, args.rows, args.cols,
              load_table(args.table, args.fit), args.table);
}

constexpr Kernel kKernels[] = {{"table_s8_64_avx512vnni", run}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::table
