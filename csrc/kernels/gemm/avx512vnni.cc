// gemm on AVX-512 VNNI: one vpdpbusd per step, row and 16 channels.
//
// Ceiling: 64 MAC per cycle on Zen 4 and on client cores of Intel, 128 on others. A step of 12x32
// issues 24 vpdpbusd and 14 loads; 24 accumulators, 2 registers of weights and a row leave 5 of 32
// registers free. To turn 4 registers of sums into bytes takes 20 operations more.
#include "kernels/gemm/dot.inc"

namespace lightkern::gemm {
namespace {

struct Zmm {
  using Vector = __m512i;
  static constexpr int kLanes = 16, kTile = 12, kNarrowTile = 12;
  static constexpr bool kHalves = true;
  static Vector load(const void* p) { return _mm512_loadu_si512(p); }
  static Vector load_half(const void* p) {
    return _mm512_castsi256_si512(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static Vector broadcast(int32_t v) { return _mm512_set1_epi32(v); }
  static Vector dot(Vector acc, Vector x, Vector w) { return _mm512_dpbusd_epi32(acc, x, w); }
  static Vector dot_half(Vector acc, Vector x, Vector w) {
    const auto half = [](Vector v) { return _mm512_castsi512_si256(v); };
    return _mm512_castsi256_si512(_mm256_dpbusd_epi32(half(acc), half(x), half(w)));
  }

  struct Limits {
    __m512 hi;
    __m512i zero_point16, lo8, hi8;
  };
  static Limits load_limits(const Clamp& clamp) {
    const ByteClamp c = load_byte_clamp(clamp);
    const auto twice = [](__m256i v) { return _mm512_broadcast_i64x4(v); };
    return {_mm512_set1_ps(clamp.hi), twice(c.zero_point16), twice(c.lo8), twice(c.hi8)};
  }

  // Four vectors of sums at once: two rows, or four rows of one vector each.
  template <bool whole, bool half, int rows, int vectors>
  [[gnu::always_inline]] static inline void finish(const Vector (&acc)[rows][vectors],
                                                   const float* multiplier, bool bounded,
                                                   const Limits& limits, Act* y,
                                                   ptrdiff_t y_stride) {
    // Within each 128 bits, packing leaves four bytes of each vector.
    const Vector in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    constexpr int kRows = 4 / vectors;
#pragma GCC unroll 8
    for (int first = 0; first < rows; first += kRows, y += kRows * y_stride) {
      __m512 t[4];
      for (int i = 0; i < 4; ++i) {
        const int r = first + i / vectors < rows ? first + i / vectors : first, v = i % vectors;
        const __m512 m = _mm512_castsi512_ps(load_part<Zmm, 2 * vectors - half>(multiplier, v));
        t[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][v]), m);
      }
      if (!whole && !bounded) {
        for (__m512& v : t) v = _mm512_min_ps(v, limits.hi);
      }
      const auto words = [&](__m512 a, __m512 b) {
        const Vector w = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
        return whole ? w : _mm512_adds_epi16(w, limits.zero_point16);
      };
      Vector bytes = _mm512_packus_epi16(words(t[0], t[1]), words(t[2], t[3]));
      if (!whole) bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, limits.lo8), limits.hi8);
      bytes = _mm512_permutexvar_epi32(in_order, bytes);
      for (int r = 0; r < kRows && first + r < rows; ++r)
        store_row<2 * vectors - half>(bytes, r, y + r * y_stride);
    }
  }

  // Row r of `bytes`: so many eights of channels.
  template <int eights>
  [[gnu::always_inline]] static inline void store_row(Vector bytes, int r, Act* y) {
    const __m256i two[2] = {_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64(bytes, 1)};
    if (eights == 4) return store_bytes(y, two[r % 2]);
    const auto part = [&](int i) {
      return i % 2 ? _mm256_extracti128_si256(two[i / 2], 1) : _mm256_castsi256_si128(two[i / 2]);
    };
    const __m128i low = part(eights == 3 ? 2 * r : r);
    if (eights == 1) return _mm_storel_epi64(reinterpret_cast<__m128i*>(y), low);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), low);
    if (eights == 3) _mm_storel_epi64(reinterpret_cast<__m128i*>(y + 16), part(2 * r + 1));
  }
};

constexpr Kernel kKernels[] = {
    {"gemm_s8_12x32c4_avx512vnni",
     {12, 32, 4, 8},
     WeightFormat::kDense,
     PairRule::kAny,
     run_dot<Zmm>,
     {},
     run_row<Zmm>},
};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gemm
