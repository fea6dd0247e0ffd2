// Packing: weights transformed to 2G g (2G)^T, in the order that kernels read them (winograd.h).
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "kernels/winograd/winograd.h"

namespace lightkern::winograd {
namespace {

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// 2G applied to three values, its last row negated (winograd.h).
void transform3(const int* g, ptrdiff_t stride, int* out, ptrdiff_t out_stride) {
  const int a = g[0], b = g[stride], c = g[2 * stride];
  out[0] = 2 * a;
  out[out_stride] = a + b + c;
  out[2 * out_stride] = a - b + c;
  out[3 * out_stride] = -2 * c;
}

// The 3x3 weights of output channel oc and input channel c to u [4][4].
void transform_weights(const Geometry& g, const Weights& w, size_t oc, size_t c, int* u) {
  const size_t icg = static_cast<size_t>(g.icg);
  int taps[9], rows[12];
  for (size_t i = 0; i < 9; ++i) taps[i] = w.weight[(oc * 9 + i) * icg + c];
  for (int x = 0; x < 3; ++x) transform3(taps + x, 3, rows + x, 3);
  for (int y = 0; y < 4; ++y) transform3(rows + 3 * y, 1, u + 4 * y, 1);
}

int64_t bias_of(const Geometry& g, const Weights& w, size_t oc) {
  const size_t depth = 9 * static_cast<size_t>(g.icg);
  int64_t sum = 0;
  for (size_t i = 0; i < depth; ++i) sum += w.weight[oc * depth + i];
  return w.bias[oc] - int64_t{w.x_zero} * sum;
}

// The greatest magnitude that an accumulator can have.
int64_t most_of(const Geometry& g, const Weights& w, size_t oc) {
  const size_t depth = 9 * static_cast<size_t>(g.icg);
  int64_t sum = 0;
  for (size_t i = 0; i < depth; ++i) sum += std::abs(int{w.weight[oc * depth + i]});
  return 255 * sum + std::abs(int64_t{w.bias[oc]});
}

}  // namespace

Layout make_layout(const Tile& tile, const Geometry& g) {
  constexpr size_t kTransformedBytes = 16 << 10;  // half of a usual L1 cache
  constexpr int kMostTiles = 32;
  Layout l{};
  l.groups_per_block = std::max(tile.inputs / g.icg, 1);
  l.blocks = (g.groups + l.groups_per_block - 1) / l.groups_per_block;
  l.channels = static_cast<int>(
      round_up(static_cast<size_t>(l.groups_per_block * g.icg), static_cast<size_t>(tile.inputs)));
  l.pairs = (g.oh + 1) / 2;
  l.tile_stride = tile_stride_of(l.channels, g.icg / 2);
  const size_t tile_bytes = static_cast<size_t>(l.tile_stride) * 2;
  l.chunk =
      std::clamp(static_cast<int>(kTransformedBytes / tile_bytes) / kTilesAtOnce * kTilesAtOnce,
                 kTilesAtOnce, kMostTiles);
  const size_t outputs = static_cast<size_t>(tile.outputs);
  l.panel_bytes = round_up(static_cast<size_t>(kPositions * g.icg) * 2 * outputs + 8 * outputs, 64);
  l.transformed_bytes = round_up(static_cast<size_t>(l.chunk) * tile_bytes, 64);
  l.sums_bytes = static_cast<size_t>(4 * l.chunk) * outputs * 4;
  return l;
}

const char* refuses(const Tile& tile, const Geometry& g, const Weights& w) {
  if (g.icg % tile.outputs || g.ocg % tile.outputs) return "channels per group fill no register";
  for (size_t oc = 0; oc < static_cast<size_t>(g.groups * g.ocg); ++oc) {
    if (most_of(g, w, oc) >= int64_t{1} << 29) return "four times an accumulator could overflow";
    if (w.multiplier[oc] * 0.25f * 4.0f != w.multiplier[oc]) {
      return "a quarter of a multiplier is not exact";
    }
  }
  return nullptr;
}

bool is_bounded(const Geometry& g, const Weights& w) {
  for (size_t oc = 0; oc < static_cast<size_t>(g.groups * g.ocg); ++oc) {
    const double most = static_cast<double>(most_of(g, w, oc));
    if (most * static_cast<double>(w.multiplier[oc]) >= 2147483000.0) return false;
  }
  return true;
}

size_t packed_bytes(const Tile& tile, const Geometry& g) {
  return static_cast<size_t>(g.groups * (g.ocg / tile.outputs)) * make_layout(tile, g).panel_bytes;
}

size_t scratch_bytes(const Tile& tile, const Geometry& g) {
  const Layout l = make_layout(tile, g);
  return l.transformed_bytes + l.sums_bytes;
}

void pack(const Tile& tile, const Geometry& g, const Weights& w, std::byte* packed) {
  const Layout l = make_layout(tile, g);
  const size_t outputs = static_cast<size_t>(tile.outputs), icg = static_cast<size_t>(g.icg);
  const size_t zip = tile.outputs == 1 ? 1 : 2;
  std::memset(packed, 0, packed_bytes(tile, g));
  for (size_t oc = 0; oc < static_cast<size_t>(g.groups * g.ocg); ++oc) {
    std::byte* panel = packed + oc / outputs * l.panel_bytes;
    const size_t o = oc % outputs;
    int16_t* to = reinterpret_cast<int16_t*>(panel);
    for (size_t c = 0; c < icg; ++c) {
      int u[kPositions];
      transform_weights(g, w, oc, c, u);
      for (size_t p = 0; p < kPositions; ++p) {
        to[((p * icg + c) / zip * outputs + o) * zip + c % zip] = static_cast<int16_t>(u[p]);
      }
    }
    std::byte* scales = panel + kPositions * icg * 2 * outputs;
    const uint32_t bias = static_cast<uint32_t>(4 * bias_of(g, w, oc));  // may wrap, results fit
    const float multiplier = w.multiplier[oc] * 0.25f;
    std::memcpy(scales + 4 * o, &bias, 4);
    std::memcpy(scales + 4 * (outputs + o), &multiplier, 4);
  }
}

}  // namespace lightkern::winograd
