// Dot products over bytes interleaved in registers, 64 channels at a time: quad_tile.inc says how.
// The last channels of a tensor are masked; masked loads are slower on Zen 4, masked stores are
// not.
#include "kernels/dwconv/quads.inc"
#include "kernels/simd/x86.h"

namespace lightkern::dwconv {
namespace {

#undef MM
#define MM(name) _mm256_##name
// 16 channels of two rows.
struct Lanes16 {
  using Ints = __m256i;
  using Floats = __m256;
  using Mask = __mmask16;
  using Half = Lanes16;  // none
  static constexpr int kChannels = 16, kRows = 2;
#include "kernels/dwconv/quad_vector.inc"
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm256_dpbusd_epi32(acc, x, w); }
  static inline Ints load(const Act* upper, const Act* lower) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(upper)), load16(lower), 1);
  }
  static inline Ints load(const Act* upper, const Act* lower, Mask valid) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_maskz_loadu_epi8(valid, upper)),
                                   _mm_maskz_loadu_epi8(valid, lower), 1);
  }
  static inline void store(Act* upper, Act* lower, Ints v, Mask valid) {
    _mm_mask_storeu_epi8(upper, valid, _mm256_castsi256_si128(v));
    _mm_mask_storeu_epi8(lower, valid, _mm256_extracti128_si256(v, 1));
  }
};

struct Lanes32 {
  using Ints = __m256i;
  using Floats = __m256;
  using Mask = __mmask32;
  using Half = Lanes16;
  static constexpr int kChannels = 32, kRows = 1;
#include "kernels/dwconv/quad_vector.inc"
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm256_dpbusd_epi32(acc, x, w); }
  static inline Ints load(const Act* p, const Act*) { return load_bytes(p); }
  static inline Ints load(const Act* p, const Act*, Mask valid) {
    return _mm256_maskz_loadu_epi8(valid, p);
  }
  static inline void store(Act* y, Act*, Ints v, Mask valid) {
    _mm256_mask_storeu_epi8(y, valid, v);
  }
};

#undef MM
#define MM(name) _mm512_##name
struct Lanes64 {
  using Ints = __m512i;
  using Floats = __m512;
  using Mask = __mmask64;
  using Half = Lanes32;
  static constexpr int kChannels = 64, kRows = 1;
#include "kernels/dwconv/quad_vector.inc"
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm512_dpbusd_epi32(acc, x, w); }
  static inline Ints load(const Act* p, const Act*) { return _mm512_loadu_si512(p); }
  static inline Ints load(const Act* p, const Act*, Mask valid) {
    return _mm512_maskz_loadu_epi8(valid, p);
  }
  static inline void store(Act* y, Act*, Ints v, Mask valid) {
    _mm512_mask_storeu_epi8(y, valid, v);
  }
};

// The first so many channels.
template <class Lanes>
struct Masked : Lanes {
  using typename Lanes::Ints;
  using Mask = typename Lanes::Mask;
  using Half = Masked<typename Lanes::Half>;
  static constexpr bool kKeepsWeights = true;  // in 32 registers
  static constexpr bool kTails = true;
  static constexpr int kLeast = 1;
  const typename Lanes::Limits& limits;
  Mask valid;
  bool whole_byte;

  Masked(const typename Lanes::Limits& l, int channels)
      : limits(l),
        valid(static_cast<Mask>(~uint64_t{0} >> (64 - channels))),
        whole_byte(l.whole_byte) {}
  template <bool kTail>
  [[gnu::always_inline]] inline Ints load_pixel(const Act* upper, const Act* lower) const {
    return kTail ? Lanes::load(upper, lower, valid) : Lanes::load(upper, lower);
  }
  template <int kParts, bool kHigh, bool kTail>
  [[gnu::always_inline]] inline void store_pixel(const Ints* t, Act* y, Act* lower) const {
    constexpr uint64_t kHalf = kHigh ? 0xff00ff00ff00ff00 : 0x00ff00ff00ff00ff;
    const Mask mask = kParts == 4 ? valid : static_cast<Mask>(valid & kHalf);
    Lanes::store(y, lower, Lanes::template to_bytes<kParts>(t, limits, whole_byte), mask);
  }
};

using Zmm = Masked<Lanes64>;

constexpr Kernel kKernels[] = {
    quad_kernel<Zmm, 3, 1>("dwconv_s8_3x3s1_1x1_avx512vnni"),
    quad_kernel<Zmm, 3, 2>("dwconv_s8_3x3s2_1x1_avx512vnni"),
    quad_kernel<Zmm, 5, 1>("dwconv_s8_5x5s1_1x1_avx512vnni"),
    quad_kernel<Zmm, 5, 2>("dwconv_s8_5x5s2_1x1_avx512vnni"),
};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::dwconv
