#include "kernels/resize/resize.h"

namespace lightkern::resize {
namespace {

void run(const Args& args) {
  Act* y = args.y;
  for (size_t row = 0; row < args.rows; ++row) {
    const Pair& py = args.y_pairs[row];
    for (size_t col = 0; col < args.cols; ++col, y += args.y_pixel_stride) {
      const Pair& px = args.x_pairs[col];
      const Act* low = args.x + py.low;
      const Act* high = args.x + py.high;
      const int32_t wx[2] = {2048 - px.fraction, px.fraction};
      for (size_t c = 0; c < args.channels; ++c) {
        const ptrdiff_t left = px.low + static_cast<ptrdiff_t>(c),
                        right = px.high + static_cast<ptrdiff_t>(c);
        const int32_t upper = low[left] * wx[0] + low[right] * wx[1];
        const int32_t lower = high[left] * wx[0] + high[right] * wx[1];
        const int32_t sum = upper * (2048 - py.fraction) + lower * py.fraction;
        y[c] = static_cast<Act>((sum + (1 << 21)) >> 22);
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"resize_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::resize
