// mul on AVX2: products of 16-bit differences, their 17 bits put together from pmullw and pmulhw;
// 32 bytes in about 40 instructions.
#include "kernels/simd/avx2.h"

#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

struct MulVec {
  __m256i za, zb;  // 16-bit lanes
  __m256 multiplier;
  ByteClamp clamp;
};

inline __m256i mul32(__m256i a, __m256i b, const MulVec& p) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i a0 = _mm256_sub_epi16(_mm256_unpacklo_epi8(a, zero), p.za);
  const __m256i a1 = _mm256_sub_epi16(_mm256_unpackhi_epi8(a, zero), p.za);
  const __m256i b0 = _mm256_sub_epi16(_mm256_unpacklo_epi8(b, zero), p.zb);
  const __m256i b1 = _mm256_sub_epi16(_mm256_unpackhi_epi8(b, zero), p.zb);
  const __m256i lo0 = _mm256_mullo_epi16(a0, b0), hi0 = _mm256_mulhi_epi16(a0, b0);
  const __m256i lo1 = _mm256_mullo_epi16(a1, b1), hi1 = _mm256_mulhi_epi16(a1, b1);
  return pack_bytes(scale_round8(_mm256_unpacklo_epi16(lo0, hi0), p.multiplier, p.clamp),
                    scale_round8(_mm256_unpackhi_epi16(lo0, hi0), p.multiplier, p.clamp),
                    scale_round8(_mm256_unpacklo_epi16(lo1, hi1), p.multiplier, p.clamp),
                    scale_round8(_mm256_unpackhi_epi16(lo1, hi1), p.multiplier, p.clamp), p.clamp);
}

void run(const Args& args) {
  const Operands& o = args.operands;
  const MulVec p = {_mm256_set1_epi16(static_cast<int16_t>(args.za)),
                    _mm256_set1_epi16(static_cast<int16_t>(args.zb)),
                    _mm256_set1_ps(args.multiplier), load_byte_clamp(args.clamp)};
  for (size_t row = 0; row < o.rows; ++row) {
    const ptrdiff_t r = static_cast<ptrdiff_t>(row);
    const Act* a = o.a + r * o.a_stride;
    const Act* b = o.b + r * o.b_stride;
    Act* y = o.y + r * o.y_stride;
    const auto one = [&](size_t i, Act second) {
      y[i] = requantize((a[i] - args.za) * (second - args.zb), args.multiplier, args.clamp);
    };
    if (o.b_step) {
      walk_row(
          o.cols, true, [&](size_t i) { store32(y + i, mul32(load32(a + i), load32(b + i), p)); },
          [&](size_t i) { store8(y + i, mul32(load8(a + i), load8(b + i), p)); },
          [&](size_t i) { one(i, b[i]); });
    } else {
      const __m256i all = _mm256_set1_epi8(static_cast<char>(*b));
      walk_row(
          o.cols, true, [&](size_t i) { store32(y + i, mul32(load32(a + i), all, p)); },
          [&](size_t i) { store8(y + i, mul32(load8(a + i), all, p)); },
          [&](size_t i) { one(i, *b); });
    }
  }
}

constexpr Kernel kKernels[] = {{"mul_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::mul
