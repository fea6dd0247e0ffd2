// Quad: sdot on 16 channels, four per lane, exact.
#include "kernels/gconv/gconv.h"
#include "kernels/gconv/neon.inc"

namespace lightkern::gconv {
namespace {

// Never holds pairs of columns: its lanes are four wide (pack.cc refuses).
struct Quad : Shared {
  static void widen_pairs(const Act*, const Act*, std::byte*) {}
  static constexpr Tile kTile = {16, 1, 4, false};
  using Vec = int8x16_t;
  static Vec load(const std::byte* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
  static void widen(const Act* x, std::byte* row) {
    vst1q_s8(reinterpret_cast<int8_t*>(row), vld1q_s8(x));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) { return vdotq_s32(acc, x, w); }
};

#include "kernels/gconv/planar.inc"

constexpr Kernel kKernels[] = {{"gconv_s8_2x16c4_neondot", Quad::kTile, run<Quad>}};

}  // namespace

extern const Table neondot;
constexpr Table neondot = make_table(kKernels);

}  // namespace lightkern::gconv
