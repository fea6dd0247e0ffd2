// gemm with the matrix multiply: smmla, eight inputs of each of two rows against eight weights of
// each of two channels, into a block of 2x2 sums.
//
// Ceiling: two smmla of 32 MAC per cycle on Neoverse N2. Sixteen inputs of 6 rows against 16
// channels take 48 smmla and 8 loads of weight pairs; 24 blocks, the rows' 6 vectors and 2 weights
// are all 32 registers. Rows that lie apart take 6 loads and 6 zips that bring the eights of two
// rows together; rows that many panels read are zipped once (row_copy), and take 3 loads of pairs.
// Exact for all weights: products are summed in 32 bits.
// All 32 registers are in use: scheduling before they are given out makes GCC 12 spill.
#if !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/neon.inc"

namespace lightkern::gemm {
namespace {

constexpr int kDepth = 8;  // inputs of a step

// Sums of rows 2 p, 2 p + 1 and channels 2 c, 2 c + 1: block[p][c] = {00, 01, 10, 11}. Of an odd
// number of rows the last one is its own partner.
template <int rows, int width>
struct Blocks {
  static constexpr int kPairs = (rows + 1) / 2, kColumns = width / 2;
  const Act* row[2 * kPairs];
  int32x4_t block[kPairs][kColumns];
  const int8_t* w;
};

// What belongs to channels, as blocks see it: that of two channels, twice. In memory: there is no
// register for it while a tile is multiplied.
template <int width>
struct Channels {
  explicit Channels(const Panel& panel) {
    for (int c = 0; c < width / 2; ++c) {
      bias[c] = twice(vld1_s32(panel.bias + 2 * c));
      multiplier[c] =
          vreinterpretq_f32_s32(twice(vreinterpret_s32_f32(vld1_f32(panel.multiplier + 2 * c))));
    }
  }
  static int32x4_t twice(int32x2_t two) { return vcombine_s32(two, two); }

  int32x4_t bias[width / 2];
  float32x4_t multiplier[width / 2];
};

// Two rows of x by two channels of w. In words of the machine, which stay where they are written:
// compilers move vmmlaq_s32 to where its result is used, and then more rows and weights are at hand
// than registers.
[[gnu::always_inline]] inline void multiply_add(int32x4_t& block, int8x16_t x, int8x16_t w) {
  __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(block) : "w"(x), "w"(w));
}

// One step: its inputs of two rows are in x[p].
template <int rows, int width, int pairs>
[[gnu::always_inline]] inline void multiply(Blocks<rows, width>& t, const int8x16_t (&x)[pairs]) {
#pragma GCC unroll 8
  for (int c = 0; c < width / 2; c += 2) {
    int8x16_t w0, w1;
    load_weights(t.w, w0, w1);
#pragma GCC unroll 8
    for (int p = 0; p < pairs; ++p) multiply_add(t.block[p][c], x[p], w0);
#pragma GCC unroll 8
    for (int p = 0; p < pairs; ++p) multiply_add(t.block[p][c + 1], x[p], w1);
  }
}

// Two steps whose inputs adjoin, `offset` bytes from the start of each row.
template <int rows, int width>
[[gnu::always_inline]] inline void multiply_two(Blocks<rows, width>& t, ptrdiff_t offset) {
  constexpr int pairs = Blocks<rows, width>::kPairs;
  int8x16_t x0[pairs], x1[pairs];
#pragma GCC unroll 8
  for (int p = 0; p < pairs; ++p) {
    const int64x2_t even = vreinterpretq_s64_s8(vld1q_s8(t.row[2 * p] + offset));
    const int64x2_t odd = vreinterpretq_s64_s8(vld1q_s8(t.row[2 * p + 1] + offset));
    x0[p] = vreinterpretq_s8_s64(vzip1q_s64(even, odd));
    x1[p] = vreinterpretq_s8_s64(vzip2q_s64(even, odd));
    // Else Clang zips the second step late, and keeps the rows until then.
    __asm__ volatile("" : "+w"(x0[p]), "+w"(x1[p]));
  }
  multiply(t, x0);
  multiply(t, x1);
}

template <int rows, int width>
[[gnu::always_inline]] inline void multiply_one(Blocks<rows, width>& t, ptrdiff_t offset) {
  constexpr int pairs = Blocks<rows, width>::kPairs;
  int8x16_t x[pairs];
#pragma GCC unroll 8
  for (int p = 0; p < pairs; ++p)
    x[p] = vcombine_s8(vld1_s8(t.row[2 * p] + offset), vld1_s8(t.row[2 * p + 1] + offset));
  multiply(t, x);
}

// The steps of a panel, read once: bytes that are stored could be anything else.
struct Steps {
  explicit Steps(const Panel& p)
      : weights(p.weights),
        twos(p.weights + static_cast<ptrdiff_t>(p.steps / 2 * 2 * p.width * kDepth)),
        lead(static_cast<ptrdiff_t>(p.lead / 2 * 2 * kDepth)),
        rest(p.offsets + p.lead / 2 * 2),
        end(p.offsets + p.steps),
        odd(p.steps % 2) {}

  const int8_t *weights, *twos;  // twos: behind all steps but an odd last one
  ptrdiff_t lead;                // bytes of a row that adjoin, from its start on
  const int32_t *rest, *end;
  bool odd;
};

template <int rows, int width>
[[gnu::always_inline]] inline void start(Blocks<rows, width>& t, const Channels<width>& channels,
                                         const Steps& steps) {
#pragma GCC unroll 8
  for (int c = 0; c < width / 2; ++c) {
#pragma GCC unroll 8
    for (int p = 0; p < t.kPairs; ++p) t.block[p][c] = channels.bias[c];
  }
  t.w = steps.weights;
}

// Rows that lie apart.
template <int rows, int width>
[[gnu::always_inline]] inline void multiply_rows(const Steps& steps, Blocks<rows, width>& t) {
  const ptrdiff_t lead = steps.lead;  // load_weights reads, as far as compilers know, all memory
  for (ptrdiff_t k = 0; k != lead; k += 2 * kDepth) multiply_two(t, k);
  const int32_t *offset = steps.rest, *const end = steps.end;
  while (offset != end) {
    if (end - offset >= 2 && offset[1] == offset[0] + kDepth) {
      multiply_two(t, *offset);
      offset += 2;
    } else {
      multiply_one(t, *offset);
      ++offset;
    }
  }
}

// Rows in pairs, each at the even one of row[], which moves on.
template <int rows, int width>
[[gnu::always_inline]] inline void multiply_pairs(const Steps& steps, Blocks<rows, width>& t) {
  constexpr int pairs = Blocks<rows, width>::kPairs;
  const int8_t* const twos = steps.twos;
  int8x16_t x0[pairs], x1[pairs];
  while (t.w != twos) {
#pragma GCC unroll 8
    for (int p = 0; p < pairs; ++p) load_weights(t.row[2 * p], x0[p], x1[p]);
    multiply(t, x0);
    multiply(t, x1);
  }
  if (!steps.odd) return;
#pragma GCC unroll 8
  for (int p = 0; p < pairs; ++p) x0[p] = vld1q_s8(t.row[2 * p]);
  multiply(t, x0);
}

// Eight channels of two rows as 16 bytes {00, 01, 10, 11, 02, 03, ...}.
template <Last last>
[[gnu::always_inline]] inline int16x8_t requantize_blocks(const int32x4_t* block,
                                                          const float32x4_t* m,
                                                          const Output& output) {
  float32x4_t t[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) t[i] = vmulq_f32(vcvtq_f32_s32(block[i]), m[i]);
  return vreinterpretq_s16_s8(to_bytes16<last>(t[0], t[1], t[2], t[3], output));
}

// `n` channels of a row; with limits, there may be fewer than `width`.
template <Last last, int width>
[[gnu::always_inline]] inline void store_row(Act* to, int16x8_t bytes, int n) {
  if constexpr (last != Last::kLimits && width == 8) {
    vst1_s8(to, vget_low_s8(vreinterpretq_s8_s16(bytes)));
  } else {
    store_first(to, vreinterpretq_s8_s16(bytes), last == Last::kLimits ? n : width);
  }
}

// Requantizes the rows of a tile and stores them at `to`, which moves on; Last::kLimits where the
// call is not plain.
template <Last last, int rows, int width>
[[gnu::always_inline]] inline void store_blocks(const Context& c, const Channels<width>& channels,
                                                Act*& to, ptrdiff_t stride,
                                                const Blocks<rows, width>& t) {
  constexpr int kEights = width / 8;
  const int n = static_cast<int>(c.panel.n);
  const Output output = c.output;
  int16x8_t bytes[kEights][t.kPairs];
#pragma GCC unroll 2
  for (int e = 0; e < kEights; ++e) {
#pragma GCC unroll 8
    for (int p = 0; p < t.kPairs; ++p) {
      bytes[e][p] =
          requantize_blocks<last>(t.block[p] + 4 * e, channels.multiplier + 4 * e, output);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r, to += stride) {
    const int16x8_t low = bytes[0][r / 2], high = bytes[kEights - 1][r / 2];
    store_row<last, width>(to, r % 2 ? vuzp2q_s16(low, high) : vuzp1q_s16(low, high), n);
  }
}

struct Matrix {
  template <int rows, int vectors>
  [[gnu::noinline]] static void run(const Context& c, const Args& args, size_t first, size_t last) {
    const Act* a = args.a + static_cast<ptrdiff_t>(args.copied ? first / 2 : first) * args.a_stride;
    Act* y = args.y + static_cast<ptrdiff_t>(first) * args.y_stride;
    const Steps steps(c.panel);
    const Channels<4 * vectors> channels(c.panel);
    for (; first != last; first += rows) {
      Blocks<rows, 4 * vectors> t;
      start(t, channels, steps);
      if (args.copied) {
#pragma GCC unroll 8
        for (int p = 0; p < t.kPairs; ++p, a += args.a_stride) t.row[2 * p] = a;
        multiply_pairs(steps, t);
      } else {
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r, a += args.a_stride) t.row[r] = a;
        if constexpr (rows % 2) t.row[rows] = t.row[rows - 1];
        multiply_rows(steps, t);
      }
      // The few rows that a call has left take the way that is right for all: less code.
      if (rows >= 6 && c.plain && c.output.last == Last::kEven) {
        store_blocks<Last::kEven>(c, channels, y, args.y_stride, t);
      } else if (rows >= 6 && c.plain) {
        store_blocks<Last::kOdd>(c, channels, y, args.y_stride, t);
      } else {
        store_blocks<Last::kLimits>(c, channels, y, args.y_stride, t);
      }
    }
  }
};

void run(const Args& args) {
  const Context c(args);
  if (args.panel->width == 16) {
    run_panel<Matrix, 6, 4>(c, args);
  } else {
    run_panel<Matrix, 8, 2>(c, args);
  }
}

// Kernel::row_copy: pairs {kDepth inputs of one row, kDepth of the other, the next of the one,
// ...}.
void pair_rows(const Act* a, ptrdiff_t a_stride, size_t m, size_t k, Act* to, ptrdiff_t to_stride) {
  for (size_t first = 0; first < m; first += 2, a += 2 * a_stride, to += to_stride) {
    const Act *even = a, *odd = first + 1 < m ? a + a_stride : a;
    Act* pair = to;
    size_t i = 0;
    for (; i + 2 * kDepth <= k; i += 2 * kDepth, pair += 4 * kDepth) {
      const int64x2_t x0 = vreinterpretq_s64_s8(vld1q_s8(even + i));
      const int64x2_t x1 = vreinterpretq_s64_s8(vld1q_s8(odd + i));
      vst1q_s8(pair, vreinterpretq_s8_s64(vzip1q_s64(x0, x1)));
      vst1q_s8(pair + 2 * kDepth, vreinterpretq_s8_s64(vzip2q_s64(x0, x1)));
    }
    for (; i < k; i += kDepth, pair += 2 * kDepth) {
      const size_t count = k - i < kDepth ? k - i : kDepth;
      std::memcpy(pair, even + i, count);
      std::memcpy(pair + kDepth, odd + i, count);
    }
  }
}

constexpr Kernel kKernels[] = {
    {"gemm_s8_6x16c8_i8mm",
     {6, 16, 8, 8},
     WeightFormat::kDense,
     PairRule::kAny,
     run,
     {2, 1, false, pair_rows}},
};

}  // namespace

extern const Table i8mm;
constexpr Table i8mm = make_table(kKernels);

}  // namespace lightkern::gemm
