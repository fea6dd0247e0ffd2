// dequantize on SSE4.1: 8 values at a time; channels first by transposing 8x8 bytes. Bound by the
// stores.
#include "kernels/simd/sse41.h"

#include "kernels/dequantize/dequantize.h"

namespace lightkern::dequantize {
namespace {

struct Dequantize {
  __m128i zero_point;
  __m128 scale;
  int32_t zero_point1;
  float scale1;

  void four(__m128i bytes, float* y) const {
    const __m128i v = _mm_sub_epi32(_mm_cvtepu8_epi32(bytes), zero_point);
    _mm_storeu_ps(y, _mm_mul_ps(_mm_cvtepi32_ps(v), scale));
  }
  void eight(__m128i bytes, float* y) const {
    four(bytes, y);
    four(_mm_srli_si128(bytes, 4), y + 4);
  }
  void one(Act x, float* y) const { *y = static_cast<float>(x - zero_point1) * scale1; }
};

void run_row(const Act* x, float* y, size_t n, const Dequantize& p) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) p.eight(load_half(x + i), y + i);
  if (i < n && n >= 8) return p.eight(load_half(x + n - 8), y + n - 8);
  for (; i < n; ++i) p.one(x[i], y + i);
}

// 8 pixels, each readable 8 bytes wide, to planes. The last 8 channels overlap those before.
void run_planes8(const Act* x, float* y, const Args& args, const Dequantize& p) {
  const size_t width = args.channels < 8 ? args.channels : 8;
  for (size_t i = 0; i < args.channels; i += 8) {
    const size_t c = i + width <= args.channels ? i : args.channels - width;
    const Columns8 columns = transpose8(x + c, args.x_pixel_stride);
    float* plane = y + static_cast<ptrdiff_t>(c) * args.y_channel_stride;
    for (size_t k = 0; k < width; ++k, plane += args.y_channel_stride) {
      const __m128i pair = columns.pair[k / 2];
      p.eight(k % 2 ? _mm_srli_si128(pair, 8) : pair, plane);
    }
  }
}

void run(const Args& args) {
  const Dequantize p = {_mm_set1_epi32(args.zero_point), _mm_set1_ps(args.scale), args.zero_point,
                        args.scale};
  const ptrdiff_t channels = static_cast<ptrdiff_t>(args.channels);
  const bool rows = args.y_channel_stride == 1 || channels == 1;
  if (rows && args.x_pixel_stride == channels && args.y_pixel_stride == channels) {
    return run_row(args.x, args.y, args.pixels * args.channels, p);
  }
  size_t i = 0;
  if (!rows && args.y_pixel_stride == 1) {
    const size_t wide = rows_readable_wide(args.pixels, args.channels, args.x_pixel_stride);
    for (; i + 8 <= wide; i += 8) {
      run_planes8(args.x + static_cast<ptrdiff_t>(i) * args.x_pixel_stride, args.y + i, args, p);
    }
  }
  for (; i < args.pixels; ++i) {
    const Act* x = args.x + static_cast<ptrdiff_t>(i) * args.x_pixel_stride;
    float* y = args.y + static_cast<ptrdiff_t>(i) * args.y_pixel_stride;
    if (rows) {
      run_row(x, y, args.channels, p);
      continue;
    }
    for (ptrdiff_t c = 0; c < channels; ++c) p.one(x[c], y + c * args.y_channel_stride);
  }
}

constexpr Kernel kKernels[] = {{"dequantize_f32_8_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::dequantize
