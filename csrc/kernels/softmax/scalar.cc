#include "kernels/softmax/softmax.h"

namespace lightkern::softmax {
namespace {

void run(const Args& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const Act* x = args.x + static_cast<ptrdiff_t>(row) * args.x_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    int32_t most = kActMin;
    for (size_t i = 0; i < args.cols; ++i) most = x[i] > most ? x[i] : most;
    int64_t sum = 0;
    for (size_t i = 0; i < args.cols; ++i) sum += args.exp[most - x[i]];
    const float multiplier = args.inverse_scale / static_cast<float>(sum);
    for (size_t i = 0; i < args.cols; ++i)
      y[i] = requantize(args.exp[most - x[i]], multiplier, args.clamp);
  }
}

constexpr Kernel kKernels[] = {{"softmax_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::softmax
