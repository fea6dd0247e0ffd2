#include "kernels/quantize/quantize.h"

namespace lightkern::quantize {
namespace {

bool run(const Args& args) {
  bool nan = false;
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* x = args.x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      const float value = x[static_cast<ptrdiff_t>(c) * args.x_channel_stride];
      nan |= value != value;
      y[c] = finish(value != value ? 0.0f : value / args.scale, args.clamp);
    }
  }
  return nan;
}

constexpr Kernel kKernels[] = {{"quantize_f32_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::quantize
