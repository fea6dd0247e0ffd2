// Pair: smull + sadalp on 8 channels, two per lane; products of int8 with weights within [-127,
// 127] fit int16, and sadalp sums pairs in 32 bits: exact for all weights.
#include "kernels/gconv/neon.inc"

#include "kernels/gconv/gconv.h"

namespace lightkern::gconv {
namespace {

struct Pair : Shared {
  static void widen_pairs(const Act* x, const Act* next, std::byte* row) {
    for (int e = 0; e < 4; ++e) {
      row[2 * e] = static_cast<std::byte>(x[e]);
      row[2 * e + 1] = static_cast<std::byte>(next[e]);
    }
  }
  static constexpr Tile kTile = {8, 1, 2, false};
  using Vec = int8x8_t;
  static Vec load(const std::byte* p) { return vld1_s8(reinterpret_cast<const int8_t*>(p)); }
  static void widen(const Act* x, std::byte* row) {
    vst1_s8(reinterpret_cast<int8_t*>(row), vld1_s8(x));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) { return vpadalq_s16(acc, vmull_s8(x, w)); }
};

#include "kernels/gconv/planar.inc"

constexpr Kernel kKernels[] = {{"gconv_s8_2x8c2_neon", Pair::kTile, run<Pair>}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::gconv
