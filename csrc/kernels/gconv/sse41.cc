// As avx2.cc at half the width: Byte pmaddubsw + pmaddwd(1) + paddd on 16 channels (safe pairs),
// Word pmaddwd + paddd on 8.
#include "kernels/simd/sse41.h"

#include "kernels/gconv/gconv.h"

namespace lightkern::gconv {
namespace {

template <int lanes, int chunk, int registers>
void finish_lanes(const int32_t (*acc)[registers], const float* multiplier, const Clamp& clamp,
                  Act* y);

inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

struct Shared {
  using Vec = __m128i;
  using Acc = __m128i;
  static Vec load(const std::byte* p) { return load128(p); }
  static Acc load_acc(const std::byte* p) { return load128(p); }

  template <int lanes, int chunk>
  static void finish(const Acc* acc, const float* m, const Clamp& limits, const ClampVec& clamp,
                     Act* y) {
    const auto quad = [&](__m128i sums, int i) {
      return requantize4(sums, _mm_loadu_ps(m + 4 * i), clamp);
    };
    if constexpr (chunk == 4 && lanes == 1) {  // transpose: 4 groups of one lane
      const __m128i t0 = _mm_unpacklo_epi32(acc[0], acc[1]),
                    t1 = _mm_unpackhi_epi32(acc[0], acc[1]);
      const __m128i t2 = _mm_unpacklo_epi32(acc[2], acc[3]),
                    t3 = _mm_unpackhi_epi32(acc[2], acc[3]);
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(y),
          pack16(quad(_mm_unpacklo_epi64(t0, t2), 0), quad(_mm_unpackhi_epi64(t0, t2), 1),
                 quad(_mm_unpacklo_epi64(t1, t3), 2), quad(_mm_unpackhi_epi64(t1, t3), 3)));
    } else if constexpr (chunk == 4 && lanes == 2) {
      const __m128 h0 =
          _mm_castsi128_ps(_mm_hadd_epi32(acc[0], acc[1]));  // o0 of groups 0, 1, o1 of groups 0, 1
      const __m128 h1 = _mm_castsi128_ps(_mm_hadd_epi32(acc[2], acc[3]));
      store4(y, quad(_mm_castps_si128(_mm_shuffle_ps(h0, h1, 0x88)), 0));
      store4(y + 4, quad(_mm_castps_si128(_mm_shuffle_ps(h0, h1, 0xDD)), 1));
    } else if constexpr (chunk == 4) {
      store4(y, quad(_mm_hadd_epi32(_mm_hadd_epi32(acc[0], acc[1]), _mm_hadd_epi32(acc[2], acc[3])),
                     0));
    } else if constexpr (chunk == 2 && lanes == 1) {
      store4(y, quad(_mm_unpacklo_epi32(acc[0], acc[1]), 0));
      store4(y + 4, quad(_mm_unpackhi_epi32(acc[0], acc[1]), 1));
    } else {
      alignas(16) int32_t lane[chunk][4];
      for (int o = 0; o < chunk; ++o) _mm_store_si128(reinterpret_cast<__m128i*>(lane[o]), acc[o]);
      finish_lanes<lanes, chunk, 4>(lane, m, limits, y);
    }
  }
};

// A register of bytes never holds pairs of columns: its lanes are four wide (pack.cc refuses).
struct Byte : Shared {
  static void widen_pairs(const Act*, const Act*, std::byte*) {}
  static constexpr Tile kTile = {16, 1, 4, true};
  static void widen(const Act* x, std::byte* row) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row), load128(x));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) {
    return _mm_add_epi32(acc, _mm_madd_epi16(_mm_maddubs_epi16(x, w), _mm_set1_epi16(1)));
  }
};

struct Word : Shared {
  static void widen_pairs(const Act* x, const Act* next, std::byte* row) {
    int32_t a, b;
    std::memcpy(&a, x, 4);
    std::memcpy(&b, next, 4);
    const __m128i bytes = _mm_unpacklo_epi8(_mm_cvtsi32_si128(a), _mm_cvtsi32_si128(b));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row), _mm_cvtepu8_epi16(bytes));
  }
  static constexpr Tile kTile = {8, 2, 2, false};
  static void widen(const Act* x, std::byte* row) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row),
                     _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x))));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) {
    return _mm_add_epi32(acc, _mm_madd_epi16(x, w));
  }
};

#include "kernels/gconv/planar.inc"

constexpr Kernel kKernels[] = {
    {"gconv_s8_2x16c4_sse41", Byte::kTile, run<Byte>},
    {"gconv_s8_2x8c2_sse41", Word::kTile, run<Word>},
};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::gconv
