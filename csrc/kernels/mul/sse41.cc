// mul on SSE4.1: products of 16-bit differences, their 17 bits put together from pmullw and pmulhw;
// 16 bytes in about 40 instructions.
#include "kernels/simd/sse41.h"

#include "kernels/mul/mul.h"

namespace lightkern::mul {
namespace {

struct MulVec {
  __m128i za, zb;  // 16-bit lanes
  __m128 multiplier;
  ByteClamp clamp;
};

inline __m128i mul16(__m128i a, __m128i b, const MulVec& p) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i a0 = _mm_sub_epi16(_mm_unpacklo_epi8(a, zero), p.za);
  const __m128i a1 = _mm_sub_epi16(_mm_unpackhi_epi8(a, zero), p.za);
  const __m128i b0 = _mm_sub_epi16(_mm_unpacklo_epi8(b, zero), p.zb);
  const __m128i b1 = _mm_sub_epi16(_mm_unpackhi_epi8(b, zero), p.zb);
  const __m128i lo0 = _mm_mullo_epi16(a0, b0), hi0 = _mm_mulhi_epi16(a0, b0);
  const __m128i lo1 = _mm_mullo_epi16(a1, b1), hi1 = _mm_mulhi_epi16(a1, b1);
  return pack_bytes(scale_round(_mm_unpacklo_epi16(lo0, hi0), p.multiplier, p.clamp),
                    scale_round(_mm_unpackhi_epi16(lo0, hi0), p.multiplier, p.clamp),
                    scale_round(_mm_unpacklo_epi16(lo1, hi1), p.multiplier, p.clamp),
                    scale_round(_mm_unpackhi_epi16(lo1, hi1), p.multiplier, p.clamp), p.clamp);
}

void run(const Args& args) {
  const Operands& o = args.operands;
  const MulVec p = {_mm_set1_epi16(static_cast<int16_t>(args.za)),
                    _mm_set1_epi16(static_cast<int16_t>(args.zb)), _mm_set1_ps(args.multiplier),
                    load_byte_clamp(args.clamp)};
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
          o.cols, true, [&](size_t i) { store16(y + i, mul16(load16(a + i), load16(b + i), p)); },
          [&](size_t i) { store_half(y + i, mul16(load_half(a + i), load_half(b + i), p)); },
          [&](size_t i) { one(i, b[i]); });
    } else {
      const __m128i all = _mm_set1_epi8(static_cast<char>(*b));
      walk_row(
          o.cols, true, [&](size_t i) { store16(y + i, mul16(load16(a + i), all, p)); },
          [&](size_t i) { store_half(y + i, mul16(load_half(a + i), all, p)); },
          [&](size_t i) { one(i, *b); });
    }
  }
}

constexpr Kernel kKernels[] = {{"mul_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::mul
