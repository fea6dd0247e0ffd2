// gemm on AVX-512 VNNI: one vpdpbusd per step, row and 16 channels.
//
// Ceiling: 64 MAC per cycle on Zen 4 and on client cores of Intel, 128 on others. A step of 12x32
// issues 24 vpdpbusd and 14 loads; 24 accumulators, 2 registers of weights and a row leave 5 of 32
// registers free. To turn 4 registers of sums into bytes takes 20 operations more. From some twenty
// rows on tiles are half as tall, 6x32, and these operations lie between the products of the next.
#include "kernels/gemm/dot.inc"
#include "kernels/gemm/merge.inc"
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
    __m512i zero_point16, hi16, lo8;
    __mmask32 mask;         // the channels that exist
    const TableVec* table;  // null, or what bytes go through
  };
  static Limits load_limits(const Clamp& clamp, const Panel& panel, const TableVec* table) {
    const ByteClamp c = load_byte_clamp(clamp);
    const auto twice = [](__m256i v) { return _mm512_broadcast_i64x4(v); };
    return {_mm512_set1_ps(clamp.hi),
            twice(c.zero_point16),
            _mm512_set1_epi16(static_cast<int16_t>(clamp.hi)),
            twice(c.lo8),
            mask_of(panel),
            table};
  }

  // Four vectors of sums at once: two rows, or four rows of one vector each. Of two rows of 24
  // channels, the last 8 of both make up one vector, taken twice.
  template <bool whole, bool half, int rows, int vectors>
  [[gnu::always_inline]] static inline void finish(const Vector (&acc)[rows][vectors],
                                                   const Panel& panel, const Limits& limits, Act* y,
                                                   ptrdiff_t y_stride) {
    constexpr bool kShared = half && vectors == 2;
    // Within each 128 bits, packing leaves four bytes of each vector.
    const Vector in_order =
        kShared ? _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 3, 7, 1, 5, 9, 13, 10, 14, 11, 15)
                : _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    constexpr int kRows = 4 / vectors, kWidth = width_of<Zmm>(2 * vectors - half);
    const __mmask32 mask = whole ? ~uint32_t{0} >> (32 - kWidth) : limits.mask;
#pragma GCC unroll 8
    for (int first = 0; first < rows; first += kRows, y += kRows * y_stride) {
      const auto row = [&](int r) { return first + r < rows ? first + r : first; };
      __m512 t[4];
      for (int i = 0; i < 4; ++i) {
        const int v = kShared ? i / 2 : i % vectors;
        Vector sums = acc[row(kShared ? i % 2 : i / vectors)][v];
        Vector m = load_part<Zmm, 2 * vectors - half>(panel.multiplier, v);
        if (kShared && v == 1) {
          sums = two_halves(acc[row(0)][1], acc[row(1)][1]);
          m = two_halves(m, m);
        }
        t[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_castsi512_ps(m));
      }
      if (!whole && !panel.bounded) {
        for (__m512& v : t) v = _mm512_min_ps(v, limits.hi);
      }
      // The upper limit comes before the zero point, which then can be added without saturation:
      // that would take the place of a product.
      const auto words = [&](__m512 a, __m512 b) {
        const Vector w = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
        return whole ? w : _mm512_add_epi16(_mm512_min_epi16(w, limits.hi16), limits.zero_point16);
      };
      Vector bytes = _mm512_packus_epi16(words(t[0], t[1]), words(t[2], t[3]));
      if (!whole) bytes = _mm512_max_epu8(bytes, limits.lo8);
      bytes = _mm512_permutexvar_epi32(in_order, bytes);
      if (!whole && limits.table) bytes = lookup(bytes, *limits.table);
      for (int r = 0; r < kRows && first + r < rows; ++r)
        store_row<vectors, whole && !half>(bytes, r, mask, y + r * y_stride);
    }
  }

  static Vector two_halves(Vector low, Vector high) {
    return _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1);
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

  static constexpr bool kAnyWidth = true, kTable = true;
  static bool is_dense(const Args& args) {
    const ptrdiff_t n = args.panel->n;
    return args.y_stride == n && (!args.residual || args.epilogue->residual_stride == n);
  }

  // 64 bytes at once: of all rows in one piece, or two rows, or four of 16.
  template <int pitch>
  static void pass_rows(const Panel& panel, const Epilogue& e, const TableVec&, Act* bytes,
                        bool dense, size_t m, const Act* residual, Act* y, ptrdiff_t y_stride) {
    // compute(bytes, residual): the latter is called for its bytes.
    const auto walk = [&](auto compute) {
      dense ? walk_piece(bytes, m * panel.n, residual, y, compute)
            : walk_rows<pitch>(panel, bytes, m, residual, e.residual_stride, y, y_stride, compute);
    };
    if (e.add.fit.shift) {
      const AddWide add = load_add_wide(e.add);
      return walk([&](Vector v, auto other) { return add_wide(v, other(), add); });
    }
    const AddVec add = load_add(e.add);
    walk([&](Vector v, auto other) {
      const Vector b = other();
      const auto half = [&](int i) { return add_reals(half_of(v, i), half_of(b, i), add); };
      return _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1);
    });
  }

  template <class Compute>
  static void walk_piece(const Act* bytes, size_t n, const Act* residual, Act* y, Compute compute) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
      _mm512_storeu_si512(y + i, compute(load(bytes + i), [&] { return load(residual + i); }));
    if (i == n) return;
    const __mmask64 some = (__mmask64{1} << (n - i)) - 1;
    const auto other = [&] { return _mm512_maskz_loadu_epi8(some, residual + i); };
    _mm512_mask_storeu_epi8(y + i, some, compute(load(bytes + i), other));
  }

  template <int pitch, class Compute>
  static void walk_rows(const Panel& panel, const Act* bytes, size_t m, const Act* residual,
                        ptrdiff_t residual_stride, Act* y, ptrdiff_t y_stride, Compute compute) {
    constexpr int kRows = 64 / pitch;
    const __mmask32 mask = mask_of(panel);
    for (size_t i = 0; i < m; i += kRows, y += kRows * y_stride) {
      const int rows = m - i < kRows ? static_cast<int>(m - i) : kRows;
      const Vector v = compute(load(bytes + i * pitch), [&] {
        return load_rows<pitch>(mask, residual, residual_stride, rows);
      });
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if (r < rows) store_row<pitch / 16, false>(v, r, mask, y + r * y_stride);
      }
      residual += kRows * residual_stride;
    }
  }

  static __m256i half_of(Vector v, int i) {
    return i ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v);
  }

  // Rows of a residual, up to 64 bytes of them, as those of the buffer lie; the last for any
  // beyond.
  template <int pitch>
  static Vector load_rows(__mmask32 mask, const Act* x, ptrdiff_t stride, int rows) {
    const auto at = [&](int r) { return x + (r < rows ? r : rows - 1) * stride; };
    if constexpr (pitch == 32) {
      return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, at(0))),
                                _mm256_maskz_loadu_epi8(mask, at(1)), 1);
    } else {
      const auto two = [&](int r) {
        const auto row = [&](int i) {
          return _mm_maskz_loadu_epi8(static_cast<__mmask16>(mask), at(i));
        };
        return _mm256_inserti128_si256(_mm256_castsi128_si256(row(r)), row(r + 1), 1);
      };
      return _mm512_inserti64x4(_mm512_castsi256_si512(two(0)), two(2), 1);
    }
  }
};

constexpr Kernel kKernels[] = {
    {"gemm_s8_12x32c4_avx512vnni",
     {12, 32, 4, 8},
     WeightFormat::kDense,
     PairRule::kAny,
     run_dot<Zmm>,
     {},
     run_row<Zmm>,
     false,
     merge},
};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gemm
