// table on SSE4.1: 16 pshufb per vector (simd/sse41.h, lookup16), 47 instructions for 16 bytes.
#include "kernels/simd/sse41.h"

#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  const TableVec table = load_table(args.table);
  for (size_t row = 0; row < args.rows; ++row) {
    const Act* x = args.x + static_cast<ptrdiff_t>(row) * args.x_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    size_t i = 0;
    for (; i + 32 <= args.cols; i += 32) {
      const __m128i first = lookup16(load16(x + i), table),
                    second = lookup16(load16(x + i + 16), table);
      store16(y + i, first);
      store16(y + i + 16, second);
    }
    for (; i < args.cols; ++i) y[i] = args.table[x[i]];
  }
}

constexpr Kernel kKernels[] = {{"table_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::table
