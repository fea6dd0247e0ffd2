// gemm on AVX2: per step, row and 8 channels: vpmaddubsw (u8 * s8, pairs), vpmaddwd by one (pairs
// again), vpaddd.
//
// Ceiling: two multiplies per cycle at best, so 32 MAC/cycle; a step of 4x16 issues 16 multiplies,
// 8 adds and 7 loads in 8 cycles. Exact: the packer keeps every pair within 255 * 128 < 2^15 in
// both directions; the sum of two pairs is 32 bits wide. Where the packer found two steps whose
// pairs stay within that bound together (PairRule::kCoupled), they share one vpmaddwd: 3 multiplies
// instead of 4. Activations are broadcast from where they lie, 4 bytes per row and step.
//
// Accumulators of a few tiles go through a small buffer in L1 before they are requantized: the
// conversions form long dependency chains, which between two tiles would keep the multipliers
// waiting (30 cycles per tile, 18 this way).
#include "kernels/simd/avx2.h"

#include <immintrin.h>

#include "kernels/gemm/gemm.h"

namespace lightkern::gemm {
namespace {

constexpr int kLanes = 8;      // channels of one vector
constexpr size_t kChunk = 64;  // rows that go through the buffer at once
constexpr size_t kGroup =
    32;  // values that are requantized at once: 2 rows of 16 channels, or 4 rows of 8

inline __m256i broadcast4(const Act* a) {
  int32_t bytes;
  std::memcpy(&bytes, a, 4);
  return _mm256_set1_epi32(bytes);
}

// Brings weights of the next panel into L2 while this one is at work: a model's weights rarely stay
// there from run to run. Nothing is read, so the address may be any.
inline void prefetch(const __m256i* w) {
  _mm_prefetch(reinterpret_cast<const char*>(w), _MM_HINT_T1);
}

// `tiles` times `rows` rows of 8 * vectors channels, the panel's width, to sums [tiles * rows][8 *
// vectors]. A function of its own, so that the loop over steps has all registers.
template <int rows, int vectors>
[[gnu::noinline]] void accumulate(const Panel& panel, const Act* a, ptrdiff_t a_stride,
                                  size_t tiles, __m256i* sums) {
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
    const __m256i* next = w + panel.steps * vectors;  // about where the next panel starts
    const int32_t* const singles = offset + 2 * panel.couples;
    for (; offset != singles; offset += 2, w += 2 * vectors) {
      const Act *at = a + offset[0], *at2 = a + offset[1];
      prefetch(next);
      prefetch(next + vectors);
      next += 2 * vectors;
      for (int r = 0; r < rows; ++r) {
        const __m256i x = broadcast4(at + row[r]), x2 = broadcast4(at2 + row[r]);
        for (int v = 0; v < vectors; ++v) {
          const __m256i pairs =
              _mm256_add_epi16(_mm256_maddubs_epi16(x, _mm256_load_si256(w + v)),
                               _mm256_maddubs_epi16(x2, _mm256_load_si256(w + vectors + v)));
          acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    const int32_t* const end = panel.offsets + panel.steps;
    for (; offset != end; ++offset, w += vectors) {
      const Act* at = a + *offset;
      prefetch(next);
      next += vectors;
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
}

// Any number of rows, in tiles of `rows` and smaller ones for the rest.
template <int rows, int vectors>
void accumulate_rows(const Panel& panel, const Act* a, ptrdiff_t a_stride, size_t m,
                     __m256i* sums) {
  const auto run = [&](auto tile, size_t tiles, size_t height) {
    tile(panel, a, a_stride, tiles, sums);
    a += static_cast<ptrdiff_t>(tiles * height) * a_stride;
    sums += tiles * height * vectors;
  };
  if (m >= rows) run(accumulate<rows, vectors>, m / rows, rows);
  m %= rows;
  if (rows > 4 && m >= 4) run(accumulate<4, vectors>, 1, 4);
  if (m % 4 == 3) run(accumulate<3, vectors>, 1, 3);
  if (m % 4 == 2) run(accumulate<2, vectors>, 1, 2);
  if (m % 4 == 1) run(accumulate<1, vectors>, 1, 1);
}

// What packing to bytes leaves to do.
//   kNone   nothing: it saturates at the limits, and the zero point is 0 (ReLU)
//   kBytes  zero point and limits
//   kAll    and no conversion may overflow: the upper limit comes before it
enum class Limits { kNone, kBytes, kAll };

// sums [m][width] to bytes, rows `y_stride` apart. Where m * width is no multiple of kGroup, rows
// beyond m are written too.
template <int width, Limits limits>
[[gnu::noinline]] void requantize_rows(const Panel& panel, const ByteClamp& shared,
                                       const __m256i* sums, size_t m, Act* y, ptrdiff_t y_stride) {
  constexpr int kRows = kGroup / width;
  const ByteClamp clamp = shared;
  const __m256 m0 = _mm256_loadu_ps(panel.multiplier);
  const __m256 m1 = _mm256_loadu_ps(panel.multiplier + width - kLanes);
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const auto round = [&](int i) {
    const __m256 multiplier = i % 2 ? m1 : m0;
    if (limits == Limits::kAll) return scale_round8(sums[i], multiplier, clamp);
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[i]), multiplier));
  };
  for (size_t i = 0; i < m; i += kRows, sums += 4, y += kRows * y_stride) {
    __m256i bytes;
    if (limits == Limits::kNone) {
      bytes = _mm256_packus_epi16(_mm256_packs_epi32(round(0), round(1)),
                                  _mm256_packs_epi32(round(2), round(3)));
    } else {
      bytes = _mm256_min_epu8(pack_bytes(round(0), round(1), round(2), round(3), clamp), clamp.hi8);
    }
    bytes = _mm256_permutevar8x32_epi32(bytes, in_order);
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    if (width == 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), low);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + y_stride), high);
    } else {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), low);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y + y_stride), _mm_srli_si128(low, 8));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y + 2 * y_stride), high);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y + 3 * y_stride), _mm_srli_si128(high, 8));
    }
  }
}

using Requantize = void (*)(const Panel&, const ByteClamp&, const __m256i*, size_t, Act*,
                            ptrdiff_t);

Requantize find_requantize(const Panel& panel, const Clamp& clamp) {
  const bool full = clamp.zero_point == 0 && clamp.lo == 0.0f && clamp.hi == 255.0f;
  if (panel.width == 16) {
    if (!panel.bounded) return requantize_rows<16, Limits::kAll>;
    return full ? requantize_rows<16, Limits::kNone> : requantize_rows<16, Limits::kBytes>;
  }
  if (!panel.bounded) return requantize_rows<8, Limits::kAll>;
  return full ? requantize_rows<8, Limits::kNone> : requantize_rows<8, Limits::kBytes>;
}

// n bytes of m rows from one stride to another; two stores that overlap make up what no single one
// can.
void copy_rows(const Act* from, ptrdiff_t from_stride, size_t m, uint32_t n, Act* to,
               ptrdiff_t to_stride) {
  for (; m > 0; --m, from += from_stride, to += to_stride) {
    if (n == 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    } else if (n >= 8) {
      const __m256i last = load8(from + n - 8);
      store8(to, load8(from));
      store8(to + n - 8, last);
    } else {
      std::memcpy(to, from, n);
    }
  }
}

// Adds the residual to bytes [m][width], up to the next multiple of kGroup.
[[gnu::noinline]] void add_rows(const Args& args, const Act* residual, size_t m, Act* bytes) {
  const size_t width = args.panel->width;
  alignas(32) Act other[kChunk * 16];
  copy_rows(residual, args.epilogue->residual_stride, m, args.panel->n, other,
            static_cast<ptrdiff_t>(width));
  const AddVec add = load_add(args.epilogue->add);
  for (size_t i = 0; i < m * width; i += kGroup)
    store32(bytes + i, add32(load32(bytes + i), load32(other + i), add));
}

void run(const Args& args) {
  const Panel& panel = *args.panel;
  const Epilogue& e = *args.epilogue;
  const ByteClamp clamp = load_byte_clamp(e.clamp);
  const Requantize requantize = find_requantize(panel, e.clamp);
  const size_t width = panel.width, group_rows = kGroup / width;
  alignas(32) __m256i sums[kChunk * 2];
  alignas(32) Act bytes[kChunk * 16];
  for (size_t first = 0; first < args.m; first += kChunk) {
    const size_t m = args.m - first < kChunk ? args.m - first : kChunk;
    const Act* a = args.a + static_cast<ptrdiff_t>(first) * args.a_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(first) * args.y_stride;
    width == 16 ? accumulate_rows<4, 2>(panel, a, args.a_stride, m, sums)
                : accumulate_rows<8, 1>(panel, a, args.a_stride, m, sums);
    // Whole groups of whole rows go straight to their place; what cannot goes through `bytes`.
    const bool direct = panel.n == width && !e.table && !args.residual;
    const size_t done = direct ? m / group_rows * group_rows : 0;
    requantize(panel, clamp, sums, done, y, args.y_stride);
    if (done == m) continue;
    y += static_cast<ptrdiff_t>(done) * args.y_stride;
    requantize(panel, clamp, sums + done * width / kLanes, m - done, bytes,
               static_cast<ptrdiff_t>(width));
    if (e.table) apply_table(bytes, (m - done) * width, e.table);
    if (args.residual) {
      add_rows(args, args.residual + static_cast<ptrdiff_t>(first + done) * e.residual_stride,
               m - done, bytes);
    }
    copy_rows(bytes, static_cast<ptrdiff_t>(width), m - done, panel.n, y, args.y_stride);
  }
}

constexpr Kernel kKernels[] = {
    {"gemm_s8_4x16c4_avx2", {4, 16, 4, 8}, WeightFormat::kDense, PairRule::kCoupled, run},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::gemm
