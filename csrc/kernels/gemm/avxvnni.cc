// gemm on AVX-VNNI: one vpdpbusd per step, row and 8 channels, exact for all weights, since its
// four products are summed in 32 bits.
//
// Ceiling: two vpdpbusd of 32 MAC per cycle. A step of 6x16 issues 12 of them and 8 loads in 6
// cycles; 12 accumulators cover the latency of 5 cycles.
#include "kernels/gemm/dot.inc"

namespace lightkern::gemm {
namespace {

struct Ymm {
  using Vector = __m256i;
  static constexpr int kLanes = 8, kTile = 6, kNarrowTile = 12;
  static Vector load(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
  static void store(void* p, Vector v) { _mm256_store_si256(static_cast<__m256i*>(p), v); }
  static Vector broadcast(int32_t v) { return _mm256_set1_epi32(v); }
  static Vector dot(Vector acc, Vector x, Vector w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
};

constexpr Kernel kKernels[] = {
    {"gemm_s8_6x16c4_avxvnni", {6, 16, 4, 8}, WeightFormat::kDense, PairRule::kAny, run<Dot<Ymm>>},
};

}  // namespace

extern const Table avxvnni;
constexpr Table avxvnni = make_table(kKernels);

}  // namespace lightkern::gemm
