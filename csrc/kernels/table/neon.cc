// table on NEON: 256 bytes in 16 registers, four lookups of 64 (simd/neon.h, lookup16): 7
// instructions for 16 bytes.
#include "kernels/simd/neon.h"

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
      const int8x16_t first = lookup16(vld1q_s8(x + i), table);
      const int8x16_t second = lookup16(vld1q_s8(x + i + 16), table);
      vst1q_s8(y + i, first);
      vst1q_s8(y + i + 16, second);
    }
    for (; i + 16 <= args.cols; i += 16) vst1q_s8(y + i, lookup16(vld1q_s8(x + i), table));
    for (; i < args.cols; ++i) y[i] = args.table[static_cast<uint8_t>(x[i])];
  }
}

constexpr Kernel kKernels[] = {{"table_s8_32_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::table
