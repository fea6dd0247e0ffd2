// Two taps of 16 channels: smull, smull2, smlal, smlal2, then saddw and saddw2 on both halves.
//
// Exact for any int8 weights: two products of at most 128 * 127 fit 16 bits, and sums are 32 bits
// wide. Eight instructions do 32 MAC; 3x3 takes 38 per 16 outputs, and 17 more to requantize them.
// Rows of the image are copied once, with their padding, into a ring that stays in the first-level
// cache.
#include "kernels/dwconv/neon.inc"

#include <type_traits>

#include "kernels/dwconv/dwconv.h"

namespace lightkern::dwconv {
namespace {

int ring_rows(const Geometry& g) { return (g.kh - 1) * g.dh + 1; }

// One output row of one block.
struct Row {
  const Act* const* rows;   // [kh], padded
  const int32_t* bias;      // [16]
  const float* multiplier;  // [16]
  const int8_t* weights;    // [kh][kw][16]
  int kh, kw, sw, dw;
  Output output;
  Act* y;
  ptrdiff_t y_stride;
  int valid;
};

// Adds products of 16 bits to four vectors of sums, or to two.
template <int halves>
struct Acc {
  int32x4_t v[2 * halves];
};
template <int halves>
struct Product {
  int16x8_t v[halves];
};

template <int halves>
inline Product<halves> multiply(int8x16_t x, int8x16_t w) {
  Product<halves> p;
  p.v[0] = vmull_s8(vget_low_s8(x), vget_low_s8(w));
  if constexpr (halves == 2) p.v[1] = vmull_high_s8(x, w);
  return p;
}

template <int halves>
inline void multiply_add(Product<halves>& p, int8x16_t x, int8x16_t w) {
  p.v[0] = vmlal_s8(p.v[0], vget_low_s8(x), vget_low_s8(w));
  if constexpr (halves == 2) p.v[1] = vmlal_high_s8(p.v[1], x, w);
}

template <int halves>
inline void add(Acc<halves>& acc, const Product<halves>& p) {
#pragma GCC unroll 2
  for (int h = 0; h < halves; ++h) {
    acc.v[2 * h] = vaddw_s16(acc.v[2 * h], vget_low_s16(p.v[h]));
    acc.v[2 * h + 1] = vaddw_high_s16(acc.v[2 * h + 1], p.v[h]);
  }
}

template <int halves>
inline Acc<halves> load_bias(const Row& t) {
  Acc<halves> acc;
#pragma GCC unroll 4
  for (int i = 0; i < 2 * halves; ++i) acc.v[i] = vld1q_s32(t.bias + 4 * i);
  return acc;
}

// Last::kLimits also where not all channels of the block exist.
template <int halves, Last last>
inline void store(const Acc<halves>& acc, const Row& t, Act* y) {
  float32x4_t v[2 * halves];
#pragma GCC unroll 4
  for (int i = 0; i < 2 * halves; ++i)
    v[i] = vmulq_f32(vcvtq_f32_s32(acc.v[i]), vld1q_f32(t.multiplier + 4 * i));
  if constexpr (halves == 2) {
    const int8x16_t bytes = to_bytes16<last>(v[0], v[1], v[2], v[3], t.output);
    if (last != Last::kLimits) return vst1q_s8(y, bytes);
    store_first(y, bytes, t.valid);
  } else {
    const int8x8_t bytes = to_bytes8<last>(v[0], v[1], t.output);
    if (last != Last::kLimits) return vst1_s8(y, bytes);
    store_first(y, vcombine_s8(bytes, bytes), t.valid);
  }
}

// Calls f for constants 0 .. n - 1. No loop, for GCC keeps in memory what is picked in one.
template <int n, class F>
[[gnu::always_inline]] inline void each(F f) {
  if constexpr (n > 0) {
    each<n - 1>(f);
    f(std::integral_constant<int, n - 1>{});
  }
}

// Taps `tap`, the next one, and all that follow, of n pixels.
template <int taps, int stride, int n, int halves, int tap>
[[gnu::always_inline]] inline void add_taps(const Act* const (&rows)[taps], const int8_t* weights,
                                            Acc<halves> (&acc)[n]) {
  constexpr int next = tap + 1;
  constexpr bool both = next < taps * taps;
  const int8x16_t w0 = vld1q_s8(weights + tap * kBlock);
  const int8x16_t w1 = both ? vld1q_s8(weights + next * kBlock) : w0;
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    const int8x16_t x0 = vld1q_s8(rows[tap / taps] + (i * stride + tap % taps) * kBlock);
    Product<halves> p = multiply<halves>(x0, w0);
    if constexpr (both) {
      multiply_add(p, vld1q_s8(rows[next / taps] + (i * stride + next % taps) * kBlock), w1);
    }
    add(acc[i], p);
  }
  // Else GCC keeps all pixels of a 5x5 window, which are more than there are registers for.
  if (taps > 3) __asm__ volatile("" : "+w"(acc[n - 1].v[0])::"memory");
  if constexpr (tap + 2 < taps * taps) {
    add_taps<taps, stride, n, halves, tap + 2>(rows, weights, acc);
  }
}

// An address that the compiler knows nothing about; and that, from this place on. Functions, for
// clang 14 lets no lambda name a row in assembly.
[[gnu::always_inline]] inline void hide(const Act*& p) { __asm__("" : "+r"(p)); }
[[gnu::always_inline]] inline void hide_here(const Act*& p) {
  __asm__ volatile("" : "+r"(p)::"memory");
}

// n pixels of a square window without dilation. Each row of the window moves on by them.
template <int taps, int stride, int n, int halves, Last last>
[[gnu::always_inline]] inline void tile(const Row& t, const Act* (&rows)[taps], Act*& y) {
  const int8_t* weights = t.weights;
  // Addresses are registers and constants then: one step of the machine per load. GCC would add
  // registers, which takes two, and load pointers anew.
  __asm__("" : "+r"(weights));
  each<taps>([&](auto r) { hide(rows[r.value]); });
  Acc<halves> acc[n];
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) acc[i] = load_bias<halves>(t);
  add_taps<taps, stride, n, halves, 0>(rows, weights, acc);
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i, y += t.y_stride) store<halves, last>(acc[i], t, y);
  each<taps>([&](auto r) {
    hide_here(rows[r.value]);  // else GCC moves on early, by a copy
    rows[r.value] += n * stride * kBlock;
  });
}

#include "kernels/dwconv/neon_rows.inc"

// `tiles` >= 1 times two pixels of a whole block.
template <int taps, int stride>
[[gnu::always_inline]] inline void run_hot_tiles(const Row& t, const Act* (&rows)[taps], Act*& y,
                                                 int tiles) {
  if constexpr (taps == 3) {
    stride == 1 ? run_3x3s1(t, rows, y, tiles) : run_3x3s2(t, rows, y, tiles);
  } else {
    stride == 1 ? run_5x5s1(t, rows, y, tiles) : run_5x5s2(t, rows, y, tiles);
  }
}

template <int taps, int stride, int halves, Last last>
void run_row_to(const Row& row, int columns) {
  const Row t = row;
  const Act* rows[taps];
  each<taps>([&](auto r) { rows[r.value] = t.rows[r.value]; });
  Act* y = t.y;
  if constexpr (halves == 2 && last != Last::kLimits) {
    if (columns >= 2) run_hot_tiles<taps, stride>(t, rows, y, columns / 2);
  } else {
    for (int twos = columns / 2; twos > 0; --twos) tile<taps, stride, 2, halves, last>(t, rows, y);
  }
  if (columns % 2) tile<taps, stride, 1, halves, last>(t, rows, y);
}

template <int taps, int stride, int halves>
void run_row(const Row& t, int columns) {
  if (t.valid != 8 * halves || t.output.last == Last::kLimits) {
    run_row_to<taps, stride, halves, Last::kLimits>(t, columns);
  } else if (t.output.last == Last::kEven) {
    run_row_to<taps, stride, halves, Last::kEven>(t, columns);
  } else {
    run_row_to<taps, stride, halves, Last::kOdd>(t, columns);
  }
}

// n pixels of any window.
template <int n, int halves, Last last>
[[gnu::always_inline]] inline void tile_any(const Row& t, int x) {
  Acc<halves> acc[n];
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) acc[i] = load_bias<halves>(t);
  const int8_t* w = t.weights;
  for (int r = 0; r < t.kh; ++r) {
    const Act* at = t.rows[r] + x * t.sw * kBlock;
    int j = 0;
    for (; j + 2 <= t.kw; j += 2, at += 2 * t.dw * kBlock, w += 2 * kBlock) {
      const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + kBlock);
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) {
        const Act* pixel = at + i * t.sw * kBlock;
        Product<halves> p = multiply<halves>(vld1q_s8(pixel), w0);
        multiply_add(p, vld1q_s8(pixel + t.dw * kBlock), w1);
        add(acc[i], p);
      }
    }
    if (j == t.kw) continue;
    const int8x16_t w0 = vld1q_s8(w);
    w += kBlock;
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) add(acc[i], multiply<halves>(vld1q_s8(at + i * t.sw * kBlock), w0));
  }
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) store<halves, last>(acc[i], t, t.y + (x + i) * t.y_stride);
}

template <int halves>
void run_row_any(const Row& t, int columns) {
  int x = 0;
  for (; x + 3 <= columns; x += 3) tile_any<3, halves, Last::kLimits>(t, x);
  for (; x < columns; ++x) tile_any<1, halves, Last::kLimits>(t, x);
}

using RunRow = void (*)(const Row&, int columns);

// Top to bottom through one block.
void walk(const Block& b, const std::byte* packed, RunRow run_row) {
  const Args& a = *b.args;
  const Geometry& g = a.geometry;
  const int ring = ring_rows(g);
  const ptrdiff_t row_bytes = static_cast<ptrdiff_t>(padded_width(g)) * kBlock;
  Act* const lines = reinterpret_cast<Act*>(a.scratch);
  const Act** rows = reinterpret_cast<const Act**>(a.scratch + ring * row_bytes);
  for (int i = 0; i < ring; ++i) fill_margins(b, lines + i * row_bytes);

  Row t{};
  t.rows = rows;
  t.bias = reinterpret_cast<const int32_t*>(packed);
  t.multiplier = reinterpret_cast<const float*>(t.bias + kBlock);
  t.weights = reinterpret_cast<const int8_t*>(t.multiplier + kBlock);
  t.kh = g.kh, t.kw = g.kw, t.sw = g.sw, t.dw = g.dw;
  t.output = load_output(a.epilogue->clamp, a.fits16);
  t.y_stride = g.y_pixel_stride;
  t.valid = b.valid;
  int loaded =
      a.y_begin * g.sh;  // rows above this one are in the ring; counted from the top of the padding
  for (int y = a.y_begin; y < a.y_end; ++y) {
    const int first = y * g.sh;
    loaded = larger(loaded, first);
    for (; loaded < first + ring; ++loaded)
      fill_row(b, loaded - g.top, lines + loaded % ring * row_bytes);
    for (int i = 0; i < g.kh; ++i) rows[i] = lines + (first + i * g.dh) % ring * row_bytes;
    t.y = a.y + static_cast<ptrdiff_t>(y) * g.ow * g.y_pixel_stride + b.first;
    run_row(t, g.ow);
    finish(b, y, y + 1);
  }
}

const char* refuses_none(const Geometry&, const Weights&) { return nullptr; }

template <int taps, int stride>
const char* refuses(const Geometry& g, const Weights&) {
  if (g.kh != taps || g.kw != taps) return "made for another window";
  if (g.sh != stride || g.sw != stride) return "made for another stride";
  return g.dh != 1 || g.dw != 1 ? "made for windows without dilation" : nullptr;
}

size_t scratch_bytes(const Geometry& g) {
  return static_cast<size_t>(ring_rows(g)) * static_cast<size_t>(padded_width(g)) * kBlock +
         static_cast<size_t>(g.kh) * sizeof(void*);
}

size_t packed_bytes(const Geometry& g) { return tap_bytes(g, kBlock); }

void pack(const Geometry& g, const Weights& weights, void* packed) {
  pack_taps(g, weights, kBlock, packed);
}

template <RunRow half, RunRow whole>
void run(const Args& a) {
  for_each_block(a, tap_block_bytes(a.geometry, kBlock),
                 [](const Block& b, const std::byte* packed) {
                   walk(b, packed, b.valid <= kBlock / 2 ? half : whole);
                 });
}

#define LIGHTKERN_DWCONV(taps, stride)                   \
  {"dwconv_s8_" #taps "x" #taps "s" #stride "_1x2_neon", \
   kBlock,                                               \
   1,                                                    \
   refuses<taps, stride>,                                \
   scratch_bytes,                                        \
   packed_bytes,                                         \
   pack,                                                 \
   run<run_row<taps, stride, 1>, run_row<taps, stride, 2>>}
constexpr Kernel kKernels[] = {
    LIGHTKERN_DWCONV(3, 1),
    LIGHTKERN_DWCONV(3, 2),
    LIGHTKERN_DWCONV(5, 1),
    LIGHTKERN_DWCONV(5, 2),
    {"dwconv_s8_1x3_neon", kBlock, 1, refuses_none, scratch_bytes, packed_bytes, pack,
     run<run_row_any<1>, run_row_any<2>>},
};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::dwconv
