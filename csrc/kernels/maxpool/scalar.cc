#include "kernels/maxpool/maxpool.h"

namespace lightkern::maxpool {
namespace {

void run(const Args& args) {
  const Window& win = args.window;
  const ptrdiff_t step = win.dilation_w * args.x_pixel_stride;
  Act* y = args.y;
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const int y0 = row * win.stride_h - win.top;
    const Taps ky = taps_inside(y0, win.kernel_h, win.dilation_h, win.h);
    for (int col = 0; col < args.out_w; ++col, y += args.y_pixel_stride) {
      const int x0 = col * win.stride_w - win.left;
      const Taps kx = taps_inside(x0, win.kernel_w, win.dilation_w, win.w);
      for (size_t c = 0; c < args.channels; ++c) {
        Act most = static_cast<Act>(kActMin);
        for (int i = ky.first; i < ky.last; ++i) {
          const ptrdiff_t pixel = static_cast<ptrdiff_t>(y0 + i * win.dilation_h) * win.w + x0 +
                                  kx.first * win.dilation_w;
          const Act* x = args.x + pixel * args.x_pixel_stride + c;
          for (int j = kx.first; j < kx.last; ++j, x += step) most = *x > most ? *x : most;
        }
        y[c] = most;
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"maxpool_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::maxpool
