#include "kernels/interleave/interleave.h"

namespace lightkern::interleave {
namespace {

void run(const Args& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    for (size_t i = 0; i < args.parts; ++i) {
      const Act* x = args.x[i] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[i];
      for (size_t j = 0; j < args.channels; ++j) y[j * args.parts + i] = x[j];
    }
  }
}

constexpr Kernel kKernels[] = {{"interleave_s8_1_scalar", 0, run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::interleave
