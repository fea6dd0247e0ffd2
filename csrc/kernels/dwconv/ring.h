// The ring of row pairs of rows.h: how much of an image goes through it together, and how a row
// pair is filled in.
#pragma once

#include "kernels/dwconv/dwconv.h"

namespace lightkern::dwconv {
namespace {

constexpr size_t kRingBytes = 24 << 10;  // leaves room for weights, image and output in 32 KiB
constexpr int kMostChannels = 64;        // of a group: a cache line

// How a kernel walks down the image.
struct Walk {
  int sets;   // of weights: 2 at stride 1
  int rows;   // output rows per step
  int slots;  // row pairs that a step reads
  int step;   // new row pairs from step to step; == slots if steps share none
};

constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// --- cutting: what goes through the ring together ------------------------------------------------

struct Cut {
  int blocks;   // most of a group of channel blocks
  int columns;  // most of a strip of output columns
};

// Columns of the padded image below `columns` output columns.
inline int columns_read(const Geometry& g, int columns) {
  return (columns - 1) * g.sw + (g.kw - 1) * g.dw + 1;
}

// Groups as wide as a cache line where strips stay reasonably wide too; groups and strips of equal
// width.
inline Cut cut_ring(const Geometry& g, const Walk& walk, int block) {
  constexpr int kWide = 12, kNarrow = 8;
  const int couples = ceil_div(g.c, 2 * block);
  for (int most = smaller(kMostChannels / (2 * block), couples);; most = ceil_div(most, 2)) {
    const int blocks = 2 * ceil_div(couples, ceil_div(couples, most));
    const size_t line = static_cast<size_t>(walk.slots * blocks * block) * 2 * sizeof(int16_t);
    const int columns = (static_cast<int>(kRingBytes / line) - columns_read(g, 1)) / g.sw + 1;
    if (columns >= g.ow) return {blocks, g.ow};
    if (columns < kWide && most > 1) continue;
    const int strips = ceil_div(g.ow, larger(columns, kNarrow));
    return {blocks, smaller(g.ow, ceil_div(ceil_div(g.ow, strips), 4) * 4)};
  }
}

inline size_t ring_bytes(const Geometry& g, const Cut& cut, const Walk& walk, int block) {
  return static_cast<size_t>(walk.slots * cut.blocks) *
         static_cast<size_t>(columns_read(g, cut.columns)) * static_cast<size_t>(block) * 2 *
         sizeof(int16_t);
}

// The ring, and behind it the outputs of a step that still have to go through a table.
inline size_t scratch_for(const Geometry& g, const Walk& walk, int block) {
  const Cut cut = cut_ring(g, walk, block);
  return ring_bytes(g, cut, walk, block) +
         static_cast<size_t>(walk.rows * cut.columns * cut.blocks * block);
}

// --- filling a row pair --------------------------------------------------------------------------

// Channels of a tile: both blocks of a couple, one whole block, or the last channels, fewer than a
// block.
enum Kind { kCouple, kWhole, kTail, kKinds };

struct Row {
  const Act* pixel;
  ptrdiff_t stride;  // 0: padding
};

// n pixels of two rows: so many couples of blocks, or one block. Blocks lie `width` vectors apart.
// A tail has some of the tensor's c channels.
template <class V, Kind kind, int kCouples = 1>
void fill(Row a, Row b, int n, typename V::Vector* to, ptrdiff_t width, int tail, int c) {
  for (int x = 0; x < n; ++x, a.pixel += a.stride, b.pixel += b.stride, ++to) {
#pragma GCC unroll 4
    for (int i = 0; kind == kCouple && i < kCouples; ++i) {
      const int channel = 2 * V::kBlock * i;
      V::widen_couple(a.pixel + channel, b.pixel + channel, to + 2 * i * width,
                      to + (2 * i + 1) * width);
    }
    if (kind == kWhole) V::widen_whole(a.pixel, b.pixel, to);
    if (kind == kTail) V::widen_tail(a.pixel, b.pixel, tail, c, to);
  }
}

// A group of channels, in a strip [x0, x1) of output columns. The image lies in columns [left,
// right) of the ring.
template <class V>
struct Group {
  int c0, blocks;
  int tail;  // channels of the last block
  int x0, x1, left, right;
  typename V::Vector* ring;  // [slots][blocks][width]
  Act* aside;                // [rows of a step][x1 - x0][blocks][V::kBlock]
  int width;

  ptrdiff_t slot() const { return static_cast<ptrdiff_t>(blocks) * width; }
  int whole() const { return tail == V::kBlock ? blocks : blocks - 1; }
  int channels() const { return (blocks - 1) * V::kBlock + tail; }
};

// Row of the image, counted from the first row of padding, at the group's first channel and column.
template <class V>
Row row_at(const Args& a, const Group<V>& group, int row, const Act* padding) {
  const Geometry& g = a.geometry;
  const ptrdiff_t y = row - g.top, x = group.x0 * g.sw - g.left + group.left;
  if (y < 0 || y >= g.h) return {padding, 0};
  return {a.x + (y * g.w + x) * g.x_pixel_stride + group.c0, g.x_pixel_stride};
}

// Rows `row` and row + g.dh, all channels of the group, into a slot of the ring.
template <class V>
void fill_slot(const Args& a, const Group<V>& group, int row, int slot, const Act* padding) {
  Row upper = row_at(a, group, row, padding),
      lower = row_at(a, group, row + a.geometry.dh, padding);
  typename V::Vector* to = group.ring + slot * group.slot() + group.left;
  const int pixels = group.right - group.left;
  const auto next = [&](int blocks, auto run) {
    run(upper, lower, pixels, to, group.width, group.tail, a.geometry.c);
    to += blocks * group.width;
    upper.pixel += blocks * V::kBlock;
    lower.pixel += blocks * V::kBlock;
  };
  int whole = group.whole();
  for (; whole >= 8; whole -= 8) next(8, fill<V, kCouple, 4>);
  for (; whole >= 4; whole -= 4) next(4, fill<V, kCouple, 2>);
  for (; whole >= 2; whole -= 2) next(2, fill<V, kCouple>);
  if (whole) next(1, fill<V, kWhole>);
  if (group.whole() < group.blocks) next(1, fill<V, kTail>);
}

// Columns of padding are the same in every row.
template <class V>
void pad_ring(const Args& a, const Walk& walk, const Group<V>& group) {
  const auto zero = V::broadcast(static_cast<int16_t>(a.x_zero));
  for (auto* line = group.ring; line < group.ring + walk.slots * group.slot();
       line += group.width) {
    for (int x = 0; x < group.left; ++x) line[x] = zero;
    for (int x = group.right; x < group.width; ++x) line[x] = zero;
  }
}

}  // namespace
}  // namespace lightkern::dwconv
