// The plain form, and the meaning of every other one: acc = bias + sum of w * (x - x_zero), padding
// adds nothing.
#include "kernels/dwconv/dwconv.h"

namespace lightkern::dwconv {
namespace {

// What one channel needs, [c] of them.
struct Channel {
  int32_t bias;
  float multiplier;
};

// Packed: Channel [c], then weights [kh][kw][c] beside each other as pixels hold them.
const int8_t* weights_of(const Geometry& g, const void* packed) {
  return reinterpret_cast<const int8_t*>(static_cast<const Channel*>(packed) + g.c);
}

const char* refuses(const Geometry&, const Weights&) { return nullptr; }

size_t scratch_bytes(const Geometry&) { return 0; }

size_t packed_bytes(const Geometry& g) {
  const size_t bytes = static_cast<size_t>(g.c) *
                       (sizeof(Channel) + static_cast<size_t>(g.kh) * static_cast<size_t>(g.kw));
  return (bytes + alignof(Channel) - 1) / alignof(Channel) *
         alignof(Channel);  // ends a guarded buffer
}

void pack(const Geometry& g, const Weights& from, void* packed) {
  Channel* channels = static_cast<Channel*>(packed);
  int8_t* weights = reinterpret_cast<int8_t*>(channels + g.c);
  for (int c = 0; c < g.c; ++c) {
    channels[c] = {from.bias[c], from.multiplier[c]};
    for (int tap = 0; tap < g.kh * g.kw; ++tap)
      weights[tap * g.c + c] = from.weight[c * g.kh * g.kw + tap];
  }
}

int32_t accumulate(const Args& a, const int8_t* weights, int oy, int ox, int c) {
  const Geometry& g = a.geometry;
  int32_t acc = 0;
  for (int i = 0; i < g.kh; ++i) {
    const int iy = oy * g.sh - g.top + i * g.dh;
    if (iy < 0 || iy >= g.h) continue;
    for (int j = 0; j < g.kw; ++j) {
      const int ix = ox * g.sw - g.left + j * g.dw;
      if (ix < 0 || ix >= g.w) continue;
      const ptrdiff_t pixel = static_cast<ptrdiff_t>(iy) * g.w + ix;
      acc += weights[(i * g.kw + j) * g.c + c] * (a.x[pixel * g.x_pixel_stride + c] - a.x_zero);
    }
  }
  return acc;
}

void run(const Args& a) {
  const Geometry& g = a.geometry;
  const Channel* channels = static_cast<const Channel*>(a.packed);
  const int8_t* weights = weights_of(g, a.packed);
  for (int oy = a.y_begin; oy < a.y_end; ++oy) {
    for (int ox = 0; ox < g.ow; ++ox) {
      const ptrdiff_t pixel = static_cast<ptrdiff_t>(oy) * g.ow + ox;
      Act* y = a.y + pixel * g.y_pixel_stride;
      const Act* residual = a.residual ? a.residual + pixel * a.epilogue->residual_stride : nullptr;
      for (int c = a.c_begin; c < a.c_end; ++c) {
        const int32_t acc = channels[c].bias + accumulate(a, weights, oy, ox, c);
        const Act value = requantize(acc, channels[c].multiplier, a.epilogue->clamp);
        y[c] = apply_tail(value, residual ? residual + c : nullptr, *a.epilogue);
      }
    }
  }
}

constexpr Kernel kKernels[] = {
    {"dwconv_s8_1x1_scalar", 1, 1, refuses, scratch_bytes, packed_bytes, pack, run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::dwconv
