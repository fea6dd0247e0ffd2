// quantize on SSE4.1: 16 divisions, in order of memory; three planes (an image, NCHW) are
// interleaved by pshufb. Bound by the divider, about 6 cycles for 8 values.
#include "kernels/simd/sse41.h"

#include "kernels/quantize/quantize.h"

namespace lightkern::quantize {
namespace {

struct QuantizeVec {
  __m128 scale;
  ByteClamp clamp;
};

inline __m128i quantize4(const float* x, const QuantizeVec& p, __m128& nan) {
  const __m128 v = _mm_loadu_ps(x);
  nan = _mm_or_ps(nan, _mm_cmpunord_ps(v, v));
  return round_below(_mm_div_ps(v, p.scale), p.clamp);
}

inline __m128i quantize16(const float* x, const QuantizeVec& p, __m128& nan) {
  return pack_bytes(quantize4(x, p, nan), quantize4(x + 4, p, nan), quantize4(x + 8, p, nan),
                    quantize4(x + 12, p, nan), p.clamp);
}

inline Act quantize1(float x, const Args& args, bool& nan) {
  nan |= x != x;
  return finish(x != x ? 0.0f : x / args.scale, args.clamp);
}

bool run_row(const float* x, Act* y, size_t n, const Args& args, const QuantizeVec& p) {
  __m128 nan = _mm_setzero_ps();
  bool nan1 = false;
  walk_row(
      n, true, [&](size_t i) { store16(y + i, quantize16(x + i, p, nan)); },
      [&](size_t i) {
        const __m128i low = quantize4(x + i, p, nan), high = quantize4(x + i + 4, p, nan);
        store_half(y + i, pack_bytes(low, high, low, high, p.clamp));
      },
      [&](size_t i) { y[i] = quantize1(x[i], args, nan1); });
  return nan1 || _mm_movemask_ps(nan) != 0;
}

// Three planes to pixels of three bytes without gaps.
bool run_three_planes(const Args& args, const QuantizeVec& p) {
  __m128 nan = _mm_setzero_ps();
  const float *r = args.x, *g = r + args.x_channel_stride, *b = g + args.x_channel_stride;
  const auto wide = [&](size_t i) {
    interleave3(quantize16(r + i, p, nan), quantize16(g + i, p, nan), quantize16(b + i, p, nan),
                args.y + 3 * i);
  };
  size_t i = 0;
  for (; i + 16 <= args.pixels; i += 16) wide(i);
  if (i < args.pixels) wide(args.pixels - 16);
  return _mm_movemask_ps(nan) != 0;
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
  const QuantizeVec p = {_mm_set1_ps(args.scale), load_byte_clamp(args.clamp)};
  const ptrdiff_t channels = static_cast<ptrdiff_t>(args.channels);
  const bool rows = args.x_channel_stride == 1 || channels == 1;
  if (rows && args.x_pixel_stride == channels && args.y_pixel_stride == channels) {
    return run_row(args.x, args.y, args.pixels * args.channels, args, p);
  }
  if (!rows && args.x_pixel_stride == 1) {
    if (channels == 3 && args.y_pixel_stride == 3 && args.pixels >= 16)
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

constexpr Kernel kKernels[] = {{"quantize_f32_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::quantize
