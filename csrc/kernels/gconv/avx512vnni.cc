// Quad: vpdpbusd on 32 channels, four per lane, exact for all weights; at most 64 MAC per cycle.
// 256 bits wide: 64 channels in a block would leave most layers with a part of one.
#include "kernels/gconv/gconv.h"
#include "kernels/gconv/ymm.inc"

namespace lightkern::gconv {
namespace {

// Never holds pairs of columns: its lanes are four wide (pack.cc refuses).
struct Quad : Shared {
  static void widen_pairs(const Act*, const Act*, std::byte*) {}
  static constexpr Tile kTile = {32, 1, 4, false};
  static void widen(const Act* x, std::byte* row) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), load256(x));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) { return _mm256_dpbusd_epi32(acc, x, w); }
};

#include "kernels/gconv/planar.inc"

constexpr Kernel kKernels[] = {{"gconv_s8_2x32c4_avx512vnni", Quad::kTile, run<Quad>}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gconv
