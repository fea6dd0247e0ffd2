// avgpool on AVX2: sums of bytes in 16 bits, which hold 257 of them, 32 channels at a time; larger
// windows add such sums in 32 bits.
#include "kernels/simd/avx2.h"

#include "kernels/avgpool/view.h"

namespace lightkern::avgpool {
namespace {

// Adds sums of 16 bits to four vectors of 32, in the order of pack_bytes.
inline void widen_sums(const __m256i sums[2], __m256i acc[4]) {
  const __m256i zero = _mm256_setzero_si256();
  acc[0] = _mm256_add_epi32(acc[0], _mm256_unpacklo_epi16(sums[0], zero));
  acc[1] = _mm256_add_epi32(acc[1], _mm256_unpackhi_epi16(sums[0], zero));
  acc[2] = _mm256_add_epi32(acc[2], _mm256_unpacklo_epi16(sums[1], zero));
  acc[3] = _mm256_add_epi32(acc[3], _mm256_unpackhi_epi16(sums[1], zero));
}

template <class Load>
inline __m256i mean(const View& v, size_t c, const ByteClamp& clamp, Load load) {
  const __m256i zero = _mm256_setzero_si256(), base = _mm256_set1_epi32(v.base);
  __m256i acc[4] = {base, base, base, base}, sums[2] = {zero, zero};
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
      const __m256i bytes = load(x);
      sums[0] = _mm256_add_epi16(sums[0], _mm256_unpacklo_epi8(bytes, zero));
      sums[1] = _mm256_add_epi16(sums[1], _mm256_unpackhi_epi8(bytes, zero));
      --room;
    }
  }
  widen_sums(sums, acc);
  const __m256 m = _mm256_set1_ps(v.multiplier);
  return pack_bytes(scale_round(acc[0], m, clamp), scale_round(acc[1], m, clamp),
                    scale_round(acc[2], m, clamp), scale_round(acc[3], m, clamp), clamp);
}

void run(const Args& args) {
  const ByteClamp clamp = load_byte_clamp(args.clamp);
  for_each_pixel(args, [&](const View& view, Act* y) {
    walk_row(
        args.channels, true,
        [&](size_t c) { store_bytes(y + c, mean(view, c, clamp, load_bytes)); },
        [&](size_t c) { store8(y + c, mean(view, c, clamp, load8)); },
        [&](size_t c) { y[c] = mean_of_one(view, c, args.clamp); });
  });
}

constexpr Kernel kKernels[] = {{"avgpool_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::avgpool
