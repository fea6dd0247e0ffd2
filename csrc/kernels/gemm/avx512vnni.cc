// gemm on AVX-512 VNNI: one vpdpbusd per step, row and 16 channels, exact for all weights, since
// its four products are summed in 32 bits.
//
// Ceiling: one or two vpdpbusd of 64 MAC per cycle. A step of 12x32 issues 24 of them and 14 loads;
// 24 accumulators, 2 registers of weights and a row leave 5 of 32 registers free.
#include "kernels/gemm/dot.inc"

namespace lightkern::gemm {
namespace {

struct Zmm {
  using Vector = __m512i;
  static constexpr int kLanes = 16, kTile = 12, kNarrowTile = 12;
  static Vector load(const void* p) { return _mm512_load_si512(p); }
  static void store(void* p, Vector v) { _mm512_store_si512(p, v); }
  static Vector broadcast(int32_t v) { return _mm512_set1_epi32(v); }
  static Vector dot(Vector acc, Vector x, Vector w) { return _mm512_dpbusd_epi32(acc, x, w); }
};

constexpr Kernel kKernels[] = {
    {"gemm_s8_12x32c4_avx512vnni",
     {12, 32, 4, 16},
     WeightFormat::kDense,
     PairRule::kAny,
     run<Dot<Zmm>, 32>},
};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gemm
