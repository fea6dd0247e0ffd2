// gemm on AVX-512 VNNI: one vpdpbusd per step, row and 16 channels.
//
// Ceiling: 64 MAC per cycle on Zen 4 and on client cores of Intel, 128 on others. A step of 12x32
// issues 24 vpdpbusd and 14 loads; 24 accumulators, 2 registers of weights and a row leave 5 of 32
// registers free. To turn 4 registers of sums into bytes takes 20 operations more.
#include "kernels/gemm/dot.inc"
#include "kernels/simd/x86.h"

namespace lightkern::gemm {
namespace {

struct Zmm {
  using Vector = __m512i;
  static constexpr int kLanes = 16, kTile = 12, kNarrowTile = 12;
  static constexpr bool kHalves = true, kOverlap = true;
  static Vector load(const void* p) { return _mm512_loadu_si512(p); }
  static Vector load_half(const void* p) {
    return _mm512_castsi256_si512(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static Vector broadcast(int32_t v) { return _mm512_set1_epi32(v); }
  static Vector dot(Vector acc, Vector x, Vector w) {
    acc = _mm512_dpbusd_epi32(acc, x, w);
    stay_in_register(acc);
    return acc;
  }
  static Vector dot_half(Vector acc, Vector x, Vector w) {
    const auto half = [](Vector v) { return _mm512_castsi512_si256(v); };
    acc = _mm512_castsi256_si512(_mm256_dpbusd_epi32(half(acc), half(x), half(w)));
    stay_in_register(acc);
    return acc;
  }
  // Else GCC 12 keeps copies of the sums in memory, for what comes behind the loop.
  static void stay_in_register([[maybe_unused]] Vector& v) {
#ifdef __AVX512F__  // not where it is emulated
    __asm__("" : "+v"(v));
#endif
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
                                                   const Panel& panel, const Limits& limits, Act* y,
                                                   ptrdiff_t y_stride) {
    // Within each 128 bits, packing leaves four bytes of each vector.
    const Vector in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    constexpr int kRows = 4 / vectors;
#pragma GCC unroll 8
    for (int first = 0; first < rows; first += kRows, y += kRows * y_stride) {
      __m512 t[4];
      for (int i = 0; i < 4; ++i) {
        const int r = first + i / vectors < rows ? first + i / vectors : first, v = i % vectors;
        const Vector m = load_part<Zmm, 2 * vectors - half>(panel.multiplier, v);
        t[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][v]), _mm512_castsi512_ps(m));
      }
      if (!whole && !panel.bounded) {
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
        store_row<vectors, whole>(bytes, r, mask_of(panel), y + r * y_stride);
    }
  }

  static __mmask32 mask_of(const Panel& panel) {
    return static_cast<__mmask32>((uint64_t{1} << panel.n) - 1);
  }

  // Row r of `bytes`: all 16 or 32 of it, or those of a mask. Masks cost 3 to 5 % of a layer with
  // few inputs.
  template <int vectors, bool all>
  [[gnu::always_inline]] static inline void store_row(Vector bytes, int r, __mmask32 mask, Act* y) {
    const __m256i two[2] = {_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64(bytes, 1)};
    if (vectors == 2) {
      const __m256i row = two[r % 2];
      all ? store_bytes(y, row) : _mm256_mask_storeu_epi8(y, mask, row);
    } else {
      const __m256i pair = two[r / 2];
      const __m128i row = r % 2 ? _mm256_extracti128_si256(pair, 1) : _mm256_castsi256_si128(pair);
      all ? store16(y, row) : _mm_mask_storeu_epi8(y, static_cast<__mmask16>(mask), row);
    }
  }

  static constexpr bool kAnyWidth = true;
  // 32 bytes at once: a row, or two of 16.
  template <int pitch>
  static void pass_rows(const Panel& panel, const Epilogue& e, const TableVec& table, Act* bytes,
                        size_t m, const Act* residual, Act* y, ptrdiff_t y_stride) {
    constexpr size_t kRows = 32 / pitch;
    const __mmask32 mask = mask_of(panel);
    const auto walk = [&](auto compute) {
      for (size_t i = 0; i < m; i += kRows, y += kRows * y_stride) {
        const bool both = i + 1 < m;
        const __m256i v = compute(load_bytes(bytes + i * pitch), both);
        const __m512i all = _mm512_castsi256_si512(v);
        store_row<pitch / 16, false>(all, 0, mask, y);
        if (kRows == 2 && both) store_row<1, false>(all, 1, mask, y + y_stride);
        if (residual) residual += kRows * e.residual_stride;
      }
    };
    const AddVec add = load_add(e.add);
    const auto added = [&](__m256i v, bool both) {
      __m256i other;
      if (kRows == 1) {
        other = _mm256_maskz_loadu_epi8(mask, residual);
      } else {
        const auto row = [&](const Act* at) {
          return _mm_maskz_loadu_epi8(static_cast<__mmask16>(mask), at);
        };
        other = _mm256_inserti128_si256(_mm256_castsi128_si256(row(residual)),
                                        row(residual + (both ? e.residual_stride : 0)), 1);
      }
      return add_bytes(v, other, add);
    };
    if (e.table && residual)
      return walk([&](__m256i v, bool both) { return added(lookup(v, table), both); });
    if (e.table) return walk([&](__m256i v, bool) { return lookup(v, table); });
    walk(added);
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
