#include "kernels/table/table.h"

namespace lightkern::table {
namespace {

void run(const Args& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const Act* x = args.x + static_cast<ptrdiff_t>(row) * args.x_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    for (size_t i = 0; i < args.cols; ++i) y[i] = args.table[static_cast<uint8_t>(x[i])];
  }
}

constexpr Kernel kKernels[] = {{"table_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::table
