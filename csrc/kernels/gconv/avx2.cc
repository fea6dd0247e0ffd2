// Byte: pmaddubsw + pmaddwd(1) + paddd on 32 channels, 32 MAC per cycle where two ports multiply;
// exact for safe pairs only (gconv.h). Word: channels widened to int16 when a row is loaded,
// pmaddwd + paddd on 16 channels, also 32 MAC per cycle at best, exact for all weights. Sums stay
// below 2^31: the model was checked (model.py).
#include "kernels/simd/avx2.h"

#include "kernels/gconv/gconv.h"
#include "kernels/gconv/ymm.inc"

namespace lightkern::gconv {
namespace {

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
