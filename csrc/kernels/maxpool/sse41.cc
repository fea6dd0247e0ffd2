// maxpool on SSE4.1: pmaxub over the window, 16 or 8 channels at a time; bound by the loads.
#include "kernels/simd/sse41.h"

#include "kernels/maxpool/maxpool.h"

namespace lightkern::maxpool {
namespace {

// The inputs that one output sees.
struct View {
  const Act* x;
  ptrdiff_t row, col;  // bytes between taps
  int rows, cols;
};

// A window of known size, so that nothing is left of its loops.
template <int rows, int cols, class Vector, class Load, class Max>
inline Vector reduce_fixed(const View& v, size_t c, Load load, Max max) {
  const Act* x = v.x + c;
  Vector most = load(x);
  for (int i = 0; i < rows; ++i, x += v.row) {
    for (int j = 0; j < cols; ++j) most = max(most, load(x + j * v.col));
  }
  return most;
}

template <class Vector, class Load, class Max>
inline Vector reduce(const View& v, size_t c, Load load, Max max) {
  if (v.rows == 3 && v.cols == 3) return reduce_fixed<3, 3, Vector>(v, c, load, max);
  if (v.rows == 2 && v.cols == 2) return reduce_fixed<2, 2, Vector>(v, c, load, max);
  const Act* row = v.x + c;
  Vector most = load(row);
  for (int i = 0; i < v.rows; ++i, row += v.row) {
    const Act* x = row;
    for (int j = 0; j < v.cols; ++j, x += v.col) most = max(most, load(x));
  }
  return most;
}

inline void sixteen(const View& v, size_t c, Act* y) {
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  store16(y + c, reduce<__m128i>(v, c, load16, max));
}

inline void eight(const View& v, size_t c, Act* y) {
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  store_half(y + c, reduce<__m128i>(v, c, load_half, max));
}

inline void one(const View& v, size_t c, Act* y) {
  const auto load = [](const Act* x) { return *x; };
  y[c] = reduce<Act>(v, c, load, [](Act a, Act b) { return a > b ? a : b; });
}

inline void pixel(const View& v, size_t channels, Act* y) {
  walk_row(
      channels, true, [&](size_t c) { sixteen(v, c, y); }, [&](size_t c) { eight(v, c, y); },
      [&](size_t c) { one(v, c, y); });
}

void run(const Args& args) {
  const Window& win = args.window;
  Act* y = args.y;
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const int y0 = row * win.stride_h - win.top;
    const Taps ky = taps_inside(y0, win.kernel_h, win.dilation_h, win.h);
    for (int col = 0; col < args.out_w; ++col, y += args.y_pixel_stride) {
      const int x0 = col * win.stride_w - win.left;
      const Taps kx = taps_inside(x0, win.kernel_w, win.dilation_w, win.w);
      const ptrdiff_t first = static_cast<ptrdiff_t>(y0 + ky.first * win.dilation_h) * win.w + x0 +
                              kx.first * win.dilation_w;
      const View view = {args.x + first * args.x_pixel_stride,
                         static_cast<ptrdiff_t>(win.dilation_h) * win.w * args.x_pixel_stride,
                         win.dilation_w * args.x_pixel_stride, ky.last - ky.first,
                         kx.last - kx.first};
      pixel(view, args.channels, y);
    }
  }
}

constexpr Kernel kKernels[] = {{"maxpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::maxpool
