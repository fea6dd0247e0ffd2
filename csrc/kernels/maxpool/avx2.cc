// maxpool on AVX2: pmaxub over the window, 32, 16 or 8 channels at a time; bound by the loads.
#include "kernels/simd/avx2.h"

#include "kernels/maxpool/view.h"
#include "kernels/simd/x86.h"

namespace lightkern::maxpool {
namespace {

inline void wide(const View& v, size_t c, Act* y) {
  const auto max = [](__m256i a, __m256i b) { return _mm256_max_epu8(a, b); };
  store32(y + c, reduce<__m256i>(v, c, load32, max));
}

inline void sixteen(const View& v, size_t c, Act* y) {
  const auto load = [](const Act* x) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  };
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y + c), reduce<__m128i>(v, c, load, max));
}

inline void eight(const View& v, size_t c, Act* y) {
  const auto load = [](const Act* x) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
  };
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  _mm_storel_epi64(reinterpret_cast<__m128i*>(y + c), reduce<__m128i>(v, c, load, max));
}

inline void pixel(const View& v, size_t channels, Act* y) {
  size_t c = 0;
  for (; c + 32 <= channels; c += 32) wide(v, c, y);
  if (c == channels) return;
  if (channels >= 32) return wide(v, channels - 32, y);
  if (channels >= 16) {
    sixteen(v, 0, y);
    if (channels > 16) sixteen(v, channels - 16, y);
  } else if (channels >= 8) {
    eight(v, 0, y);
    if (channels > 8) eight(v, channels - 8, y);
  } else {
    for (; c < channels; ++c) y[c] = max_of_one(v, c);
  }
}

void run(const Args& args) {
  for_each_pixel(args, [&](const View& view, Act* y) { pixel(view, args.channels, y); });
}

constexpr Kernel kKernels[] = {{"maxpool_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::maxpool
