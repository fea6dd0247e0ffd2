// avgpool on SSE4.1: sums of bytes in 16 bits, which hold 257 of them, 16 channels at a time;
// larger windows add such sums in 32 bits.
#include "kernels/simd/sse41.h"

#include "kernels/avgpool/view.h"

namespace lightkern::avgpool {
namespace {

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
  return pack_bytes(scale_round(acc[0], m, clamp), scale_round(acc[1], m, clamp),
                    scale_round(acc[2], m, clamp), scale_round(acc[3], m, clamp), clamp);
}

void run(const Args& args) {
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  for_each_pixel(args, [&](const View& view, Act* y) {
    walk_row(
        args.channels, true, [&](size_t c) { store16(y + c, mean(view, c, clamp, load16)); },
        [&](size_t c) { store_half(y + c, mean(view, c, clamp, load_half)); },
        [&](size_t c) { y[c] = mean_of_one(view, c, args.clamp); });
  });
}

constexpr Kernel kKernels[] = {{"avgpool_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::avgpool
