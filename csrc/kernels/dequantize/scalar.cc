#include "kernels/dequantize/dequantize.h"

namespace lightkern::dequantize {
namespace {

void run(const Args& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x = args.x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    float* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      y[static_cast<ptrdiff_t>(c) * args.y_channel_stride] =
          static_cast<float>(x[c] - args.zero_point) * args.scale;
    }
  }
}

constexpr Kernel kKernels[] = {{"dequantize_f32_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::dequantize
