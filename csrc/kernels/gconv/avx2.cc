// Byte: pmaddubsw + pmaddwd(1) + paddd on 32 channels, 32 MAC per cycle where two ports multiply;
// exact for safe pairs only (gconv.h). Word: channels widened to int16 when a row is loaded,
// pmaddwd + paddd on 16 channels, also 32 MAC per cycle at best, exact for all weights. Sums stay
// below 2^31: the model was checked (model.py).
#include "kernels/simd/avx2.h"

#include "kernels/gconv/gconv.h"

namespace lightkern::gconv {
namespace {

template <int lanes, int chunk, int registers>
void finish_lanes(const int32_t (*acc)[registers], const float* multiplier, const Clamp& clamp,
                  Act* y);

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

struct Shared {
  using Vec = __m256i;
  using Acc = __m256i;
  static Vec load(const std::byte* p) { return load256(p); }
  static Acc load_acc(const std::byte* p) { return load256(p); }

  // Requantizes two quads: outputs o..o+3 of group `low` and of group `high`.
  static __m256i quads(__m256i acc, const float* multiplier, int low, int high,
                       const ClampVec& clamp) {
    const __m256 m =
        _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(multiplier + 4 * low)),
                             _mm_loadu_ps(multiplier + 4 * high), 1);
    return requantize8(acc, m, clamp);
  }

  template <int lanes, int chunk>
  static void finish(const Acc* acc, const float* m, const Clamp& limits, const ClampVec& clamp,
                     Act* y) {
    if constexpr (chunk == 4 && lanes == 1) {  // transpose: 8 groups of one lane
      const __m256i t0 = _mm256_unpacklo_epi32(acc[0], acc[1]),
                    t1 = _mm256_unpackhi_epi32(acc[0], acc[1]);
      const __m256i t2 = _mm256_unpacklo_epi32(acc[2], acc[3]),
                    t3 = _mm256_unpackhi_epi32(acc[2], acc[3]);
      const __m256i a = quads(_mm256_unpacklo_epi64(t0, t2), m, 0, 4, clamp);
      const __m256i b = quads(_mm256_unpackhi_epi64(t0, t2), m, 1, 5, clamp);
      const __m256i c = quads(_mm256_unpacklo_epi64(t1, t3), m, 2, 6, clamp);
      const __m256i d = quads(_mm256_unpackhi_epi64(t1, t3), m, 3, 7, clamp);
      const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), bytes);
    } else if constexpr (chunk == 4 && lanes == 2) {
      const __m256 h0 = _mm256_castsi256_ps(
          _mm256_hadd_epi32(acc[0], acc[1]));  // o0 of groups 0, 1, o1 of 0, 1 | 2, 3
      const __m256 h1 = _mm256_castsi256_ps(_mm256_hadd_epi32(acc[2], acc[3]));
      const __m256i a = quads(_mm256_castps_si256(_mm256_shuffle_ps(h0, h1, 0x88)), m, 0, 2, clamp);
      const __m256i b = quads(_mm256_castps_si256(_mm256_shuffle_ps(h0, h1, 0xDD)), m, 1, 3, clamp);
      const __m256i words = _mm256_packs_epi32(a, b);
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(y),
          _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    } else if constexpr (chunk == 4) {
      const __m256i h0 = _mm256_hadd_epi32(acc[0], acc[1]), h1 = _mm256_hadd_epi32(acc[2], acc[3]);
      const __m256i a = quads(_mm256_hadd_epi32(h0, h1), m, 0, 1, clamp);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), pack8(a));
    } else if constexpr (chunk == 2 && lanes == 1) {
      const __m256i a =
          quads(_mm256_unpacklo_epi32(acc[0], acc[1]), m, 0, 2, clamp);  // groups 0, 1 | 4, 5
      const __m256i b =
          quads(_mm256_unpackhi_epi32(acc[0], acc[1]), m, 1, 3, clamp);  // groups 2, 3 | 6, 7
      const __m256i words = _mm256_packs_epi32(a, b);
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(y),
          _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    } else {
      alignas(32) int32_t lane[chunk][8];
      for (int o = 0; o < chunk; ++o)
        _mm256_store_si256(reinterpret_cast<__m256i*>(lane[o]), acc[o]);
      finish_lanes<lanes, chunk, 8>(lane, m, limits, y);
    }
  }
};

// A register of bytes never holds pairs of columns: its lanes are four wide (pack.cc refuses).
struct Byte : Shared {
  static void widen_pairs(const Act*, const Act*, std::byte*) {}
  static constexpr Tile kTile = {32, 1, 4, true};
  static void widen(const Act* x, std::byte* row) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), load256(x));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) {
    return _mm256_add_epi32(acc,
                            _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
  }
};

struct Word : Shared {
  static void widen_pairs(const Act* x, const Act* next, std::byte* row) {
    const __m128i a = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    const __m128i b = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(next));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row),
                        _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)));
  }
  static constexpr Tile kTile = {16, 2, 2, false};
  static void widen(const Act* x, std::byte* row) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), _mm256_cvtepu8_epi16(bytes));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w));
  }
};

#include "kernels/gconv/planar.inc"

constexpr Kernel kKernels[] = {
    {"gconv_s8_2x32c4_avx2", Byte::kTile, run<Byte>},
    {"gconv_s8_2x16c2_avx2", Word::kTile, run<Word>},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::gconv
