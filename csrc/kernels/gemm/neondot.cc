// gemm with the dot product: sdot by element, four inputs of one row against four weights of each
// of 4 channels.
//
// Ceiling: two sdot of 16 MAC per cycle on Cortex-A76 and later, one on A55. The hot tiles are in
// neondot_tiles.inc: 32 inputs of 4 rows against 24 channels take 192 sdot, 8 loads of rows, 12 of
// four vectors of weights. Rows that many panels read are interleaved once, and take 2 loads. Tiles
// here take what is left: few rows, limits, channels that are no multiple of 8. Exact for all
// weights: products are summed in 32 bits.
// All 32 registers are in use: scheduling before they are given out makes GCC 12 spill.
#if !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/neon.inc"
#include "kernels/gemm/neondot_tiles.inc"

namespace lightkern::gemm {
namespace {

constexpr int kDepth = 4;   // inputs of a step
constexpr int kBundle = 4;  // interleaved rows
constexpr int kUnit = 16;   // inputs that such a row has side by side
constexpr int kPanels = 4;  // from so many on, interleaving pays

template <int rows, int vectors>
struct Tile16 {
  const Act* row[rows];
  int32x4_t acc[rows][vectors];
  const int8_t* w;
  bool interleaved;

  // Where the inputs are that a row of its own would have at `offset`.
  ptrdiff_t at(ptrdiff_t offset) const {
    return interleaved ? offset / kUnit * (kBundle * kUnit) + offset % kUnit : offset;
  }
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
  const ptrdiff_t unit = t.interleaved ? kBundle * kUnit : kUnit;
  const ptrdiff_t lead = static_cast<ptrdiff_t>(panel.lead / 4) * unit;
  for (ptrdiff_t k = 0; k != lead; k += unit) multiply_run<4>(t, k);

  const int32_t* offset = panel.offsets + panel.lead / 4 * 4;
  const int32_t* const end = panel.offsets + panel.steps;
  while (offset != end) {
    if (end - offset >= 4 && adjoin(offset, 4)) {
      multiply_run<4>(t, t.at(*offset));
      offset += 4;
    } else if (end - offset >= 2 && adjoin(offset, 2)) {
      multiply_run<2>(t, t.at(*offset));
      offset += 2;
    } else {
      multiply_run<1>(t, t.at(*offset));
      ++offset;
    }
  }
}

inline const Act* row_of(const Args& args, size_t row) {
  if (!args.copied) return args.a + static_cast<ptrdiff_t>(row) * args.a_stride;
  return args.a + static_cast<ptrdiff_t>(row / kBundle) * args.a_stride + row % kBundle * kUnit;
}

struct Dot {
  template <int rows, int vectors>
  [[gnu::noinline]] static void run(const Context& c, const Args& args, size_t first, size_t last) {
    Tile16<rows, vectors> t;
    t.interleaved = args.copied;
    for (; first != last; first += rows) {
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) t.row[r] = row_of(args, first + static_cast<size_t>(r));
      accumulate(c.panel, t);
      finish_tile(c, args, first, t.acc);
    }
  }
};

// Hot tiles of `rows` rows from the first row on, where the panel allows them. Returns the number
// of rows that are done. `in_order`: the tiles take runs of 16 inputs.
template <int rows>
size_t run_tiles(const Context& c, const Args& args, void (*rows_apart)(const Tiles&),
                 void (*interleaved)(const Tiles&), bool in_order = false) {
  const Panel& p = c.panel;
  const size_t count = args.m / rows;
  // In a window of few channels the steps lie apart, a few at a time; longer runs of steps fare
  // better below.
  const bool adjoining = p.lead == p.steps, apart = p.lead < 4 && !args.copied;
  if (!c.plain || count == 0 || !(adjoining || apart)) return 0;
  const uint32_t run_steps = in_order ? 4 : args.copied ? 16 : 8;
  Shared shared;
  std::memcpy(shared.bias, p.bias, p.width * sizeof(int32_t));
  std::memcpy(shared.multiplier, p.multiplier, p.width * sizeof(float));
  shared.rounding = c.output.rounding;
  shared.odd = vdupq_n_s16(1);
  shared.weights = p.weights;
  shared.runs = p.steps / run_steps;
  shared.offsets = p.offsets;
  shared.end = p.offsets + p.steps;
  const uint32_t odd = c.output.last == Last::kOdd ? kOddZero : 0;
  const Tiles tiles{count,
                    args.a,
                    args.a_stride,
                    args.y,
                    args.y_stride,
                    &shared,
                    adjoining ? kDepth * static_cast<ptrdiff_t>(p.steps) : 0,
                    adjoining ? p.steps % run_steps : 0,
                    odd | (adjoining ? 0 : kApart)};
  args.copied ? interleaved(tiles) : rows_apart(tiles);
  return count * rows;
}

template <bool in_order>
void run(const Args& args) {
  const Context c(args);
  if (args.panel->width == 24) {
    run_panel<Dot, 4, 6>(
        c, args,
        run_tiles<4>(c, args, run_4x24<false, in_order>, run_4x24<true, in_order>, in_order));
  } else if (args.panel->width == 16) {
    run_panel<Dot, 4, 4>(
        c, args,
        run_tiles<4>(c, args, run_4x16<false, in_order>, run_4x16<true, in_order>, in_order));
  } else {
    run_panel<Dot, 8, 2>(
        c, args,
        run_tiles<8>(c, args, run_8x8<false, in_order>, run_8x8<true, in_order>, in_order));
  }
}

// `units` of a bundle, two at a time: 4 instructions for each.
inline size_t copy_units(const Act* const (&row)[kBundle], size_t units, Act* to) {
  const Act *a = row[0], *b = row[1], *c = row[2], *d = row[3];
  for (size_t twos = units / 2; twos > 0; --twos) {
    __asm__ volatile(
        "ldp q0, q4, [%[a]], #32\n\t"
        "ldp q1, q5, [%[b]], #32\n\t"
        "ldp q2, q6, [%[c]], #32\n\t"
        "ldp q3, q7, [%[d]], #32\n\t"
        "st1 {v0.16b - v3.16b}, [%[to]], #64\n\t"
        "st1 {v4.16b - v7.16b}, [%[to]], #64"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [to] "+r"(to)
        :
        : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "memory");
  }
  if (units % 2) {
    vst1q_s8(to, vld1q_s8(a));
    vst1q_s8(to + kUnit, vld1q_s8(b));
    vst1q_s8(to + 2 * kUnit, vld1q_s8(c));
    vst1q_s8(to + 3 * kUnit, vld1q_s8(d));
  }
  return units;
}

// Kernel::row_copy: bundles {kUnit inputs of each of kBundle rows, the next ones of each, ...}.
void copy_bundles(const Act* a, ptrdiff_t a_stride, size_t m, size_t k, Act* to,
                  ptrdiff_t to_stride) {
  for (; m > 0; a += kBundle * a_stride, to += to_stride) {
    const Act* row[kBundle];  // of rows that do not exist, the last one again
    for (size_t r = 0; r < kBundle; ++r)
      row[r] = a + static_cast<ptrdiff_t>(r < m ? r : m - 1) * a_stride;
    m -= m < kBundle ? m : kBundle;
    const size_t units = copy_units(row, k / kUnit, to);
    Act* const rest = to + units * (kBundle * kUnit);
    for (size_t r = 0; r < kBundle && k % kUnit; ++r)
      std::memcpy(rest + r * kUnit, row[r] + units * kUnit, k % kUnit);
  }
}

template <bool in_order>
constexpr Kernel make_kernel(const char* name) {
  return {name,           {4, 24, 4, 8}, WeightFormat::kDense,
          PairRule::kAny, run<in_order>, {kBundle, 1, false, copy_bundles, kUnit, kPanels},
          nullptr,        in_order};
}

constexpr Kernel kKernels[] = {
    make_kernel<true>("gemm_s8_4x24c4inorder_neondot"),
    make_kernel<false>("gemm_s8_4x24c4_neondot"),
};

}  // namespace

extern const Table neondot;
constexpr Table neondot = make_table(kKernels);

}  // namespace lightkern::gemm
