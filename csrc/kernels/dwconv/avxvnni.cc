// Dot products over bytes interleaved in registers, 32 channels at a time: quad_tile.inc says how.
// With 16 registers, weights come from memory.
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
  using Half = Lanes16;  // none
  static constexpr int kChannels = 16, kRows = 2;
  static constexpr bool kKeepsWeights = false, kTails = true;
#include "kernels/dwconv/quad_vector.inc"
  const Limits& limits;
  int channels;
  Ints order;  // moves the last bytes of a lane to its begin

  Lanes16(const Limits& l, int n) : limits(l), channels(n) {
    order = _mm256_add_epi8(_mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                             0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                            _mm256_set1_epi8(static_cast<char>(kChannels - n)));
  }
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }

  static inline Ints load_rows(const Act* upper, const Act* lower) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(upper)), load16(lower), 1);
  }
  template <bool kTail>
  [[gnu::always_inline]] inline Ints load_pixel(const Act* upper, const Act* lower) const {
    if (!kTail) return load_rows(upper, lower);
    const ptrdiff_t back = kChannels - channels;  // there are so many channels before them
    return _mm256_shuffle_epi8(load_rows(upper - back, lower - back), order);
  }

  // The first n of the low 8 bytes, or all.
  [[gnu::always_inline]] static inline void store_first(Act* y, __m128i v, int n) {
    if (n == 1) {
      *y = static_cast<Act>(_mm_cvtsi128_si32(v));
    } else {
      store_narrow(y, v, static_cast<size_t>(smaller(n, 8)));
    }
  }
  template <int kParts, bool kHigh, bool kTail>
  [[gnu::always_inline]] inline void store_row(Act* y, __m128i bytes) const {
    constexpr int kFirst = kHigh ? 8 : 0;
    if (kParts == 4 && !kTail) return store16(y, bytes);
    if (!kTail) return store_half(y + kFirst, bytes);
    store_first(y + kFirst, bytes, channels - kFirst);
    if (kParts == 4 && channels > 8)
      store_first(y + 8, _mm_unpackhi_epi64(bytes, bytes), channels - 8);
  }
  template <int kParts, bool kHigh, bool kTail>
  [[gnu::always_inline]] inline void store_pixel(const Ints* t, Act* upper, Act* lower) const {
    const Ints bytes = to_bytes<kParts>(t, limits, limits.whole_byte);
    store_row<kParts, kHigh, kTail>(upper, _mm256_castsi256_si128(bytes));
    store_row<kParts, kHigh, kTail>(lower, _mm256_extracti128_si256(bytes, 1));
  }
};

struct Lanes32 {
  using Ints = __m256i;
  using Floats = __m256;
  using Half = Lanes16;
  static constexpr int kChannels = 32, kRows = 1;
  static constexpr bool kKeepsWeights = false, kTails = false;
  static constexpr int kLeast = 16;  // channels of a tensor
#include "kernels/dwconv/quad_vector.inc"

  const Limits& limits;

  Lanes32(const Limits& l, int) : limits(l) {}
  static inline Ints dot(Ints acc, Ints x, Ints w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }

  template <bool>
  [[gnu::always_inline]] static inline Ints load_pixel(const Act* p, const Act*) {
    return load_bytes(p);
  }
  template <int kParts, bool kHigh, bool>
  [[gnu::always_inline]] inline void store_pixel(const Ints* t, Act* y, Act*) const {
    const Ints bytes = to_bytes<kParts>(t, limits, limits.whole_byte);
    if (kParts == 4) return store_bytes(y, bytes);
    constexpr int kFirst = kHigh ? 8 : 0;
    store_half(y + kFirst, _mm256_castsi256_si128(bytes));
    store_half(y + kFirst + 16, _mm256_extracti128_si256(bytes, 1));
  }
};

constexpr Kernel kKernels[] = {
    quad_kernel<Lanes32, 3, 1>("dwconv_s8_3x3s1_1x1_avxvnni"),
    quad_kernel<Lanes32, 3, 2>("dwconv_s8_3x3s2_1x1_avxvnni"),
    quad_kernel<Lanes32, 5, 1>("dwconv_s8_5x5s1_1x1_avxvnni"),
    quad_kernel<Lanes32, 5, 2>("dwconv_s8_5x5s2_1x1_avxvnni"),
};

}  // namespace

extern const Table avxvnni;
constexpr Table avxvnni = make_table(kKernels);

}  // namespace lightkern::dwconv
