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
inline void interleave_planes(Bytes r, Bytes g, Bytes b, Act* y) {
  interleave3(_mm256_castsi256_si128(r), _mm256_castsi256_si128(g), _mm256_castsi256_si128(b), y);
  interleave3(_mm256_extracti128_si256(r, 1), _mm256_extracti128_si256(g, 1),
              _mm256_extracti128_si256(b, 1), y + 48);
}

#include "kernels/quantize/x86.inc"

constexpr Kernel kKernels[] = {{"quantize_f32_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::quantize
