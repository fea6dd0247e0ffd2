#include <cmath>
#include <cstdlib>
#include <cstring>

#include "kernels/dwconv/dwconv.h"

namespace lightkern::dwconv {
namespace {

// The weight of a tap, or zero outside of the window and past the last channel.
int16_t weight_at(const Geometry& g, const Weights& from, int c, int i, int j) {
  if (c >= g.c || i < 0 || i >= g.kh || j >= g.kw) return 0;
  return from.weight[(c * g.kh + i) * g.kw + j];
}

int32_t effective_bias(const Geometry& g, const Weights& from, int c) {
  int32_t sum = 0;
  for (int tap = 0; tap < g.kh * g.kw; ++tap) sum += from.weight[c * g.kh * g.kw + tap];
  // Wraps at worst; the accumulator, which is in range when all is added, wraps back.
  return static_cast<int32_t>(static_cast<uint32_t>(from.bias[c]) -
                              static_cast<uint32_t>(from.x_zero) * static_cast<uint32_t>(sum));
}

// Packed bytes, from the first one on.
class Writer {
 public:
  explicit Writer(void* packed) : to_(static_cast<std::byte*>(packed)) {}

  template <class T>
  void put(T value) {
    std::memcpy(to_, &value, sizeof(value));
    to_ += sizeof(value);
  }

  // What a block of channels begins with: their biases, then their multipliers.
  void put_scales(const Geometry& g, const Weights& from, int first, int block) {
    for (int c = first; c < first + block; ++c) put(c < g.c ? effective_bias(g, from, c) : 0);
    for (int c = first; c < first + block; ++c) put(c < g.c ? from.multiplier[c] : 0.0f);
  }

 private:
  std::byte* to_;
};

}  // namespace

bool results_below(const Geometry& g, const Weights& from, double limit) {
  const int taps = g.kh * g.kw;
  for (int c = 0; c < g.c; ++c) {
    double most = std::abs(static_cast<double>(from.bias[c]));
    for (int tap = 0; tap < taps; ++tap) most += 255 * std::abs(from.weight[c * taps + tap]);
    if (most * from.multiplier[c] > limit) return false;
  }
  return true;
}

size_t row_pair_block_bytes(const Geometry& g, int block, int sets) {
  const int pairs = row_pairs(g.kh, sets);
  return static_cast<size_t>(block) *
         (sizeof(int32_t) + sizeof(float) +
          static_cast<size_t>(g.kw * pairs * sets) * 2 * sizeof(int16_t));
}

size_t row_pair_bytes(const Geometry& g, int block, int sets) {
  return static_cast<size_t>((g.c + block - 1) / block) * row_pair_block_bytes(g, block, sets);
}

void pack_row_pairs(const Geometry& g, const Weights& from, int block, int sets, void* packed) {
  Writer to(packed);
  const int pairs = row_pairs(g.kh, sets);
  for (int first = 0; first < g.c; first += block) {
    to.put_scales(g, from, first, block);
    for (int j = 0; j < g.kw; ++j) {
      for (int pair = 0; pair < pairs; ++pair) {
        for (int set = 0; set < sets; ++set) {
          for (int c = first; c < first + block; ++c) {
            to.put(weight_at(g, from, c, 2 * pair - set, j));
            to.put(weight_at(g, from, c, 2 * pair - set + 1, j));
          }
        }
      }
    }
  }
}

void pack_column_pairs(const Geometry& g, const Weights& from, int block, void* packed) {
  Writer to(packed);
  for (int first = 0; first < g.c; first += block) {
    to.put_scales(g, from, first, block);
    for (int i = 0; i < g.kh; ++i) {
      for (int j = 0; j < g.kw; j += 2) {
        for (int c = first; c < first + block; ++c) {
          to.put(weight_at(g, from, c, i, j));
          to.put(weight_at(g, from, c, i, j + 1));
        }
      }
    }
  }
}

size_t tap_block_bytes(const Geometry& g, int block) {
  return static_cast<size_t>(block) *
         (sizeof(int32_t) + sizeof(float) + static_cast<size_t>(g.kh * g.kw));
}

size_t tap_bytes(const Geometry& g, int block) {
  return static_cast<size_t>((g.c + block - 1) / block) * tap_block_bytes(g, block);
}

void pack_taps(const Geometry& g, const Weights& from, int block, void* packed) {
  Writer to(packed);
  for (int first = 0; first < g.c; first += block) {
    to.put_scales(g, from, first, block);
    for (int i = 0; i < g.kh; ++i) {
      for (int j = 0; j < g.kw; ++j) {
        for (int c = first; c < first + block; ++c) {
          to.put(static_cast<int8_t>(weight_at(g, from, c, i, j)));
        }
      }
    }
  }
}

size_t row_quad_block_bytes(const Geometry& g, int block, int sets) {
  return static_cast<size_t>(block) *
         (sizeof(int32_t) + sizeof(float) +
          static_cast<size_t>(g.kw * row_quads(g.kh, sets) * sets * 4));
}

size_t row_quad_bytes(const Geometry& g, int block, int sets) {
  return static_cast<size_t>((g.c + block - 1) / block) * row_quad_block_bytes(g, block, sets);
}

void pack_row_quads(const Geometry& g, const Weights& from, int block, int lanes, int sets,
                    void* packed) {
  Writer to(packed);
  const auto put_quad = [&](int c, int row, int j) {
    for (int i = row; i < row + 4; ++i) to.put(static_cast<int8_t>(weight_at(g, from, c, i, j)));
  };
  const int quads = row_quads(g.kh, sets);
  for (int first = 0; first < g.c; first += block) {
    to.put_scales(g, from, first, block);
    for (int lane = first; lane < first + block; lane += lanes) {
      for (int q = 0; q < quads; ++q) {
        for (int j = 0; j < g.kw; ++j) {
          for (int set = 0; set < sets; ++set) {
            for (int c = lane; c < lane + lanes; ++c) put_quad(c, 4 * q - set, j);
          }
        }
      }
    }
  }
}

namespace {

// Four weights of a dot product.
struct Quad {
  int8_t w[4];
};

Quad quad_at(const Geometry& g, const Weights& from, int c, int dot) {
  const auto tap = [&](int i, int j) { return static_cast<int8_t>(weight_at(g, from, c, i, j)); };
  if (dot < g.kw) return {{tap(0, dot), tap(1, dot), tap(2, dot), tap(3, dot)}};
  const auto w = [&](int j) { return tap(g.kh - 1, j); };
  Quad quad{};
  if (g.sw == 1 && dot == g.kw) quad = {{0, 0, 0, w(4)}};
  if (g.sw == 1 && dot != g.kw) quad = {{w(0), w(1), w(2), w(3)}};
  if (g.sw == 2 && dot == g.kw) quad = {{w(1), w(2), w(3), w(4)}};
  if (g.sw == 2 && dot != g.kw) quad = {{0, w(0), 0, 0}};
  return quad;
}

}  // namespace

size_t quad_bytes(const Geometry& g, int most, bool tails) {
  int channels = 0, end = 0;
  for (int tile; end < g.c; end += tile) {
    tile = quad_tile(g.c - end, most, tails);
    channels += tile == 16 ? 32 : tile;
  }
  return quad_bytes_before(g.kw, channels);
}

void pack_quads(const Geometry& g, const Weights& from, int most, bool tails, void* packed) {
  Writer to(packed);
  int tile;
  for (int first = 0; first < g.c; first += tile) {
    tile = quad_tile(g.c - first, most, tails);
    for (int part = 0; part < 4; ++part) {
      const auto each = [&](auto put_channel) {
        for (int i = 0; i < (tile == 16 ? 8 : tile / 4); ++i)
          put_channel(first + i / 4 * 16 % tile + part * 4 + i % 4);
      };
      each([&](int c) { to.put(c < g.c ? effective_bias(g, from, c) : 0); });
      each([&](int c) { to.put(c < g.c ? from.multiplier[c] : 0.0f); });
      for (int dot = 0; dot < quad_dots(g.kw); ++dot) {
        each([&](int c) { to.put(quad_at(g, from, c, dot)); });
      }
    }
  }
}

}  // namespace lightkern::dwconv
