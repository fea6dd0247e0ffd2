// avgpool on SSE4.1: sums of bytes in 16 bits, which hold 257 of them, 16 channels at a time;
// larger windows add such sums in 32 bits.
#include "kernels/simd/sse41.h"

#include "kernels/avgpool/avgpool.h"

namespace lightkern::avgpool {
namespace {

// The inputs that one output sees, and what becomes of their sum.
struct View {
  const Act* x;
  ptrdiff_t row, col;  // bytes between taps
  int rows, cols;
  int32_t base;  // -(number of inputs) * zero point
  float multiplier;
};

// Adds sums of 16 bits to four vectors of 32, in the order of pack_bytes.
inline void widen_sums(const __m128i sums[2], __m128i acc[4]) {
  const __m128i zero = _mm_setzero_si128();
  acc[0] = _mm_add_epi32(acc[0], _mm_unpacklo_epi16(sums[0], zero));
  acc[1] = _mm_add_epi32(acc[1], _mm_unpackhi_epi16(sums[0], zero));
  acc[2] = _mm_add_epi32(acc[2], _mm_unpacklo_epi16(sums[1], zero));
  acc[3] = _mm_add_epi32(acc[3], _mm_unpackhi_epi16(sums[1], zero));
}

template <class Load>
inline __m128i mean(const View& v, size_t c, const ByteClamp& clamp, Load load) {
  const __m128i zero = _mm_setzero_si128(), base = _mm_set1_epi32(v.base);
  __m128i acc[4] = {base, base, base, base}, sums[2] = {zero, zero};
  int room = 257;  // bytes that the 16-bit sums can still take
  const Act* row = v.x + c;
  for (int i = 0; i < v.rows; ++i, row += v.row) {
    const Act* x = row;
    for (int j = 0; j < v.cols; ++j, x += v.col) {
      if (room == 0) {
        widen_sums(sums, acc);
        sums[0] = sums[1] = zero;
        room = 257;
      }
      const __m128i bytes = load(x);
      sums[0] = _mm_add_epi16(sums[0], _mm_unpacklo_epi8(bytes, zero));
      sums[1] = _mm_add_epi16(sums[1], _mm_unpackhi_epi8(bytes, zero));
      --room;
    }
  }
  widen_sums(sums, acc);
  const __m128 m = _mm_set1_ps(v.multiplier);
  return pack_bytes(scale_round4(acc[0], m, clamp), scale_round4(acc[1], m, clamp),
                    scale_round4(acc[2], m, clamp), scale_round4(acc[3], m, clamp), clamp);
}

inline Act mean_of_one(const View& v, size_t c, const Clamp& clamp) {
  int32_t acc = v.base;
  for (int i = 0; i < v.rows; ++i) {
    for (int j = 0; j < v.cols; ++j) acc += v.x[i * v.row + j * v.col + static_cast<ptrdiff_t>(c)];
  }
  return requantize(acc, v.multiplier, clamp);
}

void run(const Args& args) {
  const Window& win = args.window;
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  Act* y = args.y;
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const int y0 = row * win.stride_h - win.top;
    const Taps ky = taps_inside(y0, win.kernel_h, 1, win.h);
    for (int col = 0; col < args.out_w; ++col, y += args.y_pixel_stride) {
      const int x0 = col * win.stride_w - win.left;
      const Taps kx = taps_inside(x0, win.kernel_w, 1, win.w);
      const int rows = ky.last - ky.first, cols = kx.last - kx.first;
      const int count = args.include_padding ? win.kernel_h * win.kernel_w : rows * cols;
      const ptrdiff_t first = static_cast<ptrdiff_t>(y0 + ky.first) * win.w + x0 + kx.first;
      const View view = {args.x + first * args.x_pixel_stride,
                         win.w * args.x_pixel_stride,
                         args.x_pixel_stride,
                         rows,
                         cols,
                         -rows * cols * args.zero_point,
                         args.scale / static_cast<float>(count)};
      walk_row(
          args.channels, true, [&](size_t c) { store16(y + c, mean(view, c, clamp, load16)); },
          [&](size_t c) { store_half(y + c, mean(view, c, clamp, load_half)); },
          [&](size_t c) { y[c] = mean_of_one(view, c, args.clamp); });
    }
  }
}

constexpr Kernel kKernels[] = {{"avgpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::avgpool
