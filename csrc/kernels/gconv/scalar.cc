#include "kernels/gconv/gconv.h"

namespace lightkern::gconv {
namespace {

// One output value: the filter's taps, padding being the zero point.
int32_t accumulate(const Args& a, const int8_t* w, int32_t acc, int oy, int ox, int channel) {
  const Geometry& g = a.geometry;
  for (int ky = 0; ky < g.kh; ++ky) {
    for (int kx = 0; kx < g.kw; ++kx, w += g.icg) {
      const int iy = oy * g.sh - g.top + ky * g.dh, ix = ox * g.sw - g.left + kx * g.dw;
      const bool inside = iy >= 0 && iy < g.h && ix >= 0 && ix < g.w;
      const Act* x = a.x + (static_cast<ptrdiff_t>(iy) * g.w + ix) * g.x_pixel_stride + channel;
      for (int c = 0; c < g.icg; ++c) acc += w[c] * (inside ? x[c] : a.x_zero);
    }
  }
  return acc;
}

void run(const Args& a) {
  const Geometry& g = a.geometry;
  const Chunk chunk = make_chunk(kScalarTile, g, a.layout, 1);
  for (int group = a.block_begin; group < a.block_end; ++group) {
    for (int o = 0; o < g.ocg; ++o) {
      const int oc = group * g.ocg + o;
      const std::byte* packed = a.packed + static_cast<size_t>(oc) * chunk.bytes;
      const int32_t bias = *reinterpret_cast<const int32_t*>(packed);
      const float multiplier = *reinterpret_cast<const float*>(packed + chunk.multiplier);
      const int8_t* weights = reinterpret_cast<const int8_t*>(packed + chunk.weights);
      for (int oy = a.y_begin; oy < a.y_end; ++oy) {
        for (int ox = 0; ox < g.ow; ++ox) {
          const ptrdiff_t pixel = static_cast<ptrdiff_t>(oy) * g.ow + ox;
          const Act* residual =
              a.residual ? a.residual + pixel * a.epilogue->residual_stride + oc : nullptr;
          const int32_t acc = accumulate(a, weights, bias, oy, ox, group * g.icg);
          a.y[pixel * g.y_pixel_stride + oc] =
              apply_tail(requantize(acc, multiplier, a.epilogue->clamp), residual, *a.epilogue);
        }
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"gconv_s8_1_scalar", kScalarTile, run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::gconv
