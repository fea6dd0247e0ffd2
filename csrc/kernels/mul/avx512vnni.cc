// mul on AVX-512: all rows by one row (squeeze-and-excitation) in vectors of 64 bytes, in integers
// where there is a fit, else in floats with 25 instructions; what else there is as on AVX2.
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

// mul.h, Fit, for 64 columns. Lanes of 32 bits hold a byte of `a` twice: as the low byte of a word,
// and less 128 as the upper one of the other. Even bytes and odd ones lie in vectors of their own,
// so that the upper words of their sums, blended, are in order.
struct Lines {
  __m512i factor[4], start[4];
};

Lines load_lines(const Fit& fit, __m512i b) {
  const __m512i zero = _mm512_setzero_si512();
  // unzip gives vector v bytes 4 v .. 4 v + 3 of each 16; it is to be 8 (v / 2) + v % 2 + 0, 2,
  // 4, 6.
  b = _mm512_shuffle_epi8(b, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12,
                                                                  14, 9, 11, 13, 15)));
  const auto take = [&](const uint8_t* table) { return lookup(b, load_table(table, nullptr)); };
  const auto unzip = [](__m512i b0, __m512i b1, __m512i b2, __m512i b3, __m512i(&to)[4]) {
    const __m512i lo[2] = {_mm512_unpacklo_epi8(b0, b1), _mm512_unpackhi_epi8(b0, b1)};
    const __m512i hi[2] = {_mm512_unpacklo_epi8(b2, b3), _mm512_unpackhi_epi8(b2, b3)};
    for (int i = 0; i < 2; ++i) {
      to[2 * i] = _mm512_unpacklo_epi16(lo[i], hi[i]);
      to[2 * i + 1] = _mm512_unpackhi_epi16(lo[i], hi[i]);
    }
  };
  Lines lines;
  unzip(take(fit.low), zero, take(fit.high[0]), take(fit.high[1]), lines.factor);
  unzip(take(fit.start[0]), take(fit.start[1]), take(fit.start[2]), take(fit.start[3]),
        lines.start);
  return lines;
}

// 22 instructions.
__m512i scale_bytes(__m512i a, const Lines& lines, __m512i shift16) {
  const __m512i centered = _mm512_xor_si512(a, _mm512_set1_epi8(-128));
  const __m512i lower = _mm512_set1_epi16(0xFF), upper = _mm512_set1_epi16(-256);
  const __m512i low[2] = {_mm512_and_si512(a, lower), _mm512_srli_epi16(a, 8)};
  const __m512i high[2] = {_mm512_slli_epi16(centered, 8), _mm512_and_si512(centered, upper)};
  const auto sum = [&](int v, __m512i x) {
    return _mm512_dpwssd_epi32(lines.start[v], x, lines.factor[v]);
  };
  const auto words = [&](__m512i even, __m512i odd) {
    const __m512i w = _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(even, 16), odd);
    return _mm512_srav_epi16(w, shift16);
  };
  return _mm512_packus_epi16(words(sum(0, _mm512_unpacklo_epi16(low[0], high[0])),
                                   sum(1, _mm512_unpacklo_epi16(low[1], high[1]))),
                             words(sum(2, _mm512_unpackhi_epi16(low[0], high[0])),
                                   sum(3, _mm512_unpackhi_epi16(low[1], high[1]))));
}

// All rows, 64 columns at a time.
template <class Limit>
void scale_columns(const Args& args, Limit limit) {
  const Operands& o = args.operands;
  const __m512i shift16 = _mm512_set1_epi16(static_cast<int16_t>(args.fit->shift - 16));
  for (size_t first = 0; first < o.cols; first += 64) {
    const size_t n = o.cols - first;
    const __mmask64 some = n < 64 ? (__mmask64{1} << n) - 1 : ~__mmask64{0};
    const Lines lines = load_lines(*args.fit, _mm512_maskz_loadu_epi8(some, o.b + first));
    const auto scale = [&](__m512i bytes) { return limit(scale_bytes(bytes, lines, shift16)); };
    const Act* a = o.a + first;
    Act* y = o.y + first;
    if (n >= 64) {
      for (size_t row = o.rows; row > 0; --row, a += o.a_stride, y += o.y_stride)
        _mm512_storeu_si512(y, scale(_mm512_loadu_si512(a)));
    } else {
      for (size_t row = o.rows; row > 0; --row, a += o.a_stride, y += o.y_stride)
        _mm512_mask_storeu_epi8(y, some, scale(_mm512_maskz_loadu_epi8(some, a)));
    }
  }
}

void run_fitted(const Args& args) {
  const Clamp& clamp = args.clamp;
  const float zero = static_cast<float>(clamp.zero_point);
  if (clamp.lo + zero == 0.0f && clamp.hi + zero == 255.0f)  // packing does it
    return scale_columns(args, [](__m512i y) { return y; });
  const ByteClamp limits = load_byte_clamp(clamp);
  const __m512i lo8 = _mm512_broadcast_i64x4(limits.lo8), hi8 = _mm512_broadcast_i64x4(limits.hi8);
  scale_columns(args, [&](__m512i y) { return _mm512_min_epu8(_mm512_max_epu8(y, lo8), hi8); });
}

void run_wide(const Args& args) {
  const Operands& o = args.operands;
  if (args.fit && o.b_step && !o.b_stride && o.rows > 3) return run_fitted(args);
  if (!scale_rows<WideScale>(args)) run(args);
}

constexpr Kernel kKernels[] = {{"mul_s8_64_avx512vnni", run_wide, true}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::mul
