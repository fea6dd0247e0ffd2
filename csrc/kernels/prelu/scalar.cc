#include "kernels/prelu/prelu.h"

namespace lightkern::prelu {
namespace {

void run(const Args& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x = args.x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      const int32_t v = x[c] - args.zero_point;
      y[c] = requantize(v, v >= 0 ? args.positive : args.negative[c], args.clamp);
    }
  }
}

constexpr Kernel kKernels[] = {{"prelu_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::prelu
