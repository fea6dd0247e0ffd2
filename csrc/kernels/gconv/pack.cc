// Packing: the chunks of gconv.h, block after block. Element e of a register belongs to input
// channel e of the block, that is to group e / icg. With one input channel per group, elements 2g
// and 2g + 1 are columns kx = 2 * step and kx + 1 of group g. What does not exist (groups beyond
// the last, an odd column) is zero. A square tile adds up no lanes of a register, but turned
// registers (gconv.h): see output_of.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/gconv/gconv.h"

namespace lightkern::gconv {
namespace {

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

bool is_scalar(const Tile& tile) { return tile.elements == 1; }

// Weight of element e for output index o at (ky, step), or 0 where there is none.
int8_t weight_at(const Layout& l, const Geometry& g, const Weights& w, int block, int o, int ky,
                 int step, int e) {
  const bool pairs = l.columns == 2;
  const int group = block * l.groups_per_block + (pairs ? e / 2 : e / g.icg);
  const int kx = pairs ? 2 * step + e % 2 : step;
  const int ic = pairs ? 0 : e % g.icg;
  if (group >= g.groups || kx >= g.kw) return 0;
  const size_t oc = static_cast<size_t>(group * g.ocg + o);
  return w.weight[((oc * static_cast<size_t>(g.kh) + static_cast<size_t>(ky)) *
                       static_cast<size_t>(g.kw) +
                   static_cast<size_t>(kx)) *
                      static_cast<size_t>(g.icg) +
                  static_cast<size_t>(ic)];
}

int lanes_per_group(const Tile& tile, const Layout& l) {
  return is_scalar(tile) ? 1 : tile.elements / tile.lane / l.groups_per_block;
}

// The output index that accumulator o sums up in lane `lane` of a group. In a square tile, as many
// neighbouring accumulators as a group has lanes share as many outputs; lane j of accumulator s is
// for output (j + s) % lanes, so that turning it by s lanes brings all parts of an output together.
int output_of(const Tile& tile, const Layout& l, int o, int lane) {
  if (!tile.square) return o;
  const int lanes = lanes_per_group(tile, l);
  return o / lanes * lanes + (lane + o) % lanes;
}

// Where the results of a chunk's output index c lie, lanes of the registers that a square tile ends
// up with: outputs of a group side by side, as many as it has lanes.
int place_result(const Tile& tile, const Layout& l, int group, int c) {
  const int lanes = lanes_per_group(tile, l);
  return c / lanes * (tile.elements / tile.lane) + group * lanes + c % lanes;
}

// Bias and multipliers of output indices [o, o + chunk.size) of a block's groups.
void pack_scales(const Tile& tile, const Layout& l, const Geometry& g, const Weights& w,
                 const Chunk& chunk, int block, int o, std::byte* packed) {
  const int lanes = is_scalar(tile) ? 1 : tile.elements / tile.lane;
  const int per_group = lanes_per_group(tile, l);
  const size_t filter = static_cast<size_t>(g.kh * g.kw * g.icg);
  for (int i = 0; i < l.groups_per_block && block * l.groups_per_block + i < g.groups; ++i) {
    for (int c = 0; c < chunk.size; ++c) {
      const size_t oc = static_cast<size_t>((block * l.groups_per_block + i) * g.ocg + o + c);
      int32_t sum = 0;
      for (size_t k = 0; k < filter; ++k) sum += w.weight[oc * filter + k];
      // Unsigned: intermediate values may wrap, the final accumulator fits.
      const uint32_t bias = static_cast<uint32_t>(w.bias[oc]) -
                            static_cast<uint32_t>(w.x_zero) * static_cast<uint32_t>(sum);
      // Of the accumulators that share an output, the one that is not turned has its bias.
      const int bias_at = tile.square
                              ? c / per_group * per_group * lanes + i * per_group + c % per_group
                              : c * lanes + i * per_group;
      const int multiplier_at = tile.square ? place_result(tile, l, i, c) : i * chunk.size + c;
      std::memcpy(packed + bias_at * 4, &bias, 4);
      std::memcpy(packed + chunk.multiplier + multiplier_at * 4, &w.multiplier[oc], 4);
    }
  }
}

void pack_weights(const Tile& tile, const Layout& l, const Geometry& g, const Weights& w,
                  const Chunk& chunk, int block, int o, std::byte* out) {
  const int elements = is_scalar(tile) ? g.icg : tile.elements;
  for (int ky = 0; ky < g.kh; ++ky) {
    for (int step = 0; step < l.steps; ++step) {
      for (int c = 0; c < chunk.size; ++c) {
        for (int e = 0; e < elements; ++e, out += tile.bytes) {
          const int lane = is_scalar(tile) ? 0 : e / tile.lane % lanes_per_group(tile, l);
          const int8_t value =
              weight_at(l, g, w, block, output_of(tile, l, o + c, lane), ky, step, e);
          const int16_t wide = value;
          std::memcpy(out, tile.bytes == 1 ? static_cast<const void*>(&value) : &wide,
                      static_cast<size_t>(tile.bytes));
        }
      }
    }
  }
}

// Whether no product of accumulator and multiplier comes close to int32's limits, whatever the
// inputs.
bool is_bounded(const Geometry& g, const Weights& w) {
  const size_t filter = static_cast<size_t>(g.kh * g.kw * g.icg);
  for (size_t oc = 0; oc < static_cast<size_t>(g.groups * g.ocg); ++oc) {
    double most = std::abs(static_cast<double>(w.bias[oc]));
    for (size_t k = 0; k < filter; ++k) most += 255.0 * std::abs(w.weight[oc * filter + k]);
    if (most * static_cast<double>(w.multiplier[oc]) >= 1073741824.0) return false;
  }
  return true;
}

}  // namespace

Layout make_layout(const Tile& tile, const Geometry& g) {
  Layout l{};
  const int elements = is_scalar(tile) ? g.icg : tile.elements;
  l.columns = !is_scalar(tile) && g.icg == 1 ? 2 : 1;
  l.groups_per_block = elements / (g.icg * l.columns);
  l.blocks = (g.groups + l.groups_per_block - 1) / std::max(l.groups_per_block, 1);
  l.steps = (g.kw + l.columns - 1) / l.columns;
  l.padded_width = (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1 + (l.columns - 1) * g.dw;
  l.ring = (g.kh - 1) * g.dh + 1;
  l.row_bytes = static_cast<size_t>(l.padded_width) * static_cast<size_t>(elements * tile.bytes);
  for (int left = g.ocg; left > 0;) {
    const Chunk chunk = make_chunk(tile, g, l, left);
    l.block_bytes += chunk.bytes;
    left -= chunk.size;
  }
  return l;
}

const char* refuses(const Tile& tile, const Geometry& g, const Weights& w) {
  if (is_scalar(tile)) return nullptr;
  if (tile.square) {
    const bool fits = g.icg == g.ocg && (g.icg == 4 || g.icg == 8 || g.icg == 16);
    if (!fits) return "a group must have 4, 8 or 16 channels, and as many outputs";
    return is_bounded(g, w) ? nullptr : "a result could exceed 30 bits before its limits";
  }
  if (g.icg == 1) {
    if (tile.lane != 2) return "one input channel per group needs lanes of two columns";
    return nullptr;
  }
  if (g.icg % tile.lane != 0) return "a group does not fill whole lanes";
  const int lanes = g.icg / tile.lane;
  if (lanes != 1 && lanes != 2 && lanes != 4) return "a group must fill 1, 2 or 4 lanes";
  if (g.icg > tile.elements) return "a group does not fit into one register";
  if (tile.safe_pairs) {
    const size_t weights =
        static_cast<size_t>(g.groups * g.ocg) * static_cast<size_t>(g.kh * g.kw * g.icg);
    for (size_t i = 0; i + 1 < weights; i += 2) {
      const int a = w.weight[i], b = w.weight[i + 1];
      if (std::max(a, 0) + std::max(b, 0) > 128 || std::min(a, 0) + std::min(b, 0) < -128) {
        return "a pair of weights could saturate in 16 bits";
      }
    }
  }
  return nullptr;
}

size_t packed_bytes(const Tile& tile, const Geometry& g) {
  const Layout l = make_layout(tile, g);
  return static_cast<size_t>(l.blocks) * l.block_bytes;
}

size_t scratch_bytes(const Tile& tile, const Geometry& g) {
  const Layout l = make_layout(tile, g);
  return round_up(static_cast<size_t>(l.ring) * l.row_bytes, 64) +
         static_cast<size_t>(g.kh) * sizeof(void*);
}

void pack(const Tile& tile, const Geometry& g, const Weights& w, std::byte* packed) {
  const Layout l = make_layout(tile, g);
  std::memset(packed, 0, packed_bytes(tile, g));
  for (int block = 0; block < l.blocks; ++block) {
    for (int o = 0; o < g.ocg;) {
      const Chunk chunk = make_chunk(tile, g, l, g.ocg - o);
      pack_scales(tile, l, g, w, chunk, block, o, packed);
      pack_weights(tile, l, g, w, chunk, block, o, packed + chunk.weights);
      packed += chunk.bytes;
      o += chunk.size;
    }
  }
}

}  // namespace lightkern::gconv
