// gemm on AVX2: per step, row and 8 channels: vpmaddubsw (u8 * s8, pairs), vpmaddwd by one (pairs again), vpaddd.
//
// Ceiling: two multiplies per cycle at best, so 32 MAC/cycle; a step of 4x16 issues 16 multiplies, 8 adds and 7 loads in 8
// cycles. Exact: the packer (PairRule::kExact) keeps every pair within 255 * 128 < 2^15 in both directions; the sum of
// two pairs is 32 bits wide. Activations are broadcast from where they lie, 4 bytes per row and step.
#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#include "kernels/simd/avx2.h"

namespace lightkern::gemm {
namespace {

constexpr int kLanes = 8;  // channels of one vector

// What a tile needs besides its rows, loaded once per call.
struct Context {
  const Panel& panel;
  const Epilogue& epilogue;
  ByteClamp clamp;
};

inline __m256i broadcast4(const Act* a) {
  int32_t bytes;
  std::memcpy(&bytes, a, 4);
  return _mm256_set1_epi32(bytes);
}

// rows x (8 * vectors) accumulators over all steps. `vectors` must fill the panel's width.
template <int rows, int vectors>
[[gnu::always_inline]] inline void accumulate(const Panel& panel, const Act* a, ptrdiff_t a_stride,
                                              __m256i (&acc)[rows][vectors]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int v = 0; v < vectors; ++v) {
    const __m256i bias = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel.bias) + v);
    for (int r = 0; r < rows; ++r) acc[r][v] = bias;
  }
  const __m256i* w = reinterpret_cast<const __m256i*>(panel.weights);
  const int32_t* offset = panel.offsets;
  const int32_t* const end = offset + panel.steps;
  for (; offset != end; ++offset, w += vectors) {
    const Act* at = a + *offset;
    __m256i weights[vectors];
    for (int v = 0; v < vectors; ++v) weights[v] = _mm256_load_si256(w + v);
    for (int r = 0; r < rows; ++r) {
      const __m256i x = broadcast4(at + r * a_stride);
      for (int v = 0; v < vectors; ++v) {
        const __m256i pairs = _mm256_maddubs_epi16(x, weights[v]);
        acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
}

// The first n of 16 bytes.
inline void store_first(Act* y, __m128i bytes, uint32_t n) {
  if (n >= 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
    return;
  }
  if (n & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), bytes);
    bytes = _mm_srli_si128(bytes, 8);
    y += 8;
  }
  uint64_t rest = static_cast<uint64_t>(_mm_cvtsi128_si64(bytes));
  for (uint32_t part = 4; part > 0; part /= 2) {
    if (!(n & part)) continue;
    std::memcpy(y, &rest, part);
    rest >>= 8 * part;
    y += part;
  }
}

// Requantizes one tile and stores it; then the rarer parts of the epilogue, over bytes that are still at hand.
template <int rows, int vectors>
[[gnu::always_inline]] inline void finish_tile(const Context& c, const __m256i (&acc)[rows][vectors], Act* y,
                                               ptrdiff_t y_stride, const Act* residual) {
  const Panel& panel = c.panel;
  __m256i t[rows * vectors];
  for (int v = 0; v < vectors; ++v) {
    const __m256 multiplier = _mm256_loadu_ps(panel.multiplier + v * kLanes);
    for (int r = 0; r < rows; ++r) t[r * vectors + v] = scale_round8(acc[r][v], multiplier, c.clamp);
  }
  // Four vectors make 32 bytes: two rows of 16 channels, or four rows of 8.
  constexpr int kRows = 4 / vectors;
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int r = 0; r < rows; r += kRows) {
    const auto at = [&](int i) { return t[r * vectors + i < rows * vectors ? r * vectors + i : r * vectors]; };
    const __m256i bytes =
        _mm256_permutevar8x32_epi32(pack_bytes(at(0), at(1), at(2), at(3), c.clamp), in_order);
    const __m128i halves[2] = {_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)};
    for (int i = 0; i < kRows && r + i < rows; ++i) {
      const __m128i row = vectors == 2 ? halves[i] : i % 2 ? _mm_srli_si128(halves[i / 2], 8) : halves[i / 2];
      store_first(y + (r + i) * y_stride, row, panel.n);
    }
  }
  if (c.epilogue.table || residual) {
    for (int r = 0; r < rows; ++r) {
      apply_tail_row(y + r * y_stride, residual ? residual + r * c.epilogue.residual_stride : nullptr,
                     static_cast<int>(panel.n), c.epilogue);
    }
  }
}

template <int rows, int vectors>
void run_rows(const Context& c, const Args& args, size_t first) {
  const ptrdiff_t row = static_cast<ptrdiff_t>(first);
  __m256i acc[rows][vectors];
  accumulate<rows, vectors>(c.panel, args.a + row * args.a_stride, args.a_stride, acc);
  finish_tile<rows, vectors>(c, acc, args.y + row * args.y_stride, args.y_stride,
                             args.residual ? args.residual + row * c.epilogue.residual_stride : nullptr);
}

template <int rows, int vectors>
void run_panel(const Context& c, const Args& args) {
  size_t i = 0;
  for (; i + rows <= args.m; i += rows) run_rows<rows, vectors>(c, args, i);
  if constexpr (rows > 4) {
    if (i + 4 <= args.m) {
      run_rows<4, vectors>(c, args, i);
      i += 4;
    }
  }
  switch (args.m - i) {
    case 3:
      return run_rows<3, vectors>(c, args, i);
    case 2:
      return run_rows<2, vectors>(c, args, i);
    case 1:
      return run_rows<1, vectors>(c, args, i);
  }
}

void run(const Args& args) {
  const Context c{*args.panel, *args.epilogue, load_byte_clamp(args.epilogue->clamp)};
  if (args.panel->width == 2 * kLanes) {
    run_panel<4, 2>(c, args);
  } else {
    run_panel<8, 1>(c, args);
  }
}

constexpr Kernel kKernels[] = {
    {"gemm_s8_4x16c4_avx2", {4, 16, 4, 8}, WeightFormat::kDense, PairRule::kExact, run},
    {"gemm_s8_8x8c4_avx2", {8, 8, 4, 8}, WeightFormat::kDense, PairRule::kExact, run},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::gemm
