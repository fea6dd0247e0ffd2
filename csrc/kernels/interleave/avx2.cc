// interleave on AVX2: two or four parts by unpacking; bound by the stores.
#include "kernels/simd/avx2.h"

#include "kernels/interleave/interleave.h"

namespace lightkern::interleave {
namespace {

inline __m128i load16(const Act* x) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x)); }
inline __m128i load_half(const Act* x) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
}
inline void store16(Act* y, __m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(y), v); }

inline void two_wide(const Act* a, const Act* b, Act* y) {
  const __m256i va = load32(a), vb = load32(b);
  const __m256i lo = _mm256_unpacklo_epi8(va, vb), hi = _mm256_unpackhi_epi8(va, vb);
  store32(y, _mm256_permute2x128_si256(lo, hi, 0x20));
  store32(y + 32, _mm256_permute2x128_si256(lo, hi, 0x31));
}

void run_two(const Args& args) {
  const size_t n = args.channels;
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* a = args.x[0] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[0];
    const Act* b = args.x[1] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[1];
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    walk_row(
        n, true, [&](size_t i) { two_wide(a + i, b + i, y + 2 * i); },
        [&](size_t i) {
          store16(y + 2 * i, _mm_unpacklo_epi8(load_half(a + i), load_half(b + i)));
        },
        [&](size_t i) {
          y[2 * i] = a[i];
          y[2 * i + 1] = b[i];
        });
  }
}

// 16 bytes of each of four parts to 64.
inline void four_wide(__m128i a, __m128i b, __m128i c, __m128i d, Act* y) {
  const __m128i ac_lo = _mm_unpacklo_epi8(a, c), ac_hi = _mm_unpackhi_epi8(a, c);
  const __m128i bd_lo = _mm_unpacklo_epi8(b, d), bd_hi = _mm_unpackhi_epi8(b, d);
  store16(y, _mm_unpacklo_epi8(ac_lo, bd_lo));
  store16(y + 16, _mm_unpackhi_epi8(ac_lo, bd_lo));
  store16(y + 32, _mm_unpacklo_epi8(ac_hi, bd_hi));
  store16(y + 48, _mm_unpackhi_epi8(ac_hi, bd_hi));
}

// 16 bytes of each of three parts to 48. Byte i of the output is byte i / 3 of part i % 3.
inline void three_wide(__m128i a, __m128i b, __m128i c, Act* y) {
  const char z = -128;
  const auto third = [&](__m128i ma, __m128i mb, __m128i mc) {
    return _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, ma), _mm_shuffle_epi8(b, mb)),
                        _mm_shuffle_epi8(c, mc));
  };
  store16(y, third(_mm_setr_epi8(0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z, z, 5),
                   _mm_setr_epi8(z, 0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z, z),
                   _mm_setr_epi8(z, z, 0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z)));
  store16(y + 16, third(_mm_setr_epi8(z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z, 10, z),
                        _mm_setr_epi8(5, z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z, 10),
                        _mm_setr_epi8(z, 5, z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z)));
  store16(y + 32, third(_mm_setr_epi8(z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15, z, z),
                        _mm_setr_epi8(z, z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15, z),
                        _mm_setr_epi8(10, z, z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15)));
}

template <size_t parts>
void run_many(const Args& args) {
  static_assert(parts == 3 || parts == 4, "");
  const size_t n = args.channels;
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x[parts];
    for (size_t k = 0; k < parts; ++k)
      x[k] = args.x[k] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[k];
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    const auto wide = [&](size_t i) {
      if constexpr (parts == 3)
        three_wide(load16(x[0] + i), load16(x[1] + i), load16(x[2] + i), y + 3 * i);
      if constexpr (parts == 4) {
        four_wide(load16(x[0] + i), load16(x[1] + i), load16(x[2] + i), load16(x[3] + i),
                  y + 4 * i);
      }
    };
    size_t i = 0;
    for (; i + 16 <= n; i += 16) wide(i);
    if (i < n && n >= 16) {
      wide(n - 16);
      continue;
    }
    for (; i < n; ++i) {
      for (size_t k = 0; k < parts; ++k) y[parts * i + k] = x[k][i];
    }
  }
}

constexpr Kernel kKernels[] = {
    {"interleave_s8_2x32_avx2", 2, run_two},
    {"interleave_s8_3x16_avx2", 3, run_many<3>},
    {"interleave_s8_4x16_avx2", 4, run_many<4>},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::interleave
