// vpmaddwd + vpaddd, eight channels per register: slide.h and rows.h say how.
// Ceiling of the two: 29 MAC/cycle on Zen 3, of which 3x3 can use 3/4 and 5x5 5/6 (the zero
// weights). Widening and requantization come on top: of 74 vector operations for 32 results of a
// 3x3 window 8 and 18.
#include "kernels/simd/avx2.h"

#include <immintrin.h>

#include "kernels/dwconv/slide.h"

namespace lightkern::dwconv {
namespace {

// kWholeByte: the output takes all values of a byte, with the zero point 0.
template <bool kWholeByte>
struct Avx2 {
  using Vector = __m256i;
  using Clamp = ByteClamp;
  static constexpr int kBlock = 8;

  static inline Vector load(const Vector* p) { return _mm256_loadu_si256(p); }
  static inline Vector broadcast(int16_t v) { return _mm256_set1_epi16(v); }

  // The empty statement hides where the sum comes from: GCC 12 otherwise regroups the sums,
  // computes all products first and spills them, at half the speed.
  static inline void multiply_add(Vector& acc, Vector pixel, Vector weight) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pixel, weight));
    __asm__("" : "+x"(acc));
  }

  // With weights from memory. GCC 12 otherwise loads those with two uses first, and spills them.
  static inline void multiply_add_from(Vector& acc, Vector pixel, const Vector* weight) {
    Vector product;
    __asm__("vpmaddwd %2, %1, %0" : "=x"(product) : "x"(pixel), "m"(*weight));
    acc = _mm256_add_epi32(acc, product);
    __asm__("" : "+x"(acc));
  }

  // Bytes of two rows, interleaved, both halves alike, to 16-bit pairs. One step; vpmovzxbw takes
  // two on Zen.
  static inline Vector widen(Vector interleaved) {
    return _mm256_shuffle_epi8(
        interleaved, _mm256_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 4, -1, 5, -1, 6, -1, 7, -1, 8, -1,
                                      9, -1, 10, -1, 11, -1, 12, -1, 13, -1, 14, -1, 15, -1));
  }
  static inline Vector load16_twice(const Act* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static inline Vector load8_twice(const Act* p) {
    return _mm256_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  // The last n < 8 channels of c: read together with those before them where there are enough. What
  // tails need must be inlined: a call would put all sums on the stack.
  [[gnu::always_inline]] static inline Vector load_tail_twice(const Act* p, int n, int c) {
    if (c >= kBlock)
      return _mm256_srl_epi64(load8_twice(p + n - kBlock), _mm_cvtsi32_si128(8 * (kBlock - n)));
    uint64_t bytes = 0;
    for (int i = n; i-- > 0;) bytes = bytes << 8 | p[i];
    return _mm256_set1_epi64x(static_cast<int64_t>(bytes));
  }

  static inline void widen_couple(const Act* a, const Act* b, Vector* first, Vector* second) {
    const Vector va = load16_twice(a), vb = load16_twice(b);
    *first = widen(_mm256_unpacklo_epi8(va, vb));
    *second = widen(_mm256_unpackhi_epi8(va, vb));
  }
  static inline void widen_whole(const Act* a, const Act* b, Vector* to) {
    *to = widen(_mm256_unpacklo_epi8(load8_twice(a), load8_twice(b)));
  }
  [[gnu::always_inline]] static inline void widen_tail(const Act* a, const Act* b, int n, int c,
                                                       Vector* to) {
    *to = widen(_mm256_unpacklo_epi8(load_tail_twice(a, n, c), load_tail_twice(b, n, c)));
  }

  static inline void store_half(Act* y, __m128i bytes, bool upper) {
    if (upper) {
      _mm_storeh_pi(reinterpret_cast<__m64*>(y), _mm_castsi128_ps(bytes));
    } else {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), bytes);
    }
  }

  [[gnu::always_inline]] static inline void store_tail(Act* y, uint64_t bytes, int n) {
    if (n & 4) {
      std::memcpy(y, &bytes, 4);
      bytes >>= 32;
      y += 4;
    }
    if (n & 2) {
      std::memcpy(y, &bytes, 2);
      bytes >>= 16;
      y += 2;
    }
    if (n & 1) *y = static_cast<Act>(bytes);
  }

  static inline Vector to_bytes(Vector a, Vector b, Vector c, Vector d, const Clamp& clamp) {
    if (kWholeByte) return _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_min_epu8(pack_bytes(a, b, c, d, clamp), clamp.hi8);
  }

  // Requantizes and stores n pixels: of a couple n <= 2, acc [2][n]; else n <= 4, acc [n]. `m`:
  // multipliers.
  template <Kind kind, int n>
  static inline void store(const Vector* acc, const Vector* m, const Vector* m_next,
                           const Clamp& clamp, Act* y, ptrdiff_t stride, int tail) {
    const auto at = [](int i) { return i < n ? i : 0; };
    const __m256 ma = _mm256_castsi256_ps(load(m)),
                 mb = kind == kCouple ? _mm256_castsi256_ps(load(m_next)) : ma;
    const Vector v0 = scale_round_proved(acc[0], ma);
    const Vector v1 = scale_round_proved(acc[kind == kCouple ? n : at(1)], mb);
    const Vector v2 = scale_round_proved(acc[kind == kCouple ? at(1) : at(2)], ma);
    const Vector v3 = scale_round_proved(acc[kind == kCouple ? n + at(1) : at(3)], mb);
    const Vector bytes = to_bytes(v0, v1, v2, v3, clamp);
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    const __m128i p01 = _mm_unpacklo_epi32(low, high), p23 = _mm_unpackhi_epi32(low, high);
    if (kind == kCouple) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), p01);
      if (n > 1) _mm_storeu_si128(reinterpret_cast<__m128i*>(y + stride), p23);
    } else if (kind == kWhole) {
      store_half(y, p01, false);
      if (n > 1) store_half(y + stride, p01, true);
      if (n > 2) store_half(y + 2 * stride, p23, false);
      if (n > 3) store_half(y + 3 * stride, p23, true);
    } else {
      alignas(16) uint64_t pixels[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(pixels), p01);
      _mm_store_si128(reinterpret_cast<__m128i*>(pixels + 2), p23);
      for (int i = 0; i < n; ++i, y += stride) {
        store_tail(y, pixels[i], tail);
      }
    }
  }
};

constexpr Kernel kKernels[] = {
    slide_kernel<Avx2, 1>("dwconv_s8_3x3s1_2x1_avx2"),
    slide_kernel<Avx2, 2>("dwconv_s8_3x3s2_2x1_avx2"),
    square_kernel<Avx2<false>, 5, 1>("dwconv_s8_5x5s1_2x4_avx2"),
    square_kernel<Avx2<false>, 5, 2>("dwconv_s8_5x5s2_2x4_avx2"),
    square_kernel<Avx2<false>, 7, 1>("dwconv_s8_7x7s1_2x4_avx2"),
    any_kernel<Avx2<false>>("dwconv_s8_1x8_avx2"),
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::dwconv
