// prelu on AVX2: both products, then the sign of x chooses.
#include "kernels/simd/avx2.h"

#include "kernels/prelu/prelu.h"

namespace lightkern::prelu {
namespace {

void run(const Args& args) {
  const ClampVec clamp = load_clamp(args.clamp);
  const __m256 positive = _mm256_set1_ps(args.positive);
  const __m256i zero_point = _mm256_set1_epi32(args.zero_point);
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x = args.x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    const auto eight = [&](size_t c) {
      const __m256i bytes =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + c)));
      const __m256i v = _mm256_sub_epi32(bytes, zero_point);
      const __m256 multiplier =
          _mm256_blendv_ps(positive, _mm256_loadu_ps(args.negative + c), _mm256_castsi256_ps(v));
      const __m128i packed = pack8(requantize8(v, multiplier, clamp));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y + c), packed);
    };
    size_t c = 0;
    for (; c + 8 <= args.channels; c += 8) eight(c);
    if (c < args.channels && args.channels >= 8) {
      eight(args.channels - 8);
      continue;
    }
    for (; c < args.channels; ++c) {
      const int32_t v = x[c] - args.zero_point;
      y[c] = requantize(v, v >= 0 ? args.positive : args.negative[c], args.clamp);
    }
  }
}

constexpr Kernel kKernels[] = {{"prelu_s8_8_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::prelu
