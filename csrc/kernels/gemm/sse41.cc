// gemm on SSE4.1: per step, row and 4 channels: pmaddubsw (u8 * s8, pairs), pmaddwd by one (pairs
// again), paddd.
//
// Ceiling: two multiplies per cycle at best, so 16 MAC/cycle; a step of 4x8 issues 16 multiplies in
// 8 cycles. Exact: the packer keeps every pair within 255 * 128 < 2^15 in both directions; the sum
// of two pairs is 32 bits wide. Where two steps stay within that bound together
// (PairRule::kCoupled), they share one pmaddwd. Activations are broadcast from where they lie, 4
// bytes per row and step.
//
// Accumulators of a few tiles go through a small buffer in L1 before they are requantized (avx2.cc
// says why).
#include "kernels/simd/sse41.h"

#include <smmintrin.h>

#include "kernels/gemm/ahead.h"
#include "kernels/gemm/merge.inc"
#include "kernels/gemm/words.inc"

namespace lightkern::gemm {
namespace {

constexpr int kLanes = 4;      // channels of one vector
constexpr size_t kChunk = 64;  // rows that go through the buffer at once
constexpr size_t kGroup =
    16;  // values that are requantized at once: 2 rows of 8 channels, or 4 rows of 4

inline __m128i broadcast4(const Act* a) {
  int32_t bytes;
  std::memcpy(&bytes, a, 4);
  return _mm_shuffle_epi32(_mm_cvtsi32_si128(bytes), 0);
}

// Adds the products of two steps, x with weights [vectors] and x2 with the next [vectors]. Where
// they are a couple, in 16 bits first.
template <int vectors, bool low_couple, bool high_couple>
[[gnu::always_inline]] inline void add_two(__m128i x, __m128i x2, const __m128i* w, __m128i* acc) {
  const __m128i ones = _mm_set1_epi16(1);
  for (int v = 0; v < vectors; ++v) {
    const __m128i pairs = _mm_maddubs_epi16(x, _mm_load_si128(w + v));
    const __m128i pairs2 = _mm_maddubs_epi16(x2, _mm_load_si128(w + vectors + v));
    if (v == 0 ? low_couple : high_couple) {
      acc[v] = _mm_add_epi32(acc[v], _mm_madd_epi16(_mm_add_epi16(pairs, pairs2), ones));
    } else {
      acc[v] = _mm_add_epi32(acc[v], _mm_madd_epi16(pairs, ones));
      acc[v] = _mm_add_epi32(acc[v], _mm_madd_epi16(pairs2, ones));
    }
  }
}

// `tiles` times `rows` rows of 4 * vectors channels, the panel's width, to sums [tiles * rows][4 *
// vectors]. A function of its own, so that the loop over steps has all registers.
template <int rows, int vectors>
[[gnu::noinline]] void accumulate(const Panel& panel, Ahead& shared, const Act* a,
                                  ptrdiff_t a_stride, size_t tiles, __m128i* sums) {
  Ahead ahead = shared;
  const __m128i ones = _mm_set1_epi16(1);
  for (; tiles > 0; --tiles, a += rows * a_stride, sums += rows * vectors) {
    __m128i acc[rows][vectors];
    for (int v = 0; v < vectors; ++v) {
      const __m128i bias = _mm_loadu_si128(reinterpret_cast<const __m128i*>(panel.bias) + v);
      for (int r = 0; r < rows; ++r) acc[r][v] = bias;
    }
    const __m128i* w = reinterpret_cast<const __m128i*>(panel.weights);
    const int32_t* offset = panel.offsets;
    // Twos of steps, which one of these adds per row to its accumulators.
    const auto add_twos = [&](uint32_t twos, auto add) {
      for (; twos > 0; --twos, offset += 2, w += 2 * vectors) {
        const Act *at = a + offset[0], *at2 = a + offset[1];
        ahead.fetch(2);
        for (int r = 0; r < rows; ++r) {
          add(broadcast4(at + r * a_stride), broadcast4(at2 + r * a_stride), w, acc[r]);
        }
      }
    };
    add_twos(panel.couples.all, add_two<vectors, true, true>);
    if (vectors == 2) {
      add_twos(panel.couples.low, add_two<vectors, true, false>);
      add_twos(panel.couples.high, add_two<vectors, false, true>);
    }
    const int32_t* const end = panel.offsets + panel.steps;
    for (; offset != end; ++offset, w += vectors) {
      const Act* at = a + *offset;
      ahead.fetch();
      __m128i weights[vectors];
      for (int v = 0; v < vectors; ++v) weights[v] = _mm_load_si128(w + v);
      for (int r = 0; r < rows; ++r) {
        const __m128i x = broadcast4(at + r * a_stride);
        for (int v = 0; v < vectors; ++v) {
          const __m128i pairs = _mm_maddubs_epi16(x, weights[v]);
          acc[r][v] = _mm_add_epi32(acc[r][v], _mm_madd_epi16(pairs, ones));
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < vectors; ++v) _mm_store_si128(sums + r * vectors + v, acc[r][v]);
    }
  }
  shared = ahead;
}

struct Pairs {
  template <int rows, int vectors>
  static void tiles(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride,
                    size_t count, __m128i* sums) {
    accumulate<rows, vectors>(panel, ahead, a, a_stride, count, sums);
  }
};

struct Words {
  using Vector = __m128i;
  static constexpr int kLanes = 4;

  template <int rows, int vectors>
  static void tiles(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride,
                    size_t count, __m128i* sums) {
    accumulate_words<Words, rows, vectors>(panel, ahead, a, a_stride, count, sums);
  }

  static inline Vector load(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static inline void store(Vector* p, Vector v) { _mm_store_si128(p, v); }
  static inline Vector broadcast4(const Act* a) { return gemm::broadcast4(a); }
  static inline void multiply_add(Vector& acc, Vector x, Vector w) {
    __m128i product = _mm_madd_epi16(x, w);
    __asm__("" : "+x"(product));  // avx2.cc says why
    acc = _mm_add_epi32(acc, product);
  }
  static inline void widen8(const Act* from, Act* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
};

// Any number of rows, in tiles of 4 and one smaller for the rest.
template <class Tiles, int vectors>
void accumulate_rows(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride, size_t m,
                     __m128i* sums) {
  const size_t tiles = m / 4, done = tiles * 4;
  if (tiles > 0) Tiles::template tiles<4, vectors>(panel, ahead, a, a_stride, tiles, sums);
  a += static_cast<ptrdiff_t>(done) * a_stride;
  sums += done * vectors;
  switch (m - done) {
    case 3:
      return Tiles::template tiles<3, vectors>(panel, ahead, a, a_stride, 1, sums);
    case 2:
      return Tiles::template tiles<2, vectors>(panel, ahead, a, a_stride, 1, sums);
    case 1:
      return Tiles::template tiles<1, vectors>(panel, ahead, a, a_stride, 1, sums);
  }
}

// sums [m][width] to bytes [m][width] without gaps, in groups of 16; m * width is rounded up to
// that.
void requantize_rows(const Panel& panel, const Clamp& limits, const __m128i* sums, size_t m,
                     Act* bytes) {
  const ByteClamp clamp = load_byte_clamp(limits);
  const __m128 m0 = _mm_loadu_ps(panel.multiplier),
               m1 = _mm_loadu_ps(panel.multiplier + panel.width - kLanes);
  for (size_t i = 0; i < m * panel.width; i += kGroup, sums += 4) {
    const __m128i packed =
        pack_bytes(scale_round(sums[0], m0, clamp), scale_round(sums[1], m1, clamp),
                   scale_round(sums[2], m0, clamp), scale_round(sums[3], m1, clamp), clamp);
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes + i), packed);
  }
}

// n bytes of m rows from one stride to another. `n` is the panel's, rarely other than 4 or 8.
void copy_rows(const Act* from, ptrdiff_t from_stride, size_t m, uint32_t n, Act* to,
               ptrdiff_t to_stride) {
  for (; m > 0; --m, from += from_stride, to += to_stride) {
    if (n == 8) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to),
                       _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    } else {
      std::memcpy(to, from, n);
    }
  }
}

// Adds the residual to bytes [m][width], up to the next multiple of kGroup.
void add_rows(const Args& args, const Act* residual, size_t m, Act* bytes) {
  const size_t width = args.panel->width;
  alignas(16) Act other[kChunk * 8];
  copy_rows(residual, args.epilogue->residual_stride, m, args.panel->n, other,
            static_cast<ptrdiff_t>(width));
  const AddVec add = load_add(args.epilogue->add);
  for (size_t i = 0; i < m * width; i += kGroup) {
    __m128i* at = reinterpret_cast<__m128i*>(bytes + i);
    *at = add_bytes(*at, _mm_load_si128(reinterpret_cast<const __m128i*>(other + i)), add);
  }
}

template <class Tiles>
void run(const Args& args) {
  const Panel& panel = *args.panel;
  const Epilogue& e = *args.epilogue;
  Ahead ahead(panel, args.m, 4);
  alignas(16) __m128i sums[kChunk * 2];
  alignas(16) Act bytes[kChunk * 8];
  for (size_t first = 0; first < args.m; first += kChunk) {
    const size_t m = args.m - first < kChunk ? args.m - first : kChunk;
    const ptrdiff_t row = static_cast<ptrdiff_t>(first);
    const Act* a = args.a + row * args.a_stride;
    panel.width == 8 ? accumulate_rows<Tiles, 2>(panel, ahead, a, args.a_stride, m, sums)
                     : accumulate_rows<Tiles, 1>(panel, ahead, a, args.a_stride, m, sums);
    requantize_rows(panel, e.clamp, sums, m, bytes);
    if (e.table) apply_table(bytes, 0, 1, m * panel.width, e.table, e.fit);
    if (args.residual) add_rows(args, args.residual + row * e.residual_stride, m, bytes);
    copy_rows(bytes, static_cast<ptrdiff_t>(panel.width), m, panel.n, args.y + row * args.y_stride,
              args.y_stride);
  }
}

constexpr Kernel kKernels[] = {
    {"gemm_s8_4x8c2w_sse41",
     {4, 8, 2, 4},
     WeightFormat::kDense,
     PairRule::kWords,
     run<Words>,
     {1, 2, true, widen_rows<Words>}},
    {"gemm_s8_4x8c4_sse41",
     {4, 8, 4, 4},
     WeightFormat::kDense,
     PairRule::kCoupled,
     run<Pairs>,
     {},
     nullptr,
     false,
     merge},
};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::gemm
