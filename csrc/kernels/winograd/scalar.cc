#include "kernels/winograd/winograd.h"

namespace lightkern::winograd {
namespace {

constexpr Tile kTile = {1, 1};

void transform4(const int* d, ptrdiff_t stride, int* out) {
  out[0] = d[0] - d[2 * stride];
  out[1] = d[stride] + d[2 * stride];
  out[2] = d[2 * stride] - d[stride];
  out[3] = d[stride] - d[3 * stride];
}

// The inputs of the tile at output (oy, ox) of channels [channel, channel + icg), to v [16][icg].
void transform_inputs(const Args& a, int oy, int ox, int channel, int16_t* v) {
  const Geometry& g = a.geometry;
  for (int c = 0; c < g.icg; ++c) {
    int columns[16];  // [x][y]
    for (int x = 0; x < 4; ++x) {
      int d[4];
      for (int y = 0; y < 4; ++y) {
        const int iy = oy - g.top + y, ix = ox - g.left + x;
        const bool inside = iy >= 0 && iy < g.h && ix >= 0 && ix < g.w;
        const ptrdiff_t pixel = static_cast<ptrdiff_t>(iy) * g.w + ix;
        d[y] = inside ? a.x[pixel * g.x_pixel_stride + channel + c] : a.x_zero;
      }
      transform4(d, 1, columns + 4 * x);
    }
    for (int y = 0; y < 4; ++y) {
      int row[4];
      transform4(columns + y, 4, row);
      for (int x = 0; x < 4; ++x) v[(4 * y + x) * g.icg + c] = static_cast<int16_t>(row[x]);
    }
  }
}

// Four times the sums of one output channel in a tile [2][2].
void multiply(const int16_t* v, const int16_t* u, uint32_t bias, int icg, uint32_t* y) {
  for (int i = 0; i < 4; ++i) y[i] = bias;
  for (int p = 0; p < kPositions; ++p) {
    uint32_t sum = 0;  // may wrap
    for (int c = 0; c < icg; ++c) sum += static_cast<uint32_t>(*v++ * *u++);
    for (int i = 0; i < 4; ++i) {
      // A^T: [1 1 1 0; 0 1 -1 1]
      const auto part = [](int output, int position) {
        return output == 0 ? position < 3 : position == 2 ? -1 : position > 0;
      };
      y[i] += static_cast<uint32_t>(part(i / 2, p / 4) * part(i % 2, p % 4)) * sum;
    }
  }
}

void run(const Args& a) {
  const Geometry& g = a.geometry;
  int16_t* v = reinterpret_cast<int16_t*>(a.scratch);
  const size_t weights_bytes = static_cast<size_t>(kPositions * g.icg) * 2;
  for (int group = a.block_begin; group < a.block_end; ++group) {
    for (int oy = 2 * a.pair_begin; oy < 2 * a.pair_end; oy += 2) {
      for (int ox = 0; ox < g.ow; ox += 2) {
        transform_inputs(a, oy, ox, group * g.icg, v);
        for (int oc = group * g.ocg; oc < (group + 1) * g.ocg; ++oc) {
          const std::byte* panel = a.packed + static_cast<size_t>(oc) * a.layout.panel_bytes;
          const std::byte* scales = panel + weights_bytes;
          uint32_t y[4];
          multiply(v, reinterpret_cast<const int16_t*>(panel),
                   *reinterpret_cast<const uint32_t*>(scales), g.icg, y);
          for (int i = 0; i < 4; ++i) {
            if (oy + i / 2 >= g.oh || ox + i % 2 >= g.ow) continue;
            const ptrdiff_t pixel = static_cast<ptrdiff_t>(oy + i / 2) * g.ow + ox + i % 2;
            const Act* residual =
                a.residual ? a.residual + pixel * a.epilogue->residual_stride + oc : nullptr;
            const Act value =
                requantize(static_cast<int32_t>(y[i]), *reinterpret_cast<const float*>(scales + 4),
                           a.epilogue->clamp);
            a.y[pixel * g.y_pixel_stride + oc] = apply_tail(value, residual, *a.epilogue);
          }
        }
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"winograd_s8_2x2k3_1_scalar", kTile, run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::winograd
