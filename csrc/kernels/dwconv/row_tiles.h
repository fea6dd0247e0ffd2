// The tiles of the row-pair algorithm (rows.h): a few pixels of one or two output rows, and a block
// of channels, from row pairs that lie in the ring.
#pragma once

#include "kernels/dwconv/ring.h"

namespace lightkern::dwconv {
namespace {

constexpr int kMostPairs = 4;  // that a tile of a square window reads

// One step of one tile of channels: where its row pairs lie, and what to make of them.
template <class V>
struct Tile {
  using Vector = typename V::Vector;
  const Vector* ring;  // slot 0 of the first block
  ptrdiff_t slot;      // vectors between slots
  ptrdiff_t width;     // vectors between blocks
  int slots, first;    // pair p of the step is in slot (first + p) % slots
  int kw, sw, dw;
  int packed_pairs, packed_vectors;  // row pairs, and vectors of a block
  const Vector* packed;              // of the first block
  typename V::Clamp clamp;
  Act* y;  // pixels of the upper row; those of the lower one are y_row further
  ptrdiff_t y_stride, y_row;
  int columns;
  int tail;  // channels, for kTail

  void advance() {
    ring += width;
    packed += packed_vectors;
    y += V::kBlock;
  }
  const Vector* pair(int p) const {
    const int at = first + p;
    return ring + (at < slots ? at : at - slots) * slot;
  }
};

constexpr int kHeader = 2;  // vectors of a packed block before its weights: bias, multipliers

// Hides where a pointer comes from: GCC 12 otherwise carries pixels from one column to the next,
// and spills.
template <class T>
inline const T* opaque(const T* pointer) {
  __asm__("" : "+r"(pointer));
  return pointer;
}

// n pixels of one or two output rows. At stride 1 both rows read every pair, with a set of weights
// each; at stride 2 the lower one reads one pair further down.
template <class V, int kTaps, int kStride, int kRows, Kind kind, int n>
inline __attribute__((always_inline)) void tile(const Tile<V>& t,
                                                const typename V::Vector* const* pairs, int x) {
  using Vector = typename V::Vector;
  constexpr int kSets = kStride == 1 ? 2 : 1;
  constexpr int kPairs = row_pairs(kTaps, kRows == 1 ? 1 : kSets);
  Vector upper[n], lower[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) upper[i] = lower[i] = V::load(t.packed);
  const Vector* w = t.packed + kHeader;
#pragma GCC unroll 1
  for (int j = 0; j < kTaps; ++j, w += row_pairs(kTaps, kSets) * kSets) {
#pragma GCC unroll 8
    for (int p = 0; p < kPairs; ++p) {
      const Vector* above = opaque(pairs[p] + kStride * x + j);
      const Vector* below = kStride == 1 ? above : opaque(pairs[p + kRows - 1] + kStride * x + j);
      const Vector w0 = V::load(w + p * kSets), w1 = V::load(w + p * kSets + kSets - 1);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) {
        V::multiply_add(upper[i], above[kStride * i], w0);
        if (kRows == 2) V::multiply_add(lower[i], below[kStride * i], w1);
      }
    }
  }
  Act* y = t.y + x * t.y_stride;
  const Vector* m = t.packed + 1;
  V::template store<kind, n>(upper, m, m, t.clamp, y, t.y_stride, t.tail);
  if (kRows == 2) V::template store<kind, n>(lower, m, m, t.clamp, y + t.y_row, t.y_stride, t.tail);
}

template <class V, int kTaps, int kStride, int kRows, Kind kind>
inline void run_row(const Tile<V>& t) {
  constexpr int kPixels = kind == kWhole ? 4 : 2;
  const typename V::Vector* pairs[kMostPairs];
  for (int p = 0; p < row_pairs(kTaps, kStride == 1 ? 2 : 1) + kStride - 1; ++p)
    pairs[p] = t.pair(p);
  int x = 0;
  for (; x + kPixels <= t.columns; x += kPixels)
    tile<V, kTaps, kStride, kRows, kind, kPixels>(t, pairs, x);
  const int left = t.columns - x;
  if (kPixels > 2 && left == 3)
    return tile<V, kTaps, kStride, kRows, kind, kPixels - 1>(t, pairs, x);
  if (kPixels > 2 && left == 2) return tile<V, kTaps, kStride, kRows, kind, 2>(t, pairs, x);
  if (left == 1) tile<V, kTaps, kStride, kRows, kind, 1>(t, pairs, x);
}

template <class V, int kTaps, int kStride, int kRows, Kind kind>
void run_rows(Tile<V>& t, int count) {
  for (; count > 0; --count) {
    run_row<V, kTaps, kStride, kRows, kind>(t);
    t.advance();
  }
}

// n pixels of one output row, any window, stride and dilation.
template <class V, Kind kind, int n>
inline void tile_any(const Tile<V>& t, int x) {
  using Vector = typename V::Vector;
  Vector acc[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) acc[i] = V::load(t.packed);
  for (int p = 0; p < t.packed_pairs; ++p) {
    const Vector *pixels = t.pair(p) + x * t.sw, *w = t.packed + kHeader + p;
#pragma GCC unroll 1
    for (int j = 0; j < t.kw; ++j, pixels += t.dw, w += t.packed_pairs) {
      const Vector w0 = V::load(w);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) V::multiply_add(acc[i], pixels[i * t.sw], w0);
    }
  }
  const Vector* m = t.packed + 1;
  Act* y = t.y + x * t.y_stride;
  V::template store<kind, (n < 4 ? n : 4)>(acc, m, m, t.clamp, y, t.y_stride, t.tail);
  if (n > 4)
    V::template store<kind, 4>(acc + (n > 4 ? 4 : 0), m, m, t.clamp, y + 4 * t.y_stride, t.y_stride,
                               t.tail);
}

template <class V, Kind kind>
void run_rows_any(Tile<V>& t, int count) {
  for (; count > 0; --count) {
    int x = 0;
    for (; x + 8 <= t.columns; x += 8) tile_any<V, kind, 8>(t, x);
    for (; x + 4 <= t.columns; x += 4) tile_any<V, kind, 4>(t, x);
    for (; x < t.columns; ++x) tile_any<V, kind, 1>(t, x);
    t.advance();
  }
}

}  // namespace
}  // namespace lightkern::dwconv
