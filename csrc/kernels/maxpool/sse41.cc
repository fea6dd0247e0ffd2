// maxpool on SSE4.1: pmaxub over the window, 16 or 8 channels at a time; bound by the loads: 9 per
// output and vector, 6 where outputs share a column (3x3, stride 2).
#include "kernels/simd/sse41.h"

#include "kernels/maxpool/view.h"

namespace lightkern::maxpool {
namespace {

inline void sixteen(const View& v, size_t c, Act* y) {
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  store16(y + c, reduce<__m128i>(v, c, [](const Act* x) { return load16(x); }, max));
}

inline void eight(const View& v, size_t c, Act* y) {
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  store_half(y + c, reduce<__m128i>(v, c, [](const Act* x) { return load_half(x); }, max));
}

inline void pixel(const View& v, size_t channels, Act* y) {
  walk_row(
      channels, true, [&](size_t c) { sixteen(v, c, y); }, [&](size_t c) { eight(v, c, y); },
      [&](size_t c) { y[c] = max_of_one(v, c); });
}

// 3x3 at stride 2, at least 8 channels.
void run_lines(const Args& args) {
  const size_t n = args.channels;
  const auto max = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  // Lambdas, which GCC inlines; it calls functions that are handed over by name.
  const auto from16 = [](const Act* x) { return load16(x); };
  const auto to16 = [](Act* y, __m128i v) { store16(y, v); };
  const auto from8 = [](const Act* x) { return load_half(x); };
  const auto to8 = [](Act* y, __m128i v) { store_half(y, v); };
  for_each_line(args, [&](const Lines& l) {
    walk_row(
        n, true, [&](size_t c) { pool_line<__m128i>(l, 0, args.out_w, c, from16, to16, max); },
        [&](size_t c) { pool_line<__m128i>(l, 0, args.out_w, c, from8, to8, max); }, [](size_t) {});
  });
}

void run(const Args& args) {
  if (is_3x3s2(args.window) && args.channels >= 8) return run_lines(args);
  for_each_pixel(args, [&](const View& view, Act* y) { pixel(view, args.channels, y); });
}

constexpr Kernel kKernels[] = {{"maxpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::maxpool
