// quantize on AVX2: 32 divisions, in order of memory; three planes (an image, NCHW) are interleaved
// by pshufb. Bound by the divider, about 6 cycles for 8 values.
#include "kernels/simd/avx2.h"

#include "kernels/quantize/quantize.h"
#include "kernels/simd/x86.h"

namespace lightkern::quantize {
namespace {

struct QuantizeVec {
  __m256 scale;
  ByteClamp clamp;
};

inline __m256i quantize8(const float* x, const QuantizeVec& p, __m256& nan) {
  const __m256 v = _mm256_loadu_ps(x);
  nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_div_ps(v, p.scale), p.clamp.hi));
}

inline __m256i quantize32(const float* x, const QuantizeVec& p, __m256& nan) {
  const __m256i bytes = pack_bytes(quantize8(x, p, nan), quantize8(x + 8, p, nan),
                                   quantize8(x + 16, p, nan), quantize8(x + 24, p, nan), p.clamp);
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

inline Act quantize1(float x, const Args& args, bool& nan) {
  nan |= x != x;
  return finish(x != x ? 0.0f : x / args.scale, args.clamp);
}

bool run_row(const float* x, Act* y, size_t n, const Args& args, const QuantizeVec& p) {
  __m256 nan = _mm256_setzero_ps();
  bool nan1 = false;
  walk_row(
      n, true, [&](size_t i) { store_bytes(y + i, quantize32(x + i, p, nan)); },
      [&](size_t i) {
        const __m256i v = quantize8(x + i, p, nan);
        store_half(y + i, _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(
                              pack_bytes(v, v, v, v, p.clamp),
                              _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0))));
      },
      [&](size_t i) { y[i] = quantize1(x[i], args, nan1); });
  return nan1 || _mm256_movemask_ps(nan) != 0;
}

// Three planes to pixels of three bytes without gaps.
bool run_three_planes(const Args& args, const QuantizeVec& p) {
  __m256 nan = _mm256_setzero_ps();
  const float *r = args.x, *g = r + args.x_channel_stride, *b = g + args.x_channel_stride;
  const auto wide = [&](size_t i) {
    const __m256i vr = quantize32(r + i, p, nan), vg = quantize32(g + i, p, nan),
                  vb = quantize32(b + i, p, nan);
    interleave3(_mm256_castsi256_si128(vr), _mm256_castsi256_si128(vg), _mm256_castsi256_si128(vb),
                args.y + 3 * i);
    interleave3(_mm256_extracti128_si256(vr, 1), _mm256_extracti128_si256(vg, 1),
                _mm256_extracti128_si256(vb, 1), args.y + 3 * i + 48);
  };
  size_t i = 0;
  for (; i + 32 <= args.pixels; i += 32) wide(i);
  if (i < args.pixels) wide(args.pixels - 32);
  return _mm256_movemask_ps(nan) != 0;
}

// Any number of planes, 8 at a time (the last 8 overlap those before): a strip of each to bytes,
// then 8x8 transposes. The strip is long enough for the prefetcher and short enough for L1.
bool run_planes(const Args& args, const QuantizeVec& p) {
  constexpr size_t kStrip = 64;
  Act strips[8][kStrip] = {};
  const size_t width = args.channels < 8 ? args.channels : 8;
  bool nan = false;
  for (size_t first = 0; first < args.pixels; first += kStrip) {
    const size_t n = args.pixels - first < kStrip ? args.pixels - first : kStrip;
    for (size_t i = 0; i < args.channels; i += 8) {
      const size_t c = i + width <= args.channels ? i : args.channels - width;
      const float* x = args.x + static_cast<ptrdiff_t>(c) * args.x_channel_stride + first;
      for (size_t k = 0; k < width; ++k, x += args.x_channel_stride) {
        nan |= run_row(x, strips[k], n, args, p);
      }
      planes_to_pixels(strips[0], kStrip, n,
                       args.y + static_cast<ptrdiff_t>(first) * args.y_pixel_stride + c,
                       args.y_pixel_stride, width);
    }
  }
  return nan;
}

bool run(const Args& args) {
  const QuantizeVec p = {_mm256_set1_ps(args.scale), load_byte_clamp(args.clamp)};
  const ptrdiff_t channels = static_cast<ptrdiff_t>(args.channels);
  const bool rows = args.x_channel_stride == 1 || channels == 1;
  if (rows && args.x_pixel_stride == channels && args.y_pixel_stride == channels) {
    return run_row(args.x, args.y, args.pixels * args.channels, args, p);
  }
  if (!rows && args.x_pixel_stride == 1) {
    if (channels == 3 && args.y_pixel_stride == 3 && args.pixels >= 32)
      return run_three_planes(args, p);
    return run_planes(args, p);
  }
  bool nan = false;
  for (size_t i = 0; i < args.pixels; ++i) {
    const float* x = args.x + static_cast<ptrdiff_t>(i) * args.x_pixel_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(i) * args.y_pixel_stride;
    if (rows) {
      nan |= run_row(x, y, args.channels, args, p);
      continue;
    }
    for (ptrdiff_t c = 0; c < channels; ++c)
      y[c] = quantize1(x[c * args.x_channel_stride], args, nan);
  }
  return nan;
}

constexpr Kernel kKernels[] = {{"quantize_f32_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::quantize
