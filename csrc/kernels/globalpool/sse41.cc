// globalpool on SSE4.1: pixels in pairs, pmaddubsw by ones adds a pair (at most 510); 128 pairs fit
// 16 bits unsigned, then they go to 32 bits.
#include "kernels/simd/sse41.h"

#include "kernels/globalpool/globalpool.h"

namespace lightkern::globalpool {
namespace {

constexpr size_t kPairs = 128;  // 128 * 510 < 2^16

template <class Load>
inline __m128i mean(const Args& args, size_t c, const ByteClamp& clamp, Load load) {
  const __m128i zero = _mm_setzero_si128(), ones = _mm_set1_epi8(1);
  const ptrdiff_t step = args.x_pixel_stride;
  // The bound on the number of pixels keeps this and the sums within int32.
  const __m128i base = _mm_set1_epi32(-static_cast<int32_t>(args.pixels) * args.zero_point);
  __m128i acc[4] = {base, base, base, base};
  const Act* x = args.x + c;
  for (size_t pixels = args.pixels; pixels > 0;) {
    __m128i lo = zero, hi = zero;
    size_t pairs = pixels / 2 < kPairs ? pixels / 2 : kPairs;
    if (pairs == 0) {  // one pixel is left
      const __m128i a = load(x);
      lo = _mm_unpacklo_epi8(a, zero);
      hi = _mm_unpackhi_epi8(a, zero);
      pixels = 0;
    }
    pixels -= 2 * pairs;
    for (; pairs > 0; --pairs, x += 2 * step) {
      const __m128i a = load(x), b = load(x + step);
      lo = _mm_add_epi16(lo, _mm_maddubs_epi16(_mm_unpacklo_epi8(a, b), ones));
      hi = _mm_add_epi16(hi, _mm_maddubs_epi16(_mm_unpackhi_epi8(a, b), ones));
    }
    acc[0] = _mm_add_epi32(acc[0], _mm_unpacklo_epi16(lo, zero));
    acc[1] = _mm_add_epi32(acc[1], _mm_unpackhi_epi16(lo, zero));
    acc[2] = _mm_add_epi32(acc[2], _mm_unpacklo_epi16(hi, zero));
    acc[3] = _mm_add_epi32(acc[3], _mm_unpackhi_epi16(hi, zero));
  }
  const __m128 m = _mm_set1_ps(args.multiplier);
  return pack_bytes(scale_round(acc[0], m, clamp), scale_round(acc[1], m, clamp),
                    scale_round(acc[2], m, clamp), scale_round(acc[3], m, clamp), clamp);
}

Act mean_of_one(const Args& args, size_t c) {
  int32_t acc = -static_cast<int32_t>(args.pixels) * args.zero_point;
  const Act* x = args.x + c;
  for (size_t p = 0; p < args.pixels; ++p, x += args.x_pixel_stride) acc += *x;
  return requantize(acc, args.multiplier, args.clamp);
}

void run(const Args& args) {
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  walk_row(
      args.channels, true, [&](size_t c) { store16(args.y + c, mean(args, c, clamp, load16)); },
      [&](size_t c) { store_half(args.y + c, mean(args, c, clamp, load_half)); },
      [&](size_t c) { args.y[c] = mean_of_one(args, c); });
}

constexpr Kernel kKernels[] = {{"globalpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::globalpool
