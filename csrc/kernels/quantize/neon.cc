// quantize on NEON: 16 divisions, in order of memory; three planes (an image, NCHW) are interleaved
// by st3. Bound by the divider.
#include "kernels/simd/neon.h"

#include "kernels/quantize/quantize.h"

namespace lightkern::quantize {
namespace {

// What a call needs, and whether a NaN has been seen: fcvtns makes it 0, as it should be, and fmax
// hands it on.
struct Quantizer {
  const Args& args;
  float32x4_t scale;
  ByteClamp clamp;
  float32x4_t greatest = vdupq_n_f32(0.0f);
  bool nan = false;

  int32x4_t four(const float* x) {
    const float32x4_t v = vld1q_f32(x);
    greatest = vmaxq_f32(greatest, v);
    return vcvtnq_s32_f32(vdivq_f32(v, scale));
  }
  int8x16_t sixteen(const float* x) {
    return pack_bytes16(four(x), four(x + 4), four(x + 8), four(x + 12), clamp);
  }
  Act one(float x) {
    nan |= x != x;
    return finish(x != x ? 0.0f : x / args.scale, args.clamp);
  }
  void row(const float* x, Act* y, size_t n) {
    walk_row(
        n, true, [&](size_t i) { vst1q_s8(y + i, sixteen(x + i)); },
        [&](size_t i) { vst1_s8(y + i, pack_bytes8(four(x + i), four(x + i + 4), clamp)); },
        [&](size_t i) { y[i] = one(x[i]); });
  }
  bool saw_nan() const { return nan || vminvq_u32(vceqq_f32(greatest, greatest)) == 0; }
};

// Three planes to pixels of three bytes without gaps; at least 16 pixels.
void run_three_planes(const Args& args, Quantizer& q) {
  const float *r = args.x, *g = r + args.x_channel_stride, *b = g + args.x_channel_stride;
  const auto wide = [&](size_t i) {
    vst3q_s8(args.y + 3 * i, (int8x16x3_t{{q.sixteen(r + i), q.sixteen(g + i), q.sixteen(b + i)}}));
  };
  size_t i = 0;
  for (; i + 16 <= args.pixels; i += 16) wide(i);
  if (i < args.pixels) wide(args.pixels - 16);
}

// Any number of planes: 32 pixels of one plane at a time, spread over their pixels.
void run_planes(const Args& args, Quantizer& q) {
  for (size_t first = 0; first < args.pixels; first += 32) {
    const size_t n = args.pixels - first < 32 ? args.pixels - first : 32;
    for (size_t c = 0; c < args.channels; ++c) {
      Act row[32];
      q.row(args.x + static_cast<ptrdiff_t>(c) * args.x_channel_stride + first, row, n);
      Act* y = args.y + static_cast<ptrdiff_t>(first) * args.y_pixel_stride + c;
      for (size_t i = 0; i < n; ++i, y += args.y_pixel_stride) *y = row[i];
    }
  }
}

bool run(const Args& args) {
  Quantizer q{args, vdupq_n_f32(args.scale), load_byte_clamp(args.clamp)};
  const ptrdiff_t channels = static_cast<ptrdiff_t>(args.channels);
  const bool rows = args.x_channel_stride == 1 || channels == 1;
  if (rows && args.x_pixel_stride == channels && args.y_pixel_stride == channels) {
    q.row(args.x, args.y, args.pixels * args.channels);
  } else if (!rows && args.x_pixel_stride == 1) {
    const bool image = channels == 3 && args.y_pixel_stride == 3 && args.pixels >= 16;
    image ? run_three_planes(args, q) : run_planes(args, q);
  } else {
    for (size_t i = 0; i < args.pixels; ++i) {
      const float* x = args.x + static_cast<ptrdiff_t>(i) * args.x_pixel_stride;
      Act* y = args.y + static_cast<ptrdiff_t>(i) * args.y_pixel_stride;
      if (rows) {
        q.row(x, y, args.channels);
        continue;
      }
      for (ptrdiff_t c = 0; c < channels; ++c) y[c] = q.one(x[c * args.x_channel_stride]);
    }
  }
  return q.saw_nan();
}

constexpr Kernel kKernels[] = {{"quantize_f32_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::quantize
