#include "kernels/globalpool/globalpool.h"

namespace lightkern::globalpool {
namespace {

void run(const Args& args) {
  for (size_t c = 0; c < args.channels; ++c) {
    int32_t acc = 0;
    for (size_t p = 0; p < args.pixels; ++p) {
      acc += args.x[static_cast<ptrdiff_t>(p) * args.x_pixel_stride + static_cast<ptrdiff_t>(c)] -
             args.zero_point;
    }
    args.y[c] = requantize(acc, args.multiplier, args.clamp);
  }
}

constexpr Kernel kKernels[] = {{"globalpool_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::globalpool
