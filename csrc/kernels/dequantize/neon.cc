// dequantize on NEON: 8 values at a time; channels first by transposing 8x8 bytes. Bound by the
// stores.
#include "kernels/simd/neon.h"

#include "kernels/dequantize/dequantize.h"

namespace lightkern::dequantize {
namespace {

struct Dequantizer {
  int8x8_t zero_point;
  float32x4_t scale;
  int32_t zero_point1;
  float scale1;

  void eight(int8x8_t bytes, float* y) const {
    const int16x8_t v = vsubl_s8(bytes, zero_point);
    vst1q_f32(y, vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), scale));
    vst1q_f32(y + 4, vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(v)), scale));
  }
  void one(Act x, float* y) const { *y = static_cast<float>(x - zero_point1) * scale1; }
};

void run_row(const Act* x, float* y, size_t n, const Dequantizer& d) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) d.eight(vld1_s8(x + i), y + i);
  if (i < n && n >= 8) return d.eight(vld1_s8(x + n - 8), y + n - 8);
  for (; i < n; ++i) d.one(x[i], y + i);
}

// 8 pixels of 8 channels to planes.
void run_square(const Act* x, ptrdiff_t stride, float* y, ptrdiff_t plane, const Dequantizer& d) {
  const Columns8 columns = transpose8(x, stride);
  for (int i = 0; i < 4; ++i) {
    d.eight(vget_low_s8(columns.pair[i]), y + 2 * i * plane);
    d.eight(vget_high_s8(columns.pair[i]), y + (2 * i + 1) * plane);
  }
}

void run_planes8(const Act* x, float* y, const Args& args, const Dequantizer& d) {
  size_t c = 0;
  for (; c + 8 <= args.channels; c += 8) {
    run_square(x + c, args.x_pixel_stride, y + static_cast<ptrdiff_t>(c) * args.y_channel_stride,
               args.y_channel_stride, d);
  }
  for (; c < args.channels; ++c) {
    float* plane = y + static_cast<ptrdiff_t>(c) * args.y_channel_stride;
    for (int i = 0; i < 8; ++i) {
      d.one(x[i * args.x_pixel_stride + static_cast<ptrdiff_t>(c)], plane + i);
    }
  }
}

void run(const Args& args) {
  const Dequantizer d = {vdup_n_s8(static_cast<int8_t>(args.zero_point)), vdupq_n_f32(args.scale),
                         args.zero_point, args.scale};
  const ptrdiff_t channels = static_cast<ptrdiff_t>(args.channels);
  const bool rows = args.y_channel_stride == 1 || channels == 1;
  if (rows && args.x_pixel_stride == channels && args.y_pixel_stride == channels) {
    return run_row(args.x, args.y, args.pixels * args.channels, d);
  }
  size_t i = 0;
  if (!rows && args.y_pixel_stride == 1) {
    for (; i + 8 <= args.pixels; i += 8) {
      run_planes8(args.x + static_cast<ptrdiff_t>(i) * args.x_pixel_stride, args.y + i, args, d);
    }
  }
  for (; i < args.pixels; ++i) {
    const Act* x = args.x + static_cast<ptrdiff_t>(i) * args.x_pixel_stride;
    float* y = args.y + static_cast<ptrdiff_t>(i) * args.y_pixel_stride;
    if (rows) {
      run_row(x, y, args.channels, d);
      continue;
    }
    for (ptrdiff_t c = 0; c < channels; ++c) d.one(x[c], y + c * args.y_channel_stride);
  }
}

constexpr Kernel kKernels[] = {{"dequantize_f32_8_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::dequantize
