// Dot products over bytes interleaved in registers, 32 channels at a time: quads.inc says how. With
// 16 registers, weights come from memory.
#include "kernels/dwconv/quads.inc"
#include "kernels/simd/x86.h"

namespace lightkern::dwconv {
namespace {

#undef MM
#define MM(name) _mm_##name
template <bool kWholeByte>
struct Xmm {
  using Ints = __m128i;
  using Floats = __m128;
  using Half = Xmm;  // none
  static constexpr bool kKeepsWeights = false, kTails = true;
#include "kernels/dwconv/quad_vector.inc"
  int channels;

  Xmm(const Clamp& clamp, int n) : channels(n) { set_limits(clamp); }
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm_dpbusd_avx_epi32(acc, x, w); }

  template <bool kTail>
  inline Ints load_pixel(const Act* p) const {
    if (!kTail) return load16(p);
    if (channels == 8) return load_half(p);
    Act bytes[16] = {};
    std::memcpy(bytes, p, static_cast<size_t>(channels));
    return load16(bytes);
  }
  template <int kParts, bool kHigh, bool kTail>
  inline void store_pixel(const Ints* t, Act* y) const {
    const Ints bytes = to_bytes<kParts>(t);
    constexpr int kFirst = kHigh ? 8 : 0;
    if (!kTail && kParts == 4) return store16(y, bytes);
    const int left = channels - kFirst;
    if (kParts == 2 && (!kTail || left >= 8)) return store_half(y + kFirst, bytes);
    Act copy[16];
    store16(copy, bytes);
    std::memcpy(y + kFirst, copy, static_cast<size_t>(left));
  }
};

#undef MM
#define MM(name) _mm256_##name
template <bool kWholeByte>
struct Ymm {
  using Ints = __m256i;
  using Floats = __m256;
  using Half = Xmm<kWholeByte>;
  static constexpr bool kKeepsWeights = false, kTails = false;
#include "kernels/dwconv/quad_vector.inc"

  Ymm(const Clamp& clamp, int) { set_limits(clamp); }
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }

  template <bool>
  inline Ints load_pixel(const Act* p) const {
    return load_bytes(p);
  }
  template <int kParts, bool kHigh, bool>
  inline void store_pixel(const Ints* t, Act* y) const {
    const Ints bytes = to_bytes<kParts>(t);
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
