#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

void run(const Args& args) {
  const Operands& o = args.operands;
  for (size_t row = 0; row < o.rows; ++row) {
    const ptrdiff_t r = static_cast<ptrdiff_t>(row);
    const Act* a = o.a + r * o.a_stride;
    const Act* b = o.b + r * o.b_stride;
    Act* y = o.y + r * o.y_stride;
    for (size_t i = 0; i < o.cols; ++i) {
      const int32_t product =
          (a[i] - args.za) * (b[static_cast<ptrdiff_t>(i) * o.b_step] - args.zb);
      y[i] = requantize(product, args.multiplier, args.clamp);
    }
  }
}

constexpr Kernel kKernels[] = {{"mul_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::mul
