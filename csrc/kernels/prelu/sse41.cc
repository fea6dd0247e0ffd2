// prelu on SSE4.1: both multipliers, the sign of x chooses.
#include "kernels/simd/sse41.h"

#include "kernels/prelu/prelu.h"

namespace lightkern::prelu {
namespace {

void run(const Args& args) {
  const ClampVec clamp = load_clamp(args.clamp);
  const __m128 positive = _mm_set1_ps(args.positive);
  const __m128i zero_point = _mm_set1_epi32(args.zero_point);
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x = args.x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    const auto four = [&](size_t c) {
      int32_t bytes;
      std::memcpy(&bytes, x + c, 4);
      const __m128i v = _mm_sub_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)), zero_point);
      const __m128 multiplier =
          _mm_blendv_ps(positive, _mm_loadu_ps(args.negative + c), _mm_castsi128_ps(v));
      store4(y + c, requantize4(v, multiplier, clamp));
    };
    size_t c = 0;
    for (; c + 4 <= args.channels; c += 4) four(c);
    for (; c < args.channels; ++c) {
      const int32_t v = x[c] - args.zero_point;
      y[c] = requantize(v, v >= 0 ? args.positive : args.negative[c], args.clamp);
    }
  }
}

constexpr Kernel kKernels[] = {{"prelu_s8_4_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::prelu
