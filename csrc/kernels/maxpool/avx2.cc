// maxpool on AVX2: pmaxub over the window, 32, 16 or 8 channels at a time; bound by the loads: 9
// per output and vector, 6 where outputs share a column (3x3, stride 2).
#include "kernels/simd/avx2.h"

#include "kernels/maxpool/view.h"
#include "kernels/simd/x86.h"

namespace lightkern::maxpool {
namespace {

inline void wide(const View& v, size_t c, Act* y) {
  const auto max = [](__m256i a, __m256i b) { return _mm256_max_epu8(a, b); };
  store_bytes(y + c, reduce<__m256i>(v, c, [](const Act* x) { return load_bytes(x); }, max));
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

// 3x3 at stride 2, at least 8 channels.
void run_lines(const Args& args) {
  const size_t n = args.channels;
  const auto max32 = [](__m256i a, __m256i b) { return _mm256_max_epu8(a, b); };
  const auto max16 = [](__m128i a, __m128i b) { return _mm_max_epu8(a, b); };
  // Lambdas, which GCC inlines; it calls functions that are handed over by name.
  const auto from32 = [](const Act* x) { return load_bytes(x); };
  const auto to32 = [](Act* y, __m256i v) { store_bytes(y, v); };
  const auto from16 = [](const Act* x) { return load16(x); };
  const auto to16 = [](Act* y, __m128i v) { store16(y, v); };
  const auto from8 = [](const Act* x) { return load_half(x); };
  const auto to8 = [](Act* y, __m128i v) { store_half(y, v); };
  const auto line32 = [&](const Lines& l, size_t c) {
    pool_line<__m256i>(l, 0, args.out_w, c, from32, to32, max32);
  };
  const auto line16 = [&](const Lines& l, int begin, size_t c) {
    pool_line<__m128i>(l, begin, args.out_w, c, from16, to16, max16);
  };
  const auto line8 = [&](const Lines& l, size_t c) {
    pool_line<__m128i>(l, 0, args.out_w, c, from8, to8, max16);
  };
  for_each_line(args, [&](const Lines& l) {
    size_t c = 0;
    for (; c + 32 <= n; c += 32) line32(l, c);
    if (c == n) return;
    if (n >= 32) return line32(l, n - 32);
    if (n < 16) {
      line8(l, 0);
      if (n > 8) line8(l, n - 8);
      return;
    }
    int begin = 0;
    if (n >= 18 && n <= 24) {  // with the start of the next pixel, where there is one
      begin = l.outputs_within(l.w - 1);
      begin = begin < args.out_w ? begin : args.out_w;
      const auto store = [n](Act* y, __m256i v) {
        store16(y, _mm256_castsi256_si128(v));
        store_narrow(y + 16, _mm256_extracti128_si256(v, 1), n - 16);
      };
      pool_line<__m256i>(l, 0, begin, 0, from32, store, max32);
    }
    line16(l, begin, 0);
    if (n > 16) line16(l, begin, n - 16);
  });
}

void run(const Args& args) {
  if (is_3x3s2(args.window) && args.channels >= 8) return run_lines(args);
  for_each_pixel(args, [&](const View& view, Act* y) { pixel(view, args.channels, y); });
}

constexpr Kernel kKernels[] = {{"maxpool_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::maxpool
