// maxpool on SSE4.1: pmaxub over the window, 16 or 8 channels at a time; bound by the loads.
#include "kernels/simd/sse41.h"

#include "kernels/maxpool/view.h"

namespace lightkern::maxpool {
namespace {

inline void sixteen(const View& v, size_t c, Act* y) {
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  store16(y + c, reduce<__m128i>(v, c, load16, max));
}

inline void eight(const View& v, size_t c, Act* y) {
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  store_half(y + c, reduce<__m128i>(v, c, load_half, max));
}

inline void pixel(const View& v, size_t channels, Act* y) {
  walk_row(
      channels, true, [&](size_t c) { sixteen(v, c, y); }, [&](size_t c) { eight(v, c, y); },
      [&](size_t c) { y[c] = max_of_one(v, c); });
}

void run(const Args& args) {
  for_each_pixel(args, [&](const View& view, Act* y) { pixel(view, args.channels, y); });
}

constexpr Kernel kKernels[] = {{"maxpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::maxpool
