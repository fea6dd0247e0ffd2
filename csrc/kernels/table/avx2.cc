// table on AVX2: 16 pshufb per vector (simd/avx2.h, lookup32), 47 instructions for 32 bytes.
#include "kernels/simd/avx2.h"

#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  const TableVec table = load_table(args.table);
  for (size_t row = 0; row < args.rows; ++row) {
    const Act* x = args.x + static_cast<ptrdiff_t>(row) * args.x_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    size_t i = 0;
    for (; i + 64 <= args.cols; i += 64) {
      const __m256i first = lookup32(load32(x + i), table),
                    second = lookup32(load32(x + i + 32), table);
      store32(y + i, first);
      store32(y + i + 32, second);
    }
    for (; i + 32 <= args.cols; i += 32) store32(y + i, lookup32(load32(x + i), table));
    for (; i < args.cols; ++i) y[i] = args.table[x[i]];
  }
}

constexpr Kernel kKernels[] = {{"table_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::table
