// gemm on AVX-VNNI: one vpdpbusd per step, row and 8 channels.
//
// Ceiling: two vpdpbusd of 32 MAC per cycle. A step of 6x16 issues 12 of them and 8 loads in 6
// cycles; 12 accumulators cover the latency of 5 cycles.
#include "kernels/gemm/dot.inc"
#include "kernels/gemm/merge.inc"

namespace lightkern::gemm {
namespace {

struct Ymm {
  using Vector = __m256i;
  static constexpr int kLanes = 8, kTile = 6, kNarrowTile = 12;
  static constexpr bool kHalves = false;  // 128 bits take a multiplier as long as 256
  static constexpr bool kOverlap = false;
  static Vector load(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
  static Vector broadcast(int32_t v) { return _mm256_set1_epi32(v); }
  static Vector dot(Vector acc, Vector x, Vector w) {
    acc = _mm256_dpbusd_avx_epi32(acc, x, w);
    __asm__("" : "+x"(acc));  // avx512vnni.cc says why
    return acc;
  }

  using Limits = ByteClamp;
  static Limits load_limits(const Clamp& clamp, const Panel&, const TableVec*) {
    return load_byte_clamp(clamp);
  }

  // Four vectors of sums at once: two rows, or four rows of one vector each.
  template <bool whole, bool, int rows, int vectors>
  [[gnu::always_inline]] static inline void finish(const Vector (&acc)[rows][vectors],
                                                   const Panel& panel, const Limits& limits, Act* y,
                                                   ptrdiff_t y_stride) {
    const Vector in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    constexpr int kRows = 4 / vectors;
#pragma GCC unroll 8
    for (int first = 0; first < rows; first += kRows, y += kRows * y_stride) {
      Vector t[4];
      for (int i = 0; i < 4; ++i) {
        const int r = first + i / vectors < rows ? first + i / vectors : first;
        const __m256 m = _mm256_loadu_ps(panel.multiplier + i % vectors * kLanes);
        t[i] = whole || panel.bounded ? scale_round_proved(acc[r][i % vectors], m)
                                      : scale_round(acc[r][i % vectors], m, limits);
      }
      Vector bytes =
          whole
              ? _mm256_packus_epi16(_mm256_packs_epi32(t[0], t[1]), _mm256_packs_epi32(t[2], t[3]))
              : _mm256_min_epu8(pack_bytes(t[0], t[1], t[2], t[3], limits), limits.hi8);
      bytes = _mm256_permutevar8x32_epi32(bytes, in_order);
      const __m128i half[2] = {_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)};
      for (int r = 0; r < kRows && first + r < rows; ++r) {
        if (vectors == 2) {
          _mm_storeu_si128(reinterpret_cast<__m128i*>(y + r * y_stride), half[r % 2]);
        } else {
          const __m128i two = half[r / 2];
          _mm_storel_epi64(reinterpret_cast<__m128i*>(y + r * y_stride),
                           r % 2 ? _mm_srli_si128(two, 8) : two);
        }
      }
    }
  }

  static constexpr bool kAnyWidth = false, kTable = false;
  static bool is_dense(const Args&) { return false; }
  template <int pitch>
  static void pass_rows(const Panel& panel, const Epilogue& e, const TableVec& table, Act* bytes,
                        bool, size_t m, const Act* residual, Act* y, ptrdiff_t y_stride) {
    alignas(32) Act other[kBuffered * pitch];
    finish_rows<pitch>(panel, e, table, bytes, other, m, residual, y, y_stride);
  }
};

constexpr Kernel kKernels[] = {
    {"gemm_s8_6x16c4_avxvnni",
     {6, 16, 4, 8},
     WeightFormat::kDense,
     PairRule::kAny,
     run_dot<Ymm>,
     {},
     run_row<Ymm>,
     false,
     merge},
};

}  // namespace

extern const Table avxvnni;
constexpr Table avxvnni = make_table(kKernels);

}  // namespace lightkern::gemm
