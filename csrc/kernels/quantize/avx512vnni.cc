// quantize on AVX-512: three planes to pixels, 64 at once; what else there is as on AVX2.
#include "kernels/quantize/quantize.h"
#include "kernels/simd/avx2.h"

namespace lightkern::quantize {
namespace {

#include "kernels/quantize/ymm.inc"

constexpr size_t kWide = 64;  // pixels

// Where the bytes of 64 pixels come from: byte o is of pixel o / 3, plane o % 3. Packing leaves
// four values of each of four vectors in each 128 bits.
struct Order {
  alignas(64) uint8_t from[3 * kWide];  // and 64 for the second plane
  uint64_t third[3];                    // which are of the third
};
constexpr Order order_of_pixels() {
  Order order = {};
  for (size_t o = 0; o < 3 * kWide; ++o) {
    const size_t pixel = o / 3, plane = o % 3;
    const size_t at = pixel % 16 / 4 * 16 + pixel / 16 * 4 + pixel % 4;
    order.from[o] = static_cast<uint8_t>(at + (plane == 1 ? kWide : 0));
    if (plane == 2) order.third[o / kWide] |= uint64_t{1} << o % kWide;
  }
  return order;
}
constexpr Order kOrder = order_of_pixels();

// x86.inc decides by products where those are not too close to the middle between two integers.
// Here that is so where products moved up and down a little round to one integer.
struct Wide {
  __m512 inverse, up, down;
  __m512i zero_point16;
};

// What is not sure yet: bits in which the two integers of a product differ; the least word, which
// is the least of all where a product is NaN or beyond int32.
struct Doubt {
  __m512i differ, least;

  bool any() const {
    const __m512i lowest = _mm512_set1_epi16(INT16_MIN);
    return (_mm512_test_epi32_mask(differ, differ) | _mm512_cmple_epi16_mask(least, lowest)) != 0;
  }
};

// 64 values to bytes, as packing leaves them.
inline __m512i multiply_wide(const float* x, const Wide& p, Doubt& doubt) {
  const auto round = [&](int i) {
    const __m512 v = _mm512_loadu_ps(x + 16 * i);
    const __m512i up = _mm512_cvtps_epi32(_mm512_fmadd_ps(v, p.inverse, p.up));
    const __m512i down = _mm512_cvtps_epi32(_mm512_fmadd_ps(v, p.inverse, p.down));
    doubt.differ = _mm512_ternarylogic_epi32(doubt.differ, up, down, 0xF6);  // a | (b ^ c)
    return up;
  };
  const auto words = [&](int i) {
    const __m512i w = _mm512_packs_epi32(round(i), round(i + 1));
    doubt.least = _mm512_min_epi16(doubt.least, w);
    return _mm512_adds_epi16(w, p.zero_point16);
  };
  return _mm512_packus_epi16(words(0), words(2));
}

bool run_wide_planes(const Args& args) {
  const QuantizeVec exact = load_quantize(args);
  const float most = 1.0f / 16384;  // what products may be off
  const Wide p = {_mm512_broadcastss_ps(_mm256_castps256_ps128(exact.inverse)),
                  _mm512_set1_ps(most), _mm512_set1_ps(-most),
                  _mm512_set1_epi16(static_cast<int16_t>(args.clamp.zero_point))};
  const float *r = args.x, *g = r + args.x_channel_stride, *b = g + args.x_channel_stride;
  Floats nan = {};
  for (size_t first = 0; first < args.pixels; first += kWide) {
    const size_t i = first + kWide <= args.pixels ? first : args.pixels - kWide;
    Act* y = args.y + 3 * i;
    for (const float* plane : {r, g, b}) {
      for (size_t k = 0; k < kWide; k += 16)
        _mm_prefetch(reinterpret_cast<const char*>(plane + i + k + 512), _MM_HINT_T0);
    }
    Doubt doubt = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    const __m512i planes[3] = {multiply_wide(r + i, p, doubt), multiply_wide(g + i, p, doubt),
                               multiply_wide(b + i, p, doubt)};
    if (doubt.any()) {
      for (size_t k = i; k < i + kWide; k += kBytes, y += 3 * kBytes) {
        interleave_planes(divide_bytes(r + k, exact, nan), divide_bytes(g + k, exact, nan),
                          divide_bytes(b + k, exact, nan), y);
      }
      continue;
    }
    for (int part = 0; part < 3; ++part) {
      const __m512i from = _mm512_load_si512(kOrder.from + 64 * part);
      const __m512i two = _mm512_permutex2var_epi8(planes[0], from, planes[1]);
      _mm512_storeu_si512(y + 64 * part,
                          _mm512_mask_permutexvar_epi8(two, kOrder.third[part], from, planes[2]));
    }
  }
  return MM(movemask_ps)(nan) != 0;
}

bool run_wide(const Args& args) {
  const bool planes = args.channels == 3 && args.x_pixel_stride == 1 && args.y_pixel_stride == 3;
  return planes && args.pixels >= kWide ? run_wide_planes(args) : run(args);
}

constexpr Kernel kKernels[] = {{"quantize_f32_64_avx512vnni", run_wide}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::quantize
