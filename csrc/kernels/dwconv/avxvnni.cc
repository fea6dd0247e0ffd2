// Dot products over bytes interleaved in registers, 32 channels at a time: quads.inc says how. With
// 16 registers, weights come from memory.
#include "kernels/dwconv/quads.inc"
#include "kernels/simd/x86.h"

namespace lightkern::dwconv {
namespace {

#undef MM
#define MM(name) _mm_##name
struct Xmm {
  using Ints = __m128i;
  using Floats = __m128;
  using Half = Xmm;  // none
  static constexpr bool kKeepsWeights = false, kTails = true;
#include "kernels/dwconv/quad_vector.inc"
  const Limits& limits;
  int channels;

  Xmm(const Limits& l, int n) : limits(l), channels(n) {}
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm_dpbusd_avx_epi32(acc, x, w); }

  template <bool kTail>
  inline Ints load_pixel(const Act* p) const {
    if (!kTail) return load16(p);
    // In two halves; one that is not whole is read together with the channels before it.
    const int first = channels < 8 ? channels - 8 : 0, second = channels < 8 ? 0 : channels - 8;
    const auto half = [](const Act* from, int missing) {
      return _mm_srl_epi64(load_half(from), _mm_cvtsi32_si128(8 * missing));
    };
    return _mm_unpacklo_epi64(half(p + first, -first), half(p + second, 8 - second));
  }
  template <int kParts, bool kHigh, bool kTail>
  inline void store_pixel(const Ints* t, Act* y) const {
    const Ints bytes = to_bytes<kParts>(t, limits, limits.whole_byte);
    constexpr int kFirst = kHigh ? 8 : 0;
    if (!kTail && kParts == 4) return store16(y, bytes);
    const __m128i high = _mm_unpackhi_epi64(bytes, bytes);
    const int left = channels - kFirst;
    if (kParts == 2)
      return kTail ? store_first(y + kFirst, bytes, left) : store_half(y + kFirst, bytes);
    store_first(y, bytes, left);
    if (left > 8) store_first(y + 8, high, left - 8);
  }
  // The first n of the low 8 bytes, or all.
  static inline void store_first(Act* y, __m128i v, int n) {
    if (n == 1) {
      *y = static_cast<Act>(_mm_cvtsi128_si32(v));
    } else {
      store_narrow(y, v, static_cast<size_t>(smaller(n, 8)));
    }
  }
};

#undef MM
#define MM(name) _mm256_##name
struct Ymm {
  using Ints = __m256i;
  using Floats = __m256;
  using Half = Xmm;
  static constexpr bool kKeepsWeights = false, kTails = false;
#include "kernels/dwconv/quad_vector.inc"

  const Limits& limits;

  Ymm(const Limits& l, int) : limits(l) {}
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }

  template <bool>
  inline Ints load_pixel(const Act* p) const {
    return load_bytes(p);
  }
  template <int kParts, bool kHigh, bool>
  inline void store_pixel(const Ints* t, Act* y) const {
    const Ints bytes = to_bytes<kParts>(t, limits, limits.whole_byte);
    if (kParts == 4) return store_bytes(y, bytes);
    constexpr int kFirst = kHigh ? 8 : 0;
    store_half(y + kFirst, _mm256_castsi256_si128(bytes));
    store_half(y + kFirst + 16, _mm256_extracti128_si256(bytes, 1));
  }
};

constexpr Kernel kKernels[] = {
    quad_kernel<Ymm, 3, 1>("dwconv_s8_3x3s1_1x1_avxvnni"),
    quad_kernel<Ymm, 3, 2>("dwconv_s8_3x3s2_1x1_avxvnni"),
    quad_kernel<Ymm, 5, 1>("dwconv_s8_5x5s1_1x1_avxvnni"),
    quad_kernel<Ymm, 5, 2>("dwconv_s8_5x5s2_1x1_avxvnni"),
};

}  // namespace

extern const Table avxvnni;
constexpr Table avxvnni = make_table(kKernels);

}  // namespace lightkern::dwconv
