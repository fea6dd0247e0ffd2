// quantize on AVX2: x86.inc says how.
#include "kernels/simd/avx2.h"

#include "kernels/quantize/quantize.h"
#include "kernels/simd/x86.h"

namespace lightkern::quantize {
namespace {

inline Floats is_nan(Floats v) { return _mm256_cmp_ps(v, v, _CMP_UNORD_Q); }
inline Bytes in_order(Bytes v) {
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
// interleave3 (simd/x86.h) on both halves at once.
inline void interleave_planes(Bytes r, Bytes g, Bytes b, Act* y) {
  const Thirds t = thirds();
  r = _mm256_shuffle_epi8(r, repeat16(t.place[0]));
  g = _mm256_shuffle_epi8(g, repeat16(t.place[1]));
  b = _mm256_shuffle_epi8(b, repeat16(t.place[2]));
  const auto merge = [&](int of_g, int of_b, Act* to) {
    const Bytes rg = _mm256_blendv_epi8(r, g, repeat16(t.from[of_g]));
    const Bytes rgb = _mm256_blendv_epi8(rg, b, repeat16(t.from[of_b]));
    store16(to, _mm256_castsi256_si128(rgb));
    store16(to + 48, _mm256_extracti128_si256(rgb, 1));
  };
  merge(1, 2, y);
  merge(0, 1, y + 16);
  merge(2, 0, y + 32);
}

#include "kernels/quantize/x86.inc"

constexpr Kernel kKernels[] = {{"quantize_f32_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::quantize
