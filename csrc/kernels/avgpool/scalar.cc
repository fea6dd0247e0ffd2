#include "kernels/avgpool/avgpool.h"

namespace lightkern::avgpool {
namespace {

void run(const Args& args) {
  const Window& win = args.window;
  Act* y = args.y;
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const int y0 = row * win.stride_h - win.top;
    const Taps ky = taps_inside(y0, win.kernel_h, 1, win.h);
    for (int col = 0; col < args.out_w; ++col, y += args.y_pixel_stride) {
      const int x0 = col * win.stride_w - win.left;
      const Taps kx = taps_inside(x0, win.kernel_w, 1, win.w);
      const int inside = (ky.last - ky.first) * (kx.last - kx.first);
      const int count = args.include_padding ? win.kernel_h * win.kernel_w : inside;
      const float multiplier = args.scale / static_cast<float>(count);
      for (size_t c = 0; c < args.channels; ++c) {
        int32_t acc = -inside * args.zero_point;
        for (int i = ky.first; i < ky.last; ++i) {
          const ptrdiff_t pixel = static_cast<ptrdiff_t>(y0 + i) * win.w + x0 + kx.first;
          const Act* x = args.x + pixel * args.x_pixel_stride + c;
          for (int j = kx.first; j < kx.last; ++j, x += args.x_pixel_stride) acc += *x;
        }
        y[c] = requantize(acc, multiplier, args.clamp);
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"avgpool_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::avgpool
