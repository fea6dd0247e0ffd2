// gemm with the dot product: sdot by element, four inputs of one row against four weights of each
// of 4 channels.
//
// Ceiling: two sdot of 16 MAC per cycle on Cortex-A76 and later, one on A55. The hot tiles are in
// neondot_tiles.inc: 32 inputs of 4 rows against 24 channels take 192 sdot, 8 loads of rows, 12 of
// four vectors of weights. Those here take what is left: few rows, limits, channels that are no
// multiple of 8. Exact for all weights: products are summed in 32 bits.
// All 32 registers are in use: scheduling before they are given out makes GCC 12 spill.
#if !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/neon.inc"
#include "kernels/gemm/neondot_tiles.inc"

namespace lightkern::gemm {
namespace {

constexpr int kDepth = 4;  // inputs of a step

template <int rows, int vectors>
struct Tile16 {
  const Act* row[rows];
  int32x4_t acc[rows][vectors];
  const int8_t* w;
};

// Step `lane` of a run of steps: the inputs are in that lane of x.
template <int lane, int rows, int vectors>
[[gnu::always_inline]] inline void multiply(Tile16<rows, vectors>& t, const int8x16_t (&x)[rows]) {
#pragma GCC unroll 8
  for (int v = 0; v < vectors; v += 2) {
    int8x16_t w0, w1;
    load_weights(t.w, w0, w1);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) t.acc[r][v] = vdotq_laneq_s32(t.acc[r][v], w0, x[r], lane);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
      t.acc[r][v + 1] = vdotq_laneq_s32(t.acc[r][v + 1], w1, x[r], lane);
    // Else GCC hoists more loads than there are registers.
    __asm__ volatile("" : "+w"(t.acc[rows - 1][v + 1]), "+w"(w0), "+w"(w1)::"memory");
  }
}

// The 4 * steps bytes at p, in the lower lanes.
template <int steps>
[[gnu::always_inline]] inline int8x16_t load_inputs(const Act* p) {
  if constexpr (steps == 4) return vld1q_s8(p);
  if constexpr (steps == 2) return vcombine_s8(vld1_s8(p), vdup_n_s8(0));
  int32_t bytes;
  std::memcpy(&bytes, p, sizeof(bytes));
  return vreinterpretq_s8_s32(vdupq_n_s32(bytes));
}

// `steps` steps whose inputs adjoin, `offset` bytes from the start of each row.
template <int steps, int rows, int vectors>
[[gnu::always_inline]] inline void multiply_run(Tile16<rows, vectors>& t, ptrdiff_t offset) {
  int8x16_t x[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) x[r] = load_inputs<steps>(t.row[r] + offset);
  multiply<0>(t, x);
  if constexpr (steps >= 2) multiply<1>(t, x);
  if constexpr (steps >= 4) multiply<2>(t, x), multiply<3>(t, x);
}

// Whether the inputs of steps 0 .. n - 1 adjoin.
inline bool adjoin(const int32_t* offset, int n) {
  for (int i = 1; i < n; ++i) {
    if (offset[i] != offset[0] + i * kDepth) return false;
  }
  return true;
}

template <int rows, int vectors>
[[gnu::always_inline]] inline void accumulate(const Panel& panel, Tile16<rows, vectors>& t) {
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    const int32x4_t bias = vld1q_s32(panel.bias + 4 * v);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) t.acc[r][v] = bias;
  }
  t.w = panel.weights;
  const ptrdiff_t lead = static_cast<ptrdiff_t>(panel.lead / 4 * 16);
  for (ptrdiff_t k = 0; k != lead; k += 16) multiply_run<4>(t, k);

  const int32_t* offset = panel.offsets + panel.lead / 4 * 4;
  const int32_t* const end = panel.offsets + panel.steps;
  while (offset != end) {
    if (end - offset >= 4 && adjoin(offset, 4)) {
      multiply_run<4>(t, *offset);
      offset += 4;
    } else if (end - offset >= 2 && adjoin(offset, 2)) {
      multiply_run<2>(t, *offset);
      offset += 2;
    } else {
      multiply_run<1>(t, *offset);
      ++offset;
    }
  }
}

struct Dot {
  template <int rows, int vectors>
  [[gnu::noinline]] static void run(const Context& c, const Args& args, size_t first, size_t last) {
    const Act* a = args.a + static_cast<ptrdiff_t>(first) * args.a_stride;
    for (; first != last; first += rows) {
      Tile16<rows, vectors> t;
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r, a += args.a_stride) t.row[r] = a;
      accumulate(c.panel, t);
      finish_tile(c, args, first, t.acc);
    }
  }
};

// Hot tiles of `rows` rows from the first row on, where the panel allows them. Returns the number
// of rows that are done.
template <int rows>
size_t run_tiles(const Context& c, const Args& args, void (*run)(const Tiles&)) {
  const Panel& p = c.panel;
  const size_t count = args.m / rows;
  // In a window of few channels the steps lie apart, a few at a time; longer runs of steps fare
  // better below.
  const bool adjoining = p.lead == p.steps, apart = p.lead < 4;
  if (!c.plain || count == 0 || !(adjoining || apart)) return 0;
  Shared shared;
  std::memcpy(shared.bias, p.bias, p.width * sizeof(int32_t));
  std::memcpy(shared.multiplier, p.multiplier, p.width * sizeof(float));
  shared.rounding = c.output.rounding;
  shared.odd = vdupq_n_s16(1);
  shared.weights = p.weights;
  shared.runs = p.steps / 8;
  shared.offsets = p.offsets;
  shared.end = p.offsets + p.steps;
  const uint32_t kind = adjoining ? p.steps % 8 : kApart;
  const uint32_t odd = c.output.last == Last::kOdd ? kOddZero : 0;
  run({count, args.a, args.a_stride, args.y, args.y_stride, &shared,
       adjoining ? kDepth * static_cast<ptrdiff_t>(p.steps) : 0, kind | odd});
  return count * rows;
}

void run(const Args& args) {
  const Context c(args);
  if (args.panel->width == 24) {
    run_panel<Dot, 4, 6>(c, args, run_tiles<4>(c, args, run_4x24));
  } else if (args.panel->width == 16) {
    run_panel<Dot, 4, 4>(c, args, run_tiles<4>(c, args, run_4x16));
  } else {
    run_panel<Dot, 8, 2>(c, args, run_tiles<8>(c, args, run_8x8));
  }
}

constexpr Kernel kKernels[] = {
    {"gemm_s8_4x24c4_neondot", {4, 24, 4, 8}, WeightFormat::kDense, PairRule::kAny, run},
};

}  // namespace

extern const Table neondot;
constexpr Table neondot = make_table(kKernels);

}  // namespace lightkern::gemm
