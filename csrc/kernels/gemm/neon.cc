// gemm without the dot product: eight inputs of one row by eight weights of one channel, smull;
// eight more, smlal2; sadalp.
//
// Three instructions do 16 MAC. Exact for all weights: |x * w| <= 128 * 127, and two of these fit
// 16 bits; sadalp sums in 32. Ceiling on Cortex-A53 and A72, whose multiplies share one pipe: 8
// MAC/cycle. Where the packer found weights small enough (PairRule::kLanes), four products are
// added in 16 bits: 5 instructions per 32 MAC. 32 inputs of 2 rows against 8 channels then take 80
// instructions, 4 loads of rows, 4 of weights and 4 for offsets and the loop.
#include "kernels/gemm/neon.inc"

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/neon_tiles.inc"

namespace lightkern::gemm {
namespace {

template <int rows, int channels>
struct Sums {
  int32x4_t acc[rows][channels];
  const int8_t* w;
};

// Two steps: eight inputs each, in the halves of x.
template <int rows, int channels>
[[gnu::always_inline]] inline void multiply_pair(Sums<rows, channels>& s,
                                                 const int8x16_t (&x)[rows]) {
#pragma GCC unroll 8
  for (int c = 0; c < channels; c += 2, s.w += 32) {
    int8x16_t w[2] = {vld1q_s8(s.w), vld1q_s8(s.w + 16)};
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      int16x8_t product[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) product[r] = vmull_s8(vget_low_s8(x[r]), vget_low_s8(w[i]));
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) product[r] = vmlal_high_s8(product[r], x[r], w[i]);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) s.acc[r][c + i] = vpadalq_s16(s.acc[r][c + i], product[r]);
      // Else GCC overlaps more channels and hoists more loads than there are registers for.
      __asm__ volatile("" : "+w"(s.acc[rows - 1][c + i]), "+w"(w[1])::"memory");
    }
  }
}

// Two twos of steps, sixteen inputs each, whose products may be added four by four in 16 bits.
template <int rows>
[[gnu::always_inline]] inline void multiply_couple(Sums<rows, 8>& s, const int8x16_t (&x)[rows],
                                                   const int8x16_t (&x2)[rows]) {
#pragma GCC unroll 4
  for (int c = 0; c < 8; c += 2, s.w += 32) {
    int8x16_t w[2] = {vld1q_s8(s.w), vld1q_s8(s.w + 16)};
    int8x16_t w2[2] = {vld1q_s8(s.w + 128), vld1q_s8(s.w + 144)};
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      int16x8_t product[rows];
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) product[r] = vmull_s8(vget_low_s8(x[r]), vget_low_s8(w[i]));
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) product[r] = vmlal_high_s8(product[r], x[r], w[i]);
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r)
        product[r] = vmlal_s8(product[r], vget_low_s8(x2[r]), vget_low_s8(w2[i]));
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) product[r] = vmlal_high_s8(product[r], x2[r], w2[i]);
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) s.acc[r][c + i] = vpadalq_s16(s.acc[r][c + i], product[r]);
    }
    __asm__ volatile(""
                     : "+w"(s.acc[rows - 1][c + 1]), "+w"(w[1]),
                       "+w"(w2[1])::"memory");  // as above
  }
  s.w += 128;
}

template <int rows, int channels>
[[gnu::always_inline]] inline void accumulate(const Panel& panel, const Act* a, ptrdiff_t stride,
                                              Sums<rows, channels>& s) {
  const Act* row[rows];
  int8x16_t x[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    row[r] = a + r * stride;
#pragma GCC unroll 8
    for (int c = 0; c < channels; ++c) s.acc[r][c] = vdupq_n_s32(0);
  }
  s.w = panel.weights;
  uint32_t i = 0;
  if constexpr (channels == 8 && rows <= 2) {
    const int32_t* offset = panel.offsets;
    for (i = 4 * panel.couples.all; offset != panel.offsets + i; offset += 4) {
      const ptrdiff_t at = offset[0], at2 = offset[2];
      int8x16_t x2[rows];
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) x[r] = vld1q_s8(row[r] + at), x2[r] = vld1q_s8(row[r] + at2);
      multiply_couple(s, x, x2);
    }
  }
  const ptrdiff_t lead = i > 0 ? 0 : static_cast<ptrdiff_t>(panel.lead / 2 * 16);
  for (ptrdiff_t k = 0; k != lead; k += 16) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) x[r] = vld1q_s8(row[r] + k);
    multiply_pair(s, x);
  }
  i += static_cast<uint32_t>(lead / 8);
  for (; i + 2 <= panel.steps; i += 2) {
    const ptrdiff_t at = panel.offsets[i], next = panel.offsets[i + 1];
    if (next == at + 8) {
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = vld1q_s8(row[r] + at);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r)
        x[r] = vcombine_s8(vld1_s8(row[r] + at), vld1_s8(row[r] + next));
    }
    multiply_pair(s, x);
  }
  if (i == panel.steps) return;
  const ptrdiff_t at = panel.offsets[i];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) x[r] = vcombine_s8(vld1_s8(row[r] + at), vdup_n_s8(0));
#pragma GCC unroll 8
  for (int c = 0; c < channels; ++c) {
    const int8x8_t w = vld1_s8(s.w + 8 * c);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
      s.acc[r][c] = vpadalq_s16(s.acc[r][c], vmull_s8(vget_low_s8(x[r]), w));
  }
}

inline int32x4_t sum4(const int32x4_t* acc) {
  return vpaddq_s32(vpaddq_s32(acc[0], acc[1]), vpaddq_s32(acc[2], acc[3]));
}

struct Wide {
  template <int rows, int channels>
  [[gnu::noinline]] static void run(const Context& c, const Args& args, size_t first, size_t last) {
    for (; first != last; first += rows) {
      Sums<rows, channels> s;
      accumulate(c.panel, args.a + static_cast<ptrdiff_t>(first) * args.a_stride, args.a_stride, s);
      int32x4_t sums[rows][channels / 4];
#pragma GCC unroll 2
      for (int v = 0; v < channels / 4; ++v) {
        const int32x4_t bias = vld1q_s32(c.panel.bias + 4 * v);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) sums[r][v] = vaddq_s32(sum4(s.acc[r] + 4 * v), bias);
      }
      finish_tile(c, args, first, sums);
    }
  }
};

// Whether the inputs of two steps always adjoin.
bool adjoin(const Panel& p) {
  if (p.lead == p.steps) return true;
  for (uint32_t i = 0; i + 2 <= p.steps; i += 2) {
    if (p.offsets[i + 1] != p.offsets[i] + 8) return false;
  }
  return true;
}

// Tiles of two rows from the first row on, where the panel allows them. Returns the number of rows
// that are done.
template <bool in_order>
size_t run_tiles(const Context& c, const Args& args) {
  const Panel& p = c.panel;
  const size_t tiles = args.m / 2;
  if (!c.plain || tiles == 0 || !adjoin(p)) return 0;
  Shared shared = {};
  for (int i = 0; i < 8; ++i) shared.bias[i][0] = p.bias[i];
  std::memcpy(shared.multiplier, p.multiplier, sizeof(shared.multiplier));
  shared.rounding = c.output.rounding;
  shared.odd = vdupq_n_s16(1);
  run_2x8<in_order>(args, shared, tiles, c.output.last == Last::kOdd);
  return 2 * tiles;
}

template <bool in_order>
void run(const Args& args) {
  const Context c(args);
  if (args.panel->width == 8) {
    run_panel<Wide, 2, 8>(c, args, run_tiles<in_order>(c, args));
  } else {
    run_panel<Wide, 4, 4>(c, args);
  }
}

template <bool in_order>
constexpr Kernel make_kernel(const char* name) {
  return {name,    {2, 8, 8, 4, 2}, WeightFormat::kDense, PairRule::kLanes, run<in_order>, {},
          nullptr, in_order};
}

constexpr Kernel kKernels[] = {
    make_kernel<true>("gemm_s8_2x8c8inorder_neon"),
    make_kernel<false>("gemm_s8_2x8c8_neon"),
};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::gemm
