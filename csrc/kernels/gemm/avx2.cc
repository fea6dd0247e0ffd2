// gemm on AVX2: per step, row and 8 channels: vpmaddubsw (u8 * s8, pairs), vpmaddwd by one (pairs
// again), vpaddd.
//
// Ceiling: two multiplies per cycle at best, so 32 MAC/cycle; a step of 4x16 issues 16 multiplies,
// 8 adds and 7 loads in 8 cycles. Exact: the packer keeps every pair within 255 * 128 < 2^15 in
// both directions; the sum of two pairs is 32 bits wide. Where the packer found two steps whose
// pairs stay within that bound together (PairRule::kCoupled), they share one vpmaddwd: 3 multiplies
// instead of 4. Activations are broadcast from where they lie, 4 bytes per row and step.
#include "kernels/simd/avx2.h"

#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/merge.inc"
#include "kernels/gemm/sums.inc"
#include "kernels/gemm/words.inc"

namespace lightkern::gemm {
namespace {

// Weights of two steps, [vectors] and the next [vectors]. Of one vector each they are kept in
// registers, since loads are otherwise what binds; GCC would read them again for every row.
template <int vectors>
struct TwoSteps {
  const __m256i* w;
  inline __m256i operator()(int step, int v) const {
    return _mm256_load_si256(w + step * vectors + v);
  }
};
template <>
struct TwoSteps<1> {
  __m256i kept[2];
  inline explicit TwoSteps(const __m256i* w)
      : kept{_mm256_load_si256(w), _mm256_load_si256(w + 1)} {
    __asm__("" : "+x"(kept[0]), "+x"(kept[1]));
  }
  inline __m256i operator()(int step, int) const { return kept[step]; }
};

// Adds the products of two steps, of which x and x2 are the inputs. Where they are a couple, in 16
// bits first.
template <int vectors, bool low_couple, bool high_couple>
[[gnu::always_inline]] inline void add_two(__m256i x, __m256i x2, const TwoSteps<vectors>& w,
                                           __m256i* acc) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int v = 0; v < vectors; ++v) {
    const __m256i pairs = _mm256_maddubs_epi16(x, w(0, v));
    const __m256i pairs2 = _mm256_maddubs_epi16(x2, w(1, v));
    if (v == 0 ? low_couple : high_couple) {
      acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(_mm256_add_epi16(pairs, pairs2), ones));
    } else {
      acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(pairs, ones));
      acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(pairs2, ones));
    }
  }
}

// `tiles` times `rows` rows of 8 * vectors channels, the panel's width, to sums [tiles * rows][8 *
// vectors]. A function of its own, so that the loop over steps has all registers.
template <int rows, int vectors>
[[gnu::noinline]] void accumulate(const Panel& panel, Ahead& shared, const Act* a,
                                  ptrdiff_t a_stride, size_t tiles, __m256i* sums) {
  Ahead ahead = shared;
  const __m256i ones = _mm256_set1_epi16(1);
  ptrdiff_t row[rows];  // of which GCC must not know that they are multiples: it would add them up,
                        // step by step
  for (int r = 0; r < rows; ++r) {
    row[r] = r * a_stride;
  }
  for (; tiles > 0; --tiles, a += rows * a_stride, sums += rows * vectors) {
    __m256i acc[rows][vectors];
    for (int v = 0; v < vectors; ++v) {
      const __m256i bias = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel.bias) + v);
      for (int r = 0; r < rows; ++r) acc[r][v] = bias;
    }
    const __m256i* w = reinterpret_cast<const __m256i*>(panel.weights);
    const int32_t* offset = panel.offsets;
    // Twos of steps, which one of these adds per row to its accumulators.
    const auto add_twos = [&](uint32_t twos, auto add) {
      for (; twos > 0; --twos, offset += 2, w += 2 * vectors) {
        const Act *at = a + offset[0], *at2 = a + offset[1];
        ahead.fetch(2);
        const TwoSteps<vectors> weights{w};
        for (int r = 0; r < rows; ++r) {
          add(broadcast4(at + row[r]), broadcast4(at2 + row[r]), weights, acc[r]);
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
      __m256i weights[vectors];
      for (int v = 0; v < vectors; ++v) weights[v] = _mm256_load_si256(w + v);
      for (int r = 0; r < rows; ++r) {
        const __m256i x = broadcast4(at + row[r]);
        for (int v = 0; v < vectors; ++v) {
          const __m256i pairs = _mm256_maddubs_epi16(x, weights[v]);
          acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < vectors; ++v) _mm256_store_si256(sums + r * vectors + v, acc[r][v]);
    }
  }
  shared = ahead;
}

// The same for a panel of `twos` couples and a single step behind them, without loops, which take a
// sixth of the time of so few steps.
template <int rows, int vectors, int twos>
[[gnu::noinline]] void accumulate_short(const Panel& panel, const Act* a, ptrdiff_t a_stride,
                                        size_t tiles, __m256i* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  ptrdiff_t row[rows];
  for (int r = 0; r < rows; ++r) row[r] = r * a_stride;
  const int32_t* const offset = panel.offsets;
  const __m256i* const w = reinterpret_cast<const __m256i*>(panel.weights);
  __m256i bias[vectors];
  for (int v = 0; v < vectors; ++v)
    bias[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel.bias) + v);
  for (; tiles > 0; --tiles, a += rows * a_stride, sums += rows * vectors) {
    __m256i acc[rows][vectors];
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < vectors; ++v) acc[r][v] = bias[v];
    }
#pragma GCC unroll 8
    for (int t = 0; t < twos; ++t) {
      const Act *at = a + offset[2 * t], *at2 = a + offset[2 * t + 1];
      const TwoSteps<vectors> weights{w + 2 * t * vectors};
      for (int r = 0; r < rows; ++r) {
        add_two<vectors, true, true>(broadcast4(at + row[r]), broadcast4(at2 + row[r]), weights,
                                     acc[r]);
      }
    }
    const Act* at = a + offset[2 * twos];
    for (int r = 0; r < rows; ++r) {
      const __m256i x = broadcast4(at + row[r]);
      for (int v = 0; v < vectors; ++v) {
        const __m256i pairs =
            _mm256_maddubs_epi16(x, _mm256_load_si256(w + 2 * twos * vectors + v));
        acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(pairs, ones));
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < vectors; ++v) _mm256_store_si256(sums + r * vectors + v, acc[r][v]);
    }
  }
}

struct Pairs {
  template <int rows, int vectors>
  static void tiles(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride,
                    size_t count, __m256i* sums) {
    if (panel.steps == 7 && panel.couples.all == 3) {  // a first layer, 3x3x3
      return accumulate_short<rows, vectors, 3>(panel, a, a_stride, count, sums);
    }
    accumulate<rows, vectors>(panel, ahead, a, a_stride, count, sums);
  }
};

struct Words {
  using Vector = __m256i;
  static constexpr int kLanes = 8;

  template <int rows, int vectors>
  static void tiles(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride,
                    size_t count, __m256i* sums) {
    accumulate_words<Words, rows, vectors>(panel, ahead, a, a_stride, count, sums);
  }

  static inline Vector load(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static inline void store(Vector* p, Vector v) { _mm256_store_si256(p, v); }
  static inline Vector broadcast4(const Act* a) { return gemm::broadcast4(a); }
  // The empty statement keeps each sum beside its product: GCC 12 otherwise computes all products
  // first, which takes a third longer.
  static inline void multiply_add(Vector& acc, Vector x, Vector w) {
    __m256i product = _mm256_madd_epi16(x, w);
    __asm__("" : "+x"(product));
    acc = _mm256_add_epi32(acc, product);
  }
  static inline void widen8(const Act* from, Act* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
};

// Any number of rows, in tiles of `rows` and smaller ones for the rest.
template <class Tiles, int rows, int vectors>
void accumulate_rows(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride, size_t m,
                     __m256i* sums) {
  const auto run = [&](auto tile, size_t tiles, size_t height) {
    tile(panel, ahead, a, a_stride, tiles, sums);
    a += static_cast<ptrdiff_t>(tiles * height) * a_stride;
    sums += tiles * height * vectors;
  };
  if (m >= rows) run(Tiles::template tiles<rows, vectors>, m / rows, rows);
  m %= rows;
  if (rows > 4 && m >= 4) run(Tiles::template tiles<4, vectors>, 1, 4);
  if (m % 4 == 3) run(Tiles::template tiles<3, vectors>, 1, 3);
  if (m % 4 == 2) run(Tiles::template tiles<2, vectors>, 1, 2);
  if (m % 4 == 1) run(Tiles::template tiles<1, vectors>, 1, 1);
}

template <class Tiles>
struct Panels {
  static void accumulate_any(const Panel& panel, Ahead& ahead, const Act* a, ptrdiff_t a_stride,
                             size_t m, __m256i* sums) {
    panel.width == 16 ? accumulate_rows<Tiles, 4, 2>(panel, ahead, a, a_stride, m, sums)
                      : accumulate_rows<Tiles, 8, 1>(panel, ahead, a, a_stride, m, sums);
  }
};

// A single row. Weights, from beyond L2 as a rule, arrive more slowly than they could be
// multiplied, and several streams of them faster than one: panels are cut into so many runs, which
// are read side by side.
constexpr size_t kStreams = 4;

// Adds steps `first` to `last` of a panel to acc [vectors].
template <int vectors>
[[gnu::always_inline]] inline void add_steps(const Panel& panel, const Act* a, uint32_t first,
                                             uint32_t last, __m256i* acc) {
  const __m256i* w = reinterpret_cast<const __m256i*>(panel.weights) + first * vectors;
  for (uint32_t step = first; step < last; ++step, w += vectors) {
    const __m256i x = broadcast4(a + panel.offsets[step]);
    for (int v = 0; v < vectors; ++v) {
      const __m256i pairs = _mm256_maddubs_epi16(x, _mm256_load_si256(w + v));
      acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
  }
}

// Panels panel[0], panel[apart], ... to sums [kStreams][16].
[[gnu::noinline]] void accumulate_streams(const Panel* panel, size_t apart, const Act* a,
                                          __m256i* sums) {
  constexpr uint32_t kAhead = 64;  // steps: a page
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[kStreams][2];
  const __m256i* w[kStreams];
  const int32_t* offsets[kStreams];
  uint32_t steps = panel->steps;
  for (size_t s = 0; s < kStreams; ++s) {
    const Panel& p = panel[s * apart];
    const __m256i* bias = reinterpret_cast<const __m256i*>(p.bias);
    for (int v = 0; v < 2; ++v) acc[s][v] = _mm256_loadu_si256(bias + v);
    w[s] = reinterpret_cast<const __m256i*>(p.weights);
    offsets[s] = p.offsets;
    if (p.steps < steps) steps = p.steps;
  }
  for (uint32_t step = 0; step < steps; ++step) {
    for (size_t s = 0; s < kStreams; ++s) {
      const __m256i x = broadcast4(a + offsets[s][step]);
      _mm_prefetch(reinterpret_cast<const char*>(w[s] + 2 * (step + kAhead)), _MM_HINT_T1);
      for (int v = 0; v < 2; ++v) {
        const __m256i pairs = _mm256_maddubs_epi16(x, _mm256_load_si256(w[s] + 2 * step + v));
        acc[s][v] = _mm256_add_epi32(acc[s][v], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
  for (size_t s = 0; s < kStreams; ++s) {
    const Panel& p = panel[s * apart];
    add_steps<2>(p, a, steps, p.steps, acc[s]);
    for (int v = 0; v < 2; ++v) _mm256_store_si256(sums + 2 * s + v, acc[s][v]);
  }
}

// sums [width] to a panel's n bytes.
inline void requantize_panel(const Panel& panel, const ByteClamp& clamp, const __m256i* sums,
                             Act* y) {
  alignas(32) Act bytes[32];
  const auto round = [&](int v) {
    return scale_round(sums[v], _mm256_loadu_ps(panel.multiplier + v * kLanes), clamp);
  };
  const __m256i low = round(0), high = panel.width == 16 ? round(1) : low;
  const __m256i all = pack_bytes(low, high, low, high, clamp);
  store_bytes(bytes, _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  copy_rows(bytes, 0, 1, panel.n, y, 0);
}

void run_row(const Args& args) {
  const Epilogue& e = *args.epilogue;
  const ByteClamp clamp = load_byte_clamp(e.clamp);
  alignas(32) __m256i sums[2 * kStreams];
  const Panel& last = args.panel[args.panels - 1];
  const size_t wide = args.panels - (last.width < 16), apart = wide / kStreams;
  for (size_t p = 0; p < apart; ++p) {
    accumulate_streams(args.panel + p, apart, args.a, sums);
    for (size_t s = 0; s < kStreams; ++s) {
      const size_t at = p + s * apart;
      requantize_panel(args.panel[at], clamp, sums + 2 * s, args.y + 16 * at);
    }
  }
  for (size_t p = apart * kStreams; p < args.panels; ++p) {
    const Panel& panel = args.panel[p];
    Ahead ahead(panel, 1, 1);
    panel.width == 16 ? accumulate<1, 2>(panel, ahead, args.a, 0, 1, sums)
                      : accumulate<1, 1>(panel, ahead, args.a, 0, 1, sums);
    requantize_panel(panel, clamp, sums, args.y + 16 * p);
  }
  const size_t n = 16 * (args.panels - 1) + last.n;
  if (e.table || args.residual) apply_tail_row(args.y, args.residual, static_cast<int>(n), e);
}

constexpr Kernel kKernels[] = {
    {"gemm_s8_4x16c2w_avx2",
     {4, 16, 2, 8},
     WeightFormat::kDense,
     PairRule::kWords,
     run<Panels<Words>>,
     {1, 2, true, widen_rows<Words>}},
    {"gemm_s8_4x16c4_avx2",
     {4, 16, 4, 8},
     WeightFormat::kDense,
     PairRule::kCoupled,
     run<Panels<Pairs>>,
     {},
     run_row,
     false,
     merge},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::gemm
