// mul on AVX2: products of 16-bit differences, their 17 bits put together from pmullw and pmulhw;
// 32 bytes in about 40 instructions. Where one row scales all others (squeeze-and-excitation):
// products of floats, which are exact, and 30 instructions.
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
  return pack_bytes(scale_round(_mm256_unpacklo_epi16(lo0, hi0), p.multiplier, p.clamp),
                    scale_round(_mm256_unpackhi_epi16(lo0, hi0), p.multiplier, p.clamp),
                    scale_round(_mm256_unpacklo_epi16(lo1, hi1), p.multiplier, p.clamp),
                    scale_round(_mm256_unpackhi_epi16(lo1, hi1), p.multiplier, p.clamp), p.clamp);
}

// All rows of a by the only row of b, at least 32 columns; no result before clamping may reach
// 2^31. A few vectors of columns at a time, whose factors stay in the first-level cache.
void scale_rows(const Args& args, const ByteClamp& clamp) {
  constexpr size_t kVectors = 8;
  const Operands& o = args.operands;
  const __m256 bias_a = center_bias(args.za), bias_b = center_bias(args.zb);
  const __m256 multiplier = _mm256_set1_ps(args.multiplier);
  for (size_t first = 0; first < o.cols; first += 32 * kVectors) {
    size_t columns[kVectors], count = 0;  // the last vector overlaps the one before
    Centered factors[kVectors];
    for (size_t c = first; c < o.cols && count < kVectors; c += 32, ++count) {
      columns[count] = c + 32 <= o.cols ? c : o.cols - 32;
      factors[count] = center(load_bytes(o.b + columns[count]), bias_b);
    }
    const Act* a = o.a;
    Act* y = o.y;
    for (size_t row = 0; row < o.rows; ++row, a += o.a_stride, y += o.y_stride) {
      for (size_t v = 0; v < count; ++v) {
        const Centered t = center(load_bytes(a + columns[v]), bias_a);
        const auto round = [&](int i) {
          return _mm256_cvtps_epi32(
              _mm256_mul_ps(_mm256_mul_ps(t.v[i], factors[v].v[i]), multiplier));
        };
        store_bytes(
            y + columns[v],
            _mm256_min_epu8(pack_bytes(round(0), round(1), round(2), round(3), clamp), clamp.hi8));
      }
    }
  }
}

void run(const Args& args) {
  const Operands& o = args.operands;
  const MulVec p = {_mm256_set1_epi16(static_cast<int16_t>(args.za)),
                    _mm256_set1_epi16(static_cast<int16_t>(args.zb)),
                    _mm256_set1_ps(args.multiplier), load_byte_clamp(args.clamp)};
  if (o.b_step && o.b_stride == 0 && o.cols >= 32 && args.multiplier < 32768.0f) {
    return scale_rows(args, p.clamp);
  }
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
          o.cols, true,
          [&](size_t i) { store_bytes(y + i, mul32(load_bytes(a + i), load_bytes(b + i), p)); },
          [&](size_t i) { store8(y + i, mul32(load8(a + i), load8(b + i), p)); },
          [&](size_t i) { one(i, b[i]); });
    } else {
      const __m256i all = _mm256_set1_epi8(static_cast<char>(*b));
      walk_row(
          o.cols, true, [&](size_t i) { store_bytes(y + i, mul32(load_bytes(a + i), all, p)); },
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
