// Depthwise convolution by row pairs, for every ISA that multiplies pairs of 16-bit numbers: all
// but the vectors.
//
// Exact for any int8 weights. Two rows of the image are interleaved and widened once, into a ring
// of row pairs that stays in the first-level cache (ring.h); a tile moves over it (row_tiles.h).
// (3x3 needs none: slide.h.) At stride 1 each pair serves two output rows (two sets of weights,
// pack.cc), at stride 2 two output rows share the pair between them. (Filling the next pairs
// between the tiles of one row was tried, and lost: it needs more instructions than it hides.)
// |acc| < 2^31 by Model.validate; a product pair is below 2 * 255 * 127 < 2^17.
//
// An ISA file gives a struct V of vectors (avx2.cc is the example) and lists kernels<V>. All of it
// has internal linkage.
#pragma once

#include <cstring>

#include "kernels/dwconv/ring.h"
#include "kernels/dwconv/row_tiles.h"

namespace lightkern::dwconv {
namespace {

// --- the walk ------------------------------------------------------------------------------------

// Computes one or two rows of so many tiles of channels, and advances past them.
template <class V>
struct RowKernels {
  using Run = void (*)(Tile<V>&, int count);
  struct Kinds {
    Run whole, tail;
  };
  Kinds one, two;
};

// What follows requantization, on values that have just been written: those for a table lie aside,
// in group.aside (reading them back from the output, whose lines are not in the first-level cache
// yet, costs as much as the lookups).
template <class V>
void finish_rows(const Args& a, const Group<V>& group, const TableVec& table, int y0, int y1) {
  Epilogue add = *a.epilogue;
  add.table = nullptr;
  const ptrdiff_t pitch = group.blocks * V::kBlock;
  const int columns = group.x1 - group.x0;
  for (int y = y0; y < y1; ++y) {
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(y) * a.geometry.ow + group.x0;
    Act* row = a.y + pixel * a.geometry.y_pixel_stride + group.c0;
    if (a.epilogue->table) {
      lookup_rows(group.aside + (y - y0) * columns * pitch, pitch, row, a.geometry.y_pixel_stride,
                  static_cast<size_t>(columns), static_cast<size_t>(group.channels()), table,
                  a.epilogue->table);
    }
    if (a.residual) {
      apply_tail_rows(row, a.geometry.y_pixel_stride,
                      a.residual + pixel * add.residual_stride + group.c0,
                      static_cast<size_t>(columns), group.channels(), add);
    }
  }
}

template <class V>
Tile<V> make_tile(const Args& a, const Walk& walk, const Group<V>& group) {
  const Geometry& g = a.geometry;
  Tile<V> t{};
  t.slot = group.slot();
  t.width = group.width;
  t.slots = walk.slots;
  t.kw = g.kw;
  t.sw = g.sw;
  t.dw = g.dw;
  t.packed_pairs = row_pairs(g.kh, walk.sets);
  t.packed_vectors = kHeader + g.kw * t.packed_pairs * walk.sets;
  t.clamp = load_byte_clamp(a.epilogue->clamp);
  t.columns = group.x1 - group.x0;
  t.y_stride = a.epilogue->table ? group.blocks * V::kBlock : g.y_pixel_stride;
  t.y_row = a.epilogue->table ? t.columns * t.y_stride : g.ow * g.y_pixel_stride;
  t.tail = group.tail;
  return t;
}

// One group of channels in one strip, top to bottom.
template <class V>
void walk_strip(const Args& a, const Walk& walk, const RowKernels<V>& kernels,
                const Group<V>& group) {
  using Vector = typename V::Vector;
  const Geometry& g = a.geometry;
  Act padding_pixel[kMostChannels + 2 * V::kBlock];  // and what widen_tail reads before it
  std::memset(padding_pixel, a.x_zero, sizeof(padding_pixel));
  const Act* padding = padding_pixel + V::kBlock;
  pad_ring(a, walk, group);
  TableVec table;
  if (a.epilogue->table) table = load_table(a.epilogue->table, a.epilogue->fit);
  Tile<V> t = make_tile(a, walk, group);
  for (int y = a.y_begin; y < a.y_end; y += walk.rows) {
    const int fresh = y == a.y_begin ? walk.slots : walk.step;
    if (y != a.y_begin) t.first = (t.first + walk.step) % walk.slots;
    for (int p = walk.slots - fresh; p < walk.slots; ++p) {
      fill_slot(a, group, y * g.sh + 2 * p * g.dh, (t.first + p) % walk.slots, padding);
    }
    const int rows = smaller(walk.rows, a.y_end - y);
    const auto& run = rows == 2 ? kernels.two : kernels.one;
    t.ring = group.ring;
    t.packed = static_cast<const Vector*>(a.packed) +
               static_cast<ptrdiff_t>(group.c0 / V::kBlock) * t.packed_vectors;
    t.y = a.epilogue->table ? group.aside : a.y + y * t.y_row + group.x0 * t.y_stride + group.c0;
    run.whole(t, group.whole());
    if (group.whole() < group.blocks) run.tail(t, 1);
    if (a.epilogue->table || a.residual) finish_rows(a, group, table, y, y + rows);
  }
}

template <class V>
void walk_image(const Args& a, const Walk& walk, const RowKernels<V>& kernels) {
  const Geometry& g = a.geometry;
  const Cut cut = cut_ring(g, walk, V::kBlock);
  Group<V> group{};
  group.ring = reinterpret_cast<typename V::Vector*>(a.scratch);
  group.aside = reinterpret_cast<Act*>(a.scratch + ring_bytes(g, cut, walk, V::kBlock));
  for (group.c0 = a.c_begin; group.c0 < a.c_end; group.c0 += group.blocks * V::kBlock) {
    const int channels = a.c_end - group.c0;
    group.blocks = smaller(cut.blocks, ceil_div(channels, V::kBlock));
    group.tail = smaller(V::kBlock, channels - (group.blocks - 1) * V::kBlock);
    for (group.x0 = 0; group.x0 < g.ow; group.x0 = group.x1) {
      group.x1 = smaller(g.ow, group.x0 + cut.columns);
      group.width = columns_read(g, group.x1 - group.x0);
      const int shift = group.x0 * g.sw - g.left;
      group.left = smaller(group.width, larger(0, -shift));
      group.right = larger(group.left, smaller(group.width, g.w - shift));
      walk_strip(a, walk, kernels, group);
    }
  }
}

// --- the kernels ---------------------------------------------------------------------------------

// Square windows at stride 1 or 2: two output rows share what they read.
constexpr Walk two_row_walk(int taps, int stride) {
  const int sets = stride == 1 ? 2 : 1;
  return {sets, 2, row_pairs(taps, sets) + stride - 1, stride};
}

// Any other window: row by row, and no pair outlives its row.
inline Walk row_walk(const Geometry& g) {
  const int pairs = row_pairs(g.kh, 1);
  return {1, 1, pairs, pairs};
}

inline const char* refuses_any(const Geometry& g, const Weights& weights) {
  return results_below(g, weights, 2147483000.0) ? nullptr
                                                 : "results before clamping could exceed 32 bits";
}

template <int kTaps, int kStride>
const char* refuses(const Geometry& g, const Weights& weights) {
  if (g.kh != kTaps || g.kw != kTaps) return "made for another window";
  if (g.sh != kStride || g.sw != kStride) return "made for another stride";
  return g.dh != 1 || g.dw != 1 ? "made for windows without dilation" : refuses_any(g, weights);
}

template <class V, int kTaps, int kStride>
size_t scratch_bytes(const Geometry& g) {
  return scratch_for(g, two_row_walk(kTaps, kStride), V::kBlock);
}

template <class V>
size_t scratch_bytes_any(const Geometry& g) {
  return scratch_for(g, row_walk(g), V::kBlock);
}

template <class V, int kSets>
size_t packed_bytes(const Geometry& g) {
  return row_pair_bytes(g, V::kBlock, kSets);
}

template <class V, int kSets>
void pack(const Geometry& g, const Weights& weights, void* packed) {
  pack_row_pairs(g, weights, V::kBlock, kSets, packed);
}

template <class V, int kTaps, int kStride>
void run(const Args& a) {
  walk_image<V>(a, two_row_walk(kTaps, kStride),
                {{run_rows<V, kTaps, kStride, 1, kWhole>, run_rows<V, kTaps, kStride, 1, kTail>},
                 {run_rows<V, kTaps, kStride, 2, kWhole>, run_rows<V, kTaps, kStride, 2, kTail>}});
}

template <class V>
void run_any(const Args& a) {
  walk_image<V>(a, row_walk(a.geometry), {{run_rows_any<V, kWhole>, run_rows_any<V, kTail>}, {}});
}

template <class V, int kTaps, int kStride>
constexpr Kernel square_kernel(const char* name) {
  constexpr int kSets = kStride == 1 ? 2 : 1;
  return {name,
          2 * V::kBlock,
          2,
          refuses<kTaps, kStride>,
          scratch_bytes<V, kTaps, kStride>,
          packed_bytes<V, kSets>,
          pack<V, kSets>,
          run<V, kTaps, kStride>};
}

template <class V>
constexpr Kernel any_kernel(const char* name) {
  return {name,       2 * V::kBlock, 1, refuses_any, scratch_bytes_any<V>, packed_bytes<V, 1>,
          pack<V, 1>, run_any<V>};
}

}  // namespace
}  // namespace lightkern::dwconv
