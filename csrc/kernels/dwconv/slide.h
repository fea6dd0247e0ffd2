// 3x3 windows without a ring: pixels are paired and widened in registers, and multiplied at once
// for every output whose window holds them, while a tile of channels slides along one or two
// output rows. Several columns of outputs are under way at a time; each step finishes one.
//
// At stride 1 a pair is two rows of a column, and two sets of weights serve two output rows, as in
// rows.h: four rows of the image, three columns of outputs under way. At stride 2 a pair is two
// columns of a row, {w0, w1} for one output and {w2, 0} for the one before: five rows of the image,
// two columns of outputs under way.
#pragma once

#include <type_traits>

#include "kernels/dwconv/rows.h"

namespace lightkern::dwconv {
namespace {

constexpr int kWindow = 3, kMostRead = 5;

constexpr int slide_vectors(int stride) { return kHeader + kWindow * (stride == 1 ? 4 : 2); }

// One or two output rows of a group of channels.
template <class V>
struct Slider {
  Row rows[kMostRead];  // of the image, at its first column
  const Act* padding;
  bool left, right;  // whether a column of padding is read
  int columns;
  typename V::Clamp clamp;
  ptrdiff_t y_stride, y_row;  // between pixels, and from the upper row to the lower one
  int tail, c;                // channels of the last block, and of the tensor, for kTail
};

// Where the pixels of a column of the image are, row by row.
template <int kRead>
struct Column {
  const Act* at[kRead];
};

template <class V, int kStride, int kRows, Kind kind>
struct Slide {
  using Vector = typename V::Vector;
  static constexpr int kBlocks = kind == kCouple ? 2 : 1;
  static constexpr int kRead = kStride * (kRows - 1) + kWindow;  // rows of the image
  static constexpr int kTaps = kStride == 1 ? 3 : 2;  // weights of a row: one by one, or in pairs
  static constexpr int kVectors = slide_vectors(kStride);
  using Pixels = Column<kRead>;

  const Slider<V>& s;
  const Vector* packed;                // of the first block
  Vector sums[kTaps][kBlocks][kRows];  // of the columns under way; the next to finish is the first

  inline __attribute__((always_inline)) void widen(const Act* a, const Act* b, Vector* pair) {
    if (kind == kCouple) V::widen_couple(a, b, pair, pair + kBlocks - 1);
    if (kind == kWhole) V::widen_whole(a, b, pair);
    if (kind == kTail) V::widen_tail(a, b, s.tail, s.c, pair);
  }

  // Pairs of the upper and of the lower output row, by the taps [kFirst, kLast] of a row of
  // weights, which is so many vectors into a block. `fresh`: the first tap begins a sum.
  template <int kFirst, int kLast>
  inline __attribute__((always_inline)) void multiply(const Vector* upper, const Vector* lower,
                                                      int weights, int tap, int set, bool fresh) {
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 4
      for (int t = kFirst; t <= kLast; ++t) {
        Vector* sum = sums[kTaps - 1 - t][b];
        const Vector* w = packed + b * kVectors + kHeader + weights + t * tap;
        if (fresh && t == 0) sum[0] = sum[kRows - 1] = V::load(packed + b * kVectors);
        V::multiply_add_from(sum[0], upper[b], w);
        if (kRows == 2) V::multiply_add_from(sum[kRows - 1], lower[b], w + set);
      }
    }
  }

  // A column of the image, or two at stride 2, by those taps whose outputs exist.
  template <int kFirst, int kLast>
  inline __attribute__((always_inline)) void step(const Pixels& a, const Pixels& b, Act* y) {
    packed = opaque(packed);  // else GCC keeps the addresses of all weights
    Vector upper[kBlocks], lower[kBlocks];
    if (kStride == 1) {
      widen(a.at[0], a.at[1], upper);
      widen(a.at[2], a.at[kRead - 1], lower);
      const auto tap = [&](auto t) __attribute__((always_inline)) {
        multiply<t, t>(upper, upper, 0, 4, 1, true);
        multiply<t, t>(lower, lower, 2, 4, 1, false);
      };
      // The last tap first: it finishes a column before the first tap begins another.
      if (kLast == 2) tap(std::integral_constant<int, 2>()), finish(y);
      if (kFirst <= 1 && kLast >= 1) tap(std::integral_constant<int, 1>());
      if (kFirst == 0) tap(std::integral_constant<int, 0>());
      return shift();
    }
    // Output rows read every other row: the one between them first, which both do.
    widen(a.at[0], b.at[0], upper);
    if (kRows == 2) widen(a.at[2], b.at[2], lower);
    multiply<kFirst, kLast>(upper, lower, 0, 1, 0, true);
    if (kRows == 2) {
      upper[0] = lower[0], upper[kBlocks - 1] = lower[kBlocks - 1];
      widen(a.at[kRead - 1], b.at[kRead - 1], lower);
    } else {
      widen(a.at[2], b.at[2], upper);
    }
    multiply<kFirst, kLast>(upper, lower, 4, 1, 0, false);
    widen(a.at[1], b.at[1], upper);
    if (kRows == 2) widen(a.at[kRead - 2], b.at[kRead - 2], lower);
    multiply<kFirst, kLast>(upper, lower, 2, 1, 0, false);
    if (kLast == kTaps - 1) finish(y);
    shift();
  }

  inline __attribute__((always_inline)) void shift() {
#pragma GCC unroll 2
    for (int t = 0; t + 1 < kTaps; ++t) {
#pragma GCC unroll 4
      for (int k = 0; k < kBlocks * kRows; ++k)
        sums[t][k / kRows][k % kRows] = sums[t + 1][k / kRows][k % kRows];
    }
  }

  inline __attribute__((always_inline)) void finish(Act* y) {
    V::template store<kind, kRows>(sums[0][0], packed + 1, packed + 1 + kVectors, s.clamp, y,
                                   s.y_row, s.tail);
  }

  Pixels padding() const {
    Pixels p;
    for (const Act*& pixel : p.at) pixel = s.padding;
    return p;
  }

  void run(int channel, Act* y) {
    // Only the first and the last of the rows can be padding.
    const ptrdiff_t top = s.rows[0].stride, inner = s.rows[1].stride,
                    bottom = s.rows[kRead - 1].stride, y_stride = s.y_stride;
    const auto stride_of = [&](int i) {
      if (i == 0) return top;
      return i == kRead - 1 ? bottom : inner;
    };
    const auto right_of = [&](const Pixels& p, int columns) __attribute__((always_inline)) {
      Pixels q;
#pragma GCC unroll 8
      for (int i = 0; i < kRead; ++i) q.at[i] = p.at[i] + columns * stride_of(i);
      return q;
    };
    Pixels pixels;
#pragma GCC unroll 8
    for (int i = 0; i < kRead; ++i)
      pixels.at[i] = s.rows[i].pixel + channel - (s.left ? stride_of(i) : 0);
    const auto next = [&]() __attribute__((always_inline)) { pixels = right_of(pixels, kStride); };

    step<0, 0>(s.left ? padding() : pixels, right_of(pixels, 1), y);
    next();
    if (kTaps > 2) step<0, kTaps - 2>(pixels, pixels, y), next();
    for (int i = kTaps - 1; i < s.columns; ++i, y += y_stride) {
      step<0, kTaps - 1>(pixels, right_of(pixels, 1), y);
      next();
    }
    if (kTaps > 2 && s.columns > 1) {
      step<1, kTaps - 1>(pixels, pixels, y);
      next();
      y += y_stride;
    }
    const Pixels last = s.right ? padding() : pixels;  // its last tap has no partner
    step<kTaps - 1, kTaps - 1>(last, last, y);
  }
};

// So many tiles of channels from `channel` of the group on.
template <class V>
struct SlideKernels {
  using Run = void (*)(const Slider<V>&, const typename V::Vector* packed, int channel, Act* y,
                       int count);
  Run one[kKinds], two[kKinds];
};

template <class V, int kStride, int kRows, Kind kind>
void slide(const Slider<V>& s, const typename V::Vector* packed, int channel, Act* y, int count) {
  constexpr int kBlocks = kind == kCouple ? 2 : 1;
  for (; count > 0; --count) {
    Slide<V, kStride, kRows, kind>{s, packed, {}}.run(channel, y + channel);
    packed += kBlocks * slide_vectors(kStride);
    channel += kBlocks * V::kBlock;
  }
}

template <class V>
void slide_group(const Args& a, const SlideKernels<V>& kernels, const Group<V>& group) {
  using Vector = typename V::Vector;
  const Geometry& g = a.geometry;
  Act padding_pixel[kMostChannels + 2 * V::kBlock];  // and what widen_tail reads before it
  std::memset(padding_pixel, a.x_zero, sizeof(padding_pixel));
  Slider<V> s{};
  s.padding = padding_pixel + V::kBlock;
  s.left = g.left > 0;
  s.right = (g.ow - 1) * g.sw + kWindow - g.left > g.w;
  s.columns = g.ow;
  s.clamp = load_byte_clamp(a.epilogue->clamp);
  s.y_stride = a.epilogue->table ? group.blocks * V::kBlock : g.y_pixel_stride;
  s.y_row = g.ow * s.y_stride;
  s.tail = group.tail;
  s.c = g.c;
  TableVec table;
  if (a.epilogue->table) table = load_table(a.epilogue->table, a.epilogue->fit);
  const int vectors = slide_vectors(g.sw), couples = group.whole() / 2;
  const Vector* packed = static_cast<const Vector*>(a.packed) + group.c0 / V::kBlock * vectors;
  for (int y = a.y_begin; y < a.y_end; y += 2) {
    const int rows = smaller(2, a.y_end - y);
    for (int i = 0; i < kMostRead; ++i) s.rows[i] = row_at(a, group, y * g.sh + i, s.padding);
    Act* to = a.epilogue->table ? group.aside : a.y + y * s.y_row + group.c0;
    const auto* run = rows == 2 ? kernels.two : kernels.one;
    int block = 0;
    const auto next = [&](Kind kind, int blocks, int count) {
      if (count) run[kind](s, packed + block * vectors, block * V::kBlock, to, count);
      block += blocks * count;
    };
    next(kCouple, 2, couples);
    next(kWhole, 1, group.whole() - 2 * couples);
    next(kTail, 1, group.blocks - group.whole());
    if (a.epilogue->table || a.residual) finish_rows(a, group, table, y, y + rows);
  }
}

template <class V, int kStride>
void slide_image(const Args& a) {
  constexpr SlideKernels<V> kernels = {
      {slide<V, kStride, 1, kCouple>, slide<V, kStride, 1, kWhole>, slide<V, kStride, 1, kTail>},
      {slide<V, kStride, 2, kCouple>, slide<V, kStride, 2, kWhole>, slide<V, kStride, 2, kTail>}};
  const Geometry& g = a.geometry;
  Group<V> group{};
  group.aside = reinterpret_cast<Act*>(a.scratch);
  group.x1 = g.ow;
  group.left = g.left;
  for (group.c0 = a.c_begin; group.c0 < a.c_end; group.c0 += group.blocks * V::kBlock) {
    const int channels = a.c_end - group.c0;
    group.blocks = smaller(kMostChannels / V::kBlock, ceil_div(channels, V::kBlock));
    group.tail = smaller(V::kBlock, channels - (group.blocks - 1) * V::kBlock);
    slide_group(a, kernels, group);
  }
}

// --- the kernels ---------------------------------------------------------------------------------

template <template <bool> class V, int kStride>
void run_slide(const Args& a) {
  if (fills_byte(a.epilogue->clamp)) return slide_image<V<true>, kStride>(a);
  slide_image<V<false>, kStride>(a);
}

template <int kStride>
const char* refuses_slide(const Geometry& g, const Weights& weights) {
  if (const char* why = refuses<kWindow, kStride>(g, weights)) return why;
  const bool narrow = g.left <= 1 && (g.ow - 1) * g.sw + kWindow - g.left <= g.w + 1;
  const bool low = g.top <= 1 && (g.oh - 1) * g.sh + kWindow - g.top <= g.h + 1;
  return narrow && low ? nullptr : "made for at most one row and column of padding";
}

inline size_t slide_scratch(const Geometry& g) {
  return static_cast<size_t>(2 * g.ow * kMostChannels);
}

template <class V>
void pack_columns(const Geometry& g, const Weights& weights, void* packed) {
  pack_column_pairs(g, weights, V::kBlock, packed);
}

template <template <bool> class V, int kStride>
constexpr Kernel slide_kernel(const char* name) {
  return {name,
          2 * V<false>::kBlock,
          2,
          refuses_slide<kStride>,
          slide_scratch,
          packed_bytes < V<false>,
          kStride == 1 ? 2 : 1 >
          , kStride == 1 ? pack<V<false>, 2> : pack_columns<V<false>>, run_slide<V, kStride>};
}

}  // namespace
}  // namespace lightkern::dwconv
