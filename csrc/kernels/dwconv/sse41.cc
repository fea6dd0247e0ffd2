// pmaddwd + paddd, four channels per register: slide.h and rows.h say how. Half the width of
// avx2.cc, and a little less than half the speed, since the legacy encoding overwrites an operand
// of every product.
#include "kernels/simd/sse41.h"

#include <smmintrin.h>

#include "kernels/dwconv/slide.h"

namespace lightkern::dwconv {
namespace {

// kWholeByte: the output takes all values of a byte, with the zero point 0.
template <bool kWholeByte>
struct Sse41 {
  using Vector = __m128i;
  using Clamp = ByteClamp;
  static constexpr int kBlock = 4;

  static inline Vector load(const Vector* p) { return _mm_loadu_si128(p); }
  static inline Vector broadcast(int16_t v) { return _mm_set1_epi16(v); }

  // The empty statement: see avx2.cc.
  static inline void multiply_add(Vector& acc, Vector pixel, Vector weight) {
    acc = _mm_add_epi32(acc, _mm_madd_epi16(pixel, weight));
    __asm__("" : "+x"(acc));
  }

  // With weights from memory, which are aligned.
  static inline void multiply_add_from(Vector& acc, Vector pixel, const Vector* weight) {
    multiply_add(acc, pixel, _mm_load_si128(weight));
  }

  static inline Vector load4(const Act* p, int n = 4) {
    uint32_t bytes = 0;
    if (n == 4) {
      std::memcpy(&bytes, p, 4);
    } else {
      for (int i = n; i-- > 0;) bytes = bytes << 8 | p[i];
    }
    return _mm_cvtsi32_si128(static_cast<int32_t>(bytes));
  }

  static inline void widen_couple(const Act* a, const Act* b, Vector* first, Vector* second) {
    const Vector va = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a));
    const Vector vb = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b));
    const Vector both = _mm_unpacklo_epi8(va, vb);
    *first = _mm_cvtepu8_epi16(both);
    *second = _mm_unpackhi_epi8(both, _mm_setzero_si128());
  }
  static inline void widen_whole(const Act* a, const Act* b, Vector* to) {
    *to = _mm_cvtepu8_epi16(_mm_unpacklo_epi8(load4(a), load4(b)));
  }
  [[gnu::always_inline]] static inline void widen_tail(const Act* a, const Act* b, int n, int,
                                                       Vector* to) {
    *to = _mm_cvtepu8_epi16(_mm_unpacklo_epi8(load4(a, n), load4(b, n)));
  }

  static inline void store_half(Act* y, Vector bytes, bool upper) {
    if (upper) {
      _mm_storeh_pi(reinterpret_cast<__m64*>(y), _mm_castsi128_ps(bytes));
    } else {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), bytes);
    }
  }
  static inline void store_quarter(Act* y, int32_t bytes) { std::memcpy(y, &bytes, 4); }

  [[gnu::always_inline]] static inline void store_tail(Act* y, uint32_t bytes, int n) {
    if (n & 2) {
      std::memcpy(y, &bytes, 2);
      bytes >>= 16;
      y += 2;
    }
    if (n & 1) *y = static_cast<Act>(bytes);
  }

  static inline Vector to_bytes(Vector a, Vector b, Vector c, Vector d, const Clamp& clamp) {
    if (kWholeByte) return _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
    return _mm_min_epu8(pack_bytes(a, b, c, d, clamp), clamp.hi8);
  }

  // Requantizes and stores n pixels: of a couple n <= 2, acc [2][n]; else n <= 4, acc [n]. `m`:
  // multipliers.
  template <Kind kind, int n>
  static inline void store(const Vector* acc, const Vector* m, const Vector* m_next,
                           const Clamp& clamp, Act* y, ptrdiff_t stride, int tail) {
    const auto at = [](int i) { return i < n ? i : 0; };
    const __m128 ma = _mm_castsi128_ps(load(m)),
                 mb = kind == kCouple ? _mm_castsi128_ps(load(m_next)) : ma;
    const Vector v0 = scale_round_proved(acc[0], ma);
    const Vector v1 = scale_round_proved(acc[kind == kCouple ? n : at(1)], mb);
    const Vector v2 = scale_round_proved(acc[kind == kCouple ? at(1) : at(2)], ma);
    const Vector v3 = scale_round_proved(acc[kind == kCouple ? n + at(1) : at(3)], mb);
    const Vector bytes = to_bytes(v0, v1, v2, v3, clamp);
    if (kind == kCouple) {
      store_half(y, bytes, false);
      if (n > 1) store_half(y + stride, bytes, true);
    } else if (kind == kWhole) {
      store_quarter(y, _mm_cvtsi128_si32(bytes));
      if (n > 1) store_quarter(y + stride, _mm_extract_epi32(bytes, 1));
      if (n > 2) store_quarter(y + 2 * stride, _mm_extract_epi32(bytes, 2));
      if (n > 3) store_quarter(y + 3 * stride, _mm_extract_epi32(bytes, 3));
    } else {
      alignas(16) uint32_t pixels[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(pixels), bytes);
      for (int i = 0; i < n; ++i, y += stride) {
        store_tail(y, pixels[i], tail);
      }
    }
  }
};

constexpr Kernel kKernels[] = {
    slide_kernel<Sse41, 1>("dwconv_s8_3x3s1_2x1_sse41"),
    slide_kernel<Sse41, 2>("dwconv_s8_3x3s2_2x1_sse41"),
    square_kernel<Sse41<false>, 5, 1>("dwconv_s8_5x5s1_2x4_sse41"),
    square_kernel<Sse41<false>, 5, 2>("dwconv_s8_5x5s2_2x4_sse41"),
    square_kernel<Sse41<false>, 7, 1>("dwconv_s8_7x7s1_2x4_sse41"),
    any_kernel<Sse41<false>>("dwconv_s8_1x8_sse41"),
};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::dwconv
