// mul on AVX-512: all rows by one row (squeeze-and-excitation) in vectors of 64 bytes, 25
// instructions each; what else there is as on AVX2.
#include "kernels/mul/mul.h"
#include "kernels/simd/avx2.h"

namespace lightkern::mul {
namespace {

#include "kernels/mul/x86.inc"

// A byte is put into the mantissa of 2^15, and (a - za) f = (2^15 + a) f - (2^15 + za) f is one
// fused operation: all of it are integers below 2^24, so that nothing is rounded.
struct WideScale {
  struct Factors {
    __m512 factor[4], offset[4];
  };
  static constexpr size_t kWidth = 64;
  __m512 minus_bias_a, bias_b, multiplier;
  __m512i zero_point16, lo8, hi8;

  explicit WideScale(const Args& args)
      : minus_bias_a(_mm512_set1_ps(-32768.0f - static_cast<float>(args.za))),
        bias_b(_mm512_set1_ps(32768.0f + static_cast<float>(args.zb))),
        multiplier(_mm512_set1_ps(args.multiplier)) {
    const Clamp& clamp = args.clamp;
    const auto limit = [&](float t) {
      return _mm512_set1_epi8(static_cast<char>(static_cast<int32_t>(t) + clamp.zero_point));
    };
    zero_point16 = _mm512_set1_epi16(static_cast<int16_t>(clamp.zero_point));
    lo8 = limit(clamp.lo);
    hi8 = limit(clamp.hi);
  }

  static void widen(const Act* x, __m512 (&t)[4]) {
    const __m512i zero = _mm512_setzero_si512(), power = _mm512_set1_epi16(0x4700);
    const __m512i bytes = _mm512_loadu_si512(x);
    const __m512i words[2] = {_mm512_unpacklo_epi8(zero, bytes), _mm512_unpackhi_epi8(zero, bytes)};
    for (int i = 0; i < 2; ++i) {
      t[2 * i] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(words[i], power));
      t[2 * i + 1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(words[i], power));
    }
  }

  Factors factors(const Act* b) const {
    Factors f;
    widen(b, f.factor);
    for (int i = 0; i < 4; ++i) {
      f.factor[i] = _mm512_sub_ps(f.factor[i], bias_b);
      f.offset[i] = _mm512_mul_ps(f.factor[i], minus_bias_a);
    }
    return f;
  }

  void operator()(const Act* a, const Factors& f, Act* y) const {
    __m512 t[4];
    widen(a, t);
    const auto round = [&](int i) {
      const __m512 product = _mm512_fmadd_ps(t[i], f.factor[i], f.offset[i]);
      return _mm512_cvtps_epi32(_mm512_mul_ps(product, multiplier));
    };
    const auto words = [&](int i) {
      return _mm512_adds_epi16(_mm512_packs_epi32(round(i), round(i + 1)), zero_point16);
    };
    const __m512i bytes = _mm512_packus_epi16(words(0), words(2));
    _mm512_storeu_si512(y, _mm512_min_epu8(_mm512_max_epu8(bytes, lo8), hi8));
  }
};

void run_wide(const Args& args) {
  if (!scale_rows<WideScale>(args)) run(args);
}

constexpr Kernel kKernels[] = {{"mul_s8_64_avx512vnni", run_wide}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::mul
