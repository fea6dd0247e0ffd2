// Exact for any int8 weights: vpmaddwd on 16-bit pairs of rows, then vpaddd. Two rows of the image
// are interleaved and widened once, into a ring of row pairs that stays in the first-level cache; a
// tile slides over it. At stride 1 each pair serves two output rows (two sets of weights, pack.cc),
// at stride 2 two output rows share the pair between them. |acc| < 2^31 by Model.validate; a
// product pair is below 2 * 255 * 127 < 2^17. Ceiling of vpmaddwd + vpaddd: 29 MAC/cycle on Zen 3,
// of which 3x3 can use 3/4 and 5x5 5/6 (the zero weights); requantization costs 3x3 nearly as much
// again, since conversions have two ports.
#include "kernels/simd/avx2.h"

#include <cstring>

#include "kernels/dwconv/dwconv.h"

namespace lightkern::dwconv {
namespace {

constexpr int kBlock = 8;                // channels per register of accumulators
constexpr size_t kRingBytes = 20 << 10;  // leaves room for weights, image and output in 32 KiB
constexpr int kMostBlocks = 8;           // of a group: 64 channels, a cache line

// How a kernel walks down the image.
struct Walk {
  int sets;   // of weights: 2 at stride 1
  int rows;   // output rows per step
  int slots;  // row pairs that a step reads
  int step;   // row pairs between steps; == slots if steps share none
};

// What goes through the ring together: a group of channel blocks of a strip of output columns.
struct Cut {
  int blocks;   // most of a group
  int columns;  // most of a strip
};

int smaller(int a, int b) { return a < b ? a : b; }
int larger(int a, int b) { return a > b ? a : b; }
int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Columns of the padded image below `columns` output columns.
int columns_read(const Geometry& g, int columns) {
  return (columns - 1) * g.sw + (g.kw - 1) * g.dw + 1;
}

// Groups as wide as a cache line where strips stay reasonably wide too; strips of equal width.
Cut cut_ring(const Geometry& g, const Walk& walk) {
  constexpr int kWide = 24, kNarrow = 8;
  const int blocks_of_c = ceil_div(g.c, kBlock);
  for (int blocks = smaller(kMostBlocks, blocks_of_c);; blocks = ceil_div(blocks, 2)) {
    const int fit = static_cast<int>(kRingBytes / sizeof(__m256i)) / (walk.slots * blocks);
    const int columns = (fit - columns_read(g, 1)) / g.sw + 1;
    if (columns >= g.ow) return {blocks, g.ow};
    if (columns < kWide && blocks > 2) continue;
    const int strips = ceil_div(g.ow, larger(columns, kNarrow));
    return {blocks, smaller(g.ow, ceil_div(ceil_div(g.ow, strips), 4) * 4)};
  }
}

size_t ring_bytes(const Geometry& g, const Walk& walk) {
  const Cut cut = cut_ring(g, walk);
  return static_cast<size_t>(walk.slots * cut.blocks) *
         static_cast<size_t>(columns_read(g, cut.columns)) * sizeof(__m256i);
}

// --- the ring ------------------------------------------------------------------------------------

// A row of the image, from some pixel and channel on, or of padding: then the stride is 0.
struct Row {
  const Act* pixel;
  ptrdiff_t stride;
};

struct Group {
  int c0, blocks;
  int tail;       // channels of the last block, 1..8
  __m256i* ring;  // [slots][blocks][width]
  int width;
};

// Bytes of two rows, interleaved, both halves alike, to eight 16-bit pairs. One shuffle; vpmovzxbw
// takes two steps on Zen.
inline __m256i widen(__m256i interleaved) {
  const __m256i spread =
      _mm256_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 4, -1, 5, -1, 6, -1, 7, -1, 8, -1, 9, -1, 10, -1,
                       11, -1, 12, -1, 13, -1, 14, -1, 15, -1);
  return _mm256_shuffle_epi8(interleaved, spread);
}

inline __m256i load16_twice(const Act* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline __m256i load8_twice(const Act* p) {
  return _mm256_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// The last n < 8 channels of a tensor of c: read together with those before them where there are
// enough.
inline __m256i load_tail_twice(const Act* p, int n, int c) {
  if (c >= kBlock)
    return _mm256_srl_epi64(load8_twice(p + n - kBlock), _mm_cvtsi32_si128(8 * (kBlock - n)));
  uint64_t bytes = 0;
  for (int i = n; i-- > 0;) bytes = bytes << 8 | p[i];
  return _mm256_set1_epi64x(static_cast<int64_t>(bytes));
}

// n pixels of two rows, interleaved, to `to` [blocks][width].
void fill(const Group& group, Row a, Row b, int n, int c, __m256i* to) {
  const int whole = group.tail == kBlock ? group.blocks : group.blocks - 1;
  int block = 0;
  for (; block + 2 <= whole; block += 2, to += 2 * group.width) {
    const Act *pa = a.pixel + block * kBlock, *pb = b.pixel + block * kBlock;
    __m256i* next = to + group.width;
    for (int x = 0; x < n; ++x, pa += a.stride, pb += b.stride) {
      const __m256i va = load16_twice(pa), vb = load16_twice(pb);
      to[x] = widen(_mm256_unpacklo_epi8(va, vb));
      next[x] = widen(_mm256_unpackhi_epi8(va, vb));
    }
  }
  if (block < whole) {
    const Act *pa = a.pixel + block * kBlock, *pb = b.pixel + block * kBlock;
    for (int x = 0; x < n; ++x, pa += a.stride, pb += b.stride) {
      to[x] = widen(_mm256_unpacklo_epi8(load8_twice(pa), load8_twice(pb)));
    }
    ++block;
    to += group.width;
  }
  if (block < group.blocks) {
    const Act *pa = a.pixel + block * kBlock, *pb = b.pixel + block * kBlock;
    for (int x = 0; x < n; ++x, pa += a.stride, pb += b.stride) {
      to[x] = widen(_mm256_unpacklo_epi8(load_tail_twice(pa, group.tail, c),
                                         load_tail_twice(pb, group.tail, c)));
    }
  }
}

// --- the tiles -----------------------------------------------------------------------------------

// One step of one block of channels: where its row pairs lie, and what to make of them.
struct Tile {
  const __m256i* ring;  // slot 0 of this block
  ptrdiff_t slot;       // vectors between slots
  int slots, first;     // pair p of the step is in slot (first + p) % slots
  int kw, sw, dw;
  int pairs, sets;          // of the packed weights
  const std::byte* packed;  // of the block
  ByteClamp clamp;
  Act* y;  // pixels of the upper row; those of the lower one are y_row further
  ptrdiff_t y_stride, y_row;
  int valid;  // channels, 1..8

  const __m256i* pair(int p) const {
    int at = first + p;
    if (at >= slots) at -= slots;
    return ring + at * slot;
  }
  const __m256i* weights() const {
    return reinterpret_cast<const __m256i*>(packed + kBlock * (sizeof(int32_t) + sizeof(float)));
  }
  __m256i bias() const { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed)); }
  __m256 multiplier() const {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(packed + kBlock * sizeof(int32_t)));
  }
};

// The empty statement hides where the sum comes from: GCC 12 otherwise regroups the sums, computes
// all products first and spills them, at half the speed.
inline void multiply_add(__m256i& acc, __m256i pixel, __m256i weight) {
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pixel, weight));
  __asm__("" : "+x"(acc));
}

// Requantizes and stores n <= 4 pixels of eight channels, or of t.valid channels.
template <int n, bool kTail>
inline void store(const __m256i* acc, const Tile& t, Act* y) {
  const __m256 m = t.multiplier();
  const __m256i v0 = scale_round8_proved(acc[0], m);
  const __m256i v1 = n > 1 ? scale_round8_proved(acc[n > 1 ? 1 : 0], m) : v0;
  const __m256i v2 = n > 2 ? scale_round8_proved(acc[n > 2 ? 2 : 0], m) : v0;
  const __m256i v3 = n > 3 ? scale_round8_proved(acc[n > 3 ? 3 : 0], m) : v0;
  const __m256i bytes = _mm256_min_epu8(pack_bytes(v0, v1, v2, v3, t.clamp), t.clamp.hi8);
  if (kTail) {
    alignas(32) uint32_t quads[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(quads), bytes);
    for (int i = 0; i < n; ++i, y += t.y_stride) {
      const uint64_t pixel = quads[i] | static_cast<uint64_t>(quads[i + 4]) << 32;
      for (int c = 0; c < t.valid; ++c) y[c] = static_cast<Act>(pixel >> 8 * c);
    }
    return;
  }
  const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
  const __m128i p01 = _mm_unpacklo_epi32(low, high), p23 = _mm_unpackhi_epi32(low, high);
  const ptrdiff_t stride = t.y_stride;
  _mm_storel_epi64(reinterpret_cast<__m128i*>(y), p01);
  if (n > 1) _mm_storeh_pd(reinterpret_cast<double*>(y + stride), _mm_castsi128_pd(p01));
  if (n > 2) _mm_storel_epi64(reinterpret_cast<__m128i*>(y + 2 * stride), p23);
  if (n > 3) _mm_storeh_pd(reinterpret_cast<double*>(y + 3 * stride), _mm_castsi128_pd(p23));
}

inline const __m256i* opaque(const __m256i* pointer) {
  __asm__("" : "+r"(pointer));
  return pointer;
}

// n pixels of one or two output rows. At stride 1 both rows read every pair, with a set of weights
// each; at stride 2 the lower one reads one pair further down.
template <int kTaps, int kStride, int kRows, int n, bool kTail>
inline __attribute__((always_inline)) void tile(const Tile& t, const __m256i* const* pairs, int x) {
  constexpr int kSets = kStride == 1 ? 2 : 1;
  constexpr int kPairs = kRows == 1 ? row_pairs(kTaps, 1) : row_pairs(kTaps, kSets);
  constexpr int kColumn = row_pairs(kTaps, kSets) * kSets;
  __m256i upper[n], lower[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) upper[i] = lower[i] = t.bias();
  const __m256i* w = t.weights();
  const auto column = [&](int j) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      const __m256i* above = pairs[p] + kStride * x + j;
      const __m256i* below = pairs[kStride == 1 ? p : p + kRows - 1] + kStride * x + j;
      if (kTaps > 3) above = opaque(above), below = kStride == 1 ? above : opaque(below);
      const __m256i w0 = _mm256_loadu_si256(w + p * kSets);
      const __m256i w1 = _mm256_loadu_si256(w + p * kSets + kSets - 1);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) {
        multiply_add(upper[i], above[kStride * i], w0);
        if (kRows == 2) multiply_add(lower[i], below[kStride * i], w1);
      }
    }
    w += kColumn;
  };
  if (kTaps == 3) {  // few enough columns to keep pixels in registers from one to the next
    column(0), column(1), column(2);
  } else {
#pragma GCC unroll 1
    for (int j = 0; j < kTaps; ++j) column(j);
  }
  store<n, kTail>(upper, t, t.y + x * t.y_stride);
  if (kRows == 2) store<n, kTail>(lower, t, t.y + x * t.y_stride + t.y_row);
}

template <int kTaps, int kStride, int kRows, bool kTail>
void run_rows(const Tile& t, int columns) {
  const __m256i* pairs[4];
  for (int p = 0; p < t.slots; ++p) pairs[p] = t.pair(p);
  int x = 0;
  for (; x + 4 <= columns; x += 4) tile<kTaps, kStride, kRows, 4, kTail>(t, pairs, x);
  switch (columns - x) {
    case 3:
      return tile<kTaps, kStride, kRows, 3, kTail>(t, pairs, x);
    case 2:
      return tile<kTaps, kStride, kRows, 2, kTail>(t, pairs, x);
    case 1:
      return tile<kTaps, kStride, kRows, 1, kTail>(t, pairs, x);
  }
}

// n pixels of one output row, any window, stride and dilation.
template <int n, bool kTail>
inline void tile_any(const Tile& t, int x) {
  __m256i acc[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) acc[i] = t.bias();
  for (int p = 0; p < t.pairs; ++p) {
    const __m256i *pixels = t.pair(p) + x * t.sw, *w = t.weights() + p;
#pragma GCC unroll 1
    for (int j = 0; j < t.kw; ++j, pixels += t.dw, w += t.pairs) {
      const __m256i w0 = _mm256_loadu_si256(w);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) multiply_add(acc[i], pixels[i * t.sw], w0);
    }
  }
  store<(n < 4 ? n : 4), kTail>(acc, t, t.y + x * t.y_stride);
  if (n > 4) store<4, kTail>(acc + (n > 4 ? 4 : 0), t, t.y + (x + 4) * t.y_stride);
}

template <bool kTail>
void run_row_any(const Tile& t, int columns) {
  int x = 0;
  for (; x + 8 <= columns; x += 8) tile_any<8, kTail>(t, x);
  for (; x + 4 <= columns; x += 4) tile_any<4, kTail>(t, x);
  for (; x < columns; ++x) tile_any<1, kTail>(t, x);
}

// --- the walk ------------------------------------------------------------------------------------

using RunRows = void (*)(const Tile&, int columns);

// What computes one or two rows of a block, or of the block with the channel tail.
struct RowKernels {
  RunRows one[2], two[2];
};

// The rare tails of the epilogue, on values that have just been written: rows [y0, y1) of columns
// [x0, x1).
void finish(const Args& a, const Group& group, int x0, int x1, int y0, int y1) {
  const Epilogue& e = *a.epilogue;
  const int channels = (group.blocks - 1) * kBlock + group.tail;
  for (int y = y0; y < y1; ++y) {
    for (int x = x0; x < x1; ++x) {
      const ptrdiff_t pixel = static_cast<ptrdiff_t>(y) * a.geometry.ow + x;
      const Act* residual =
          a.residual ? a.residual + pixel * e.residual_stride + group.c0 : nullptr;
      apply_tail_row(a.y + pixel * a.geometry.y_pixel_stride + group.c0, residual, channels, e);
    }
  }
}

// One group of channels of one strip [x0, x1) of output columns, top to bottom.
void walk_strip(const Args& a, const Walk& walk, const RowKernels& kernels, const Group& group,
                int x0, int x1) {
  const Geometry& g = a.geometry;
  const ptrdiff_t slot = static_cast<ptrdiff_t>(group.blocks) * group.width;
  // The image lies in columns [left, right) of the ring. Columns of padding are the same in every
  // row.
  const int shift = x0 * g.sw - g.left;
  const int left = smaller(group.width, larger(0, -shift));
  const int right = larger(left, smaller(group.width, g.w - shift));
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(a.x_zero));
  for (__m256i* line = group.ring; line < group.ring + walk.slots * slot; line += group.width) {
    for (int x = 0; x < left; ++x) line[x] = zero;
    for (int x = right; x < group.width; ++x) line[x] = zero;
  }
  Act padding[kBlock + kMostBlocks * kBlock];  // a pixel, and what load_tail_twice reads before it
  std::memset(padding, a.x_zero, sizeof(padding));
  const auto row_at = [&](int row) -> Row {
    const ptrdiff_t y = row - g.top;
    if (y < 0 || y >= g.h) return {padding + kBlock, 0};
    return {a.x + (y * g.w + shift + left) * g.x_pixel_stride + group.c0, g.x_pixel_stride};
  };

  Tile t{};
  t.slot = slot;
  t.slots = walk.slots;
  t.kw = g.kw;
  t.sw = g.sw;
  t.dw = g.dw;
  t.pairs = row_pairs(g.kh, walk.sets);
  t.sets = walk.sets;
  t.clamp = load_byte_clamp(a.epilogue->clamp);
  t.y_stride = g.y_pixel_stride;
  t.y_row = g.ow * g.y_pixel_stride;
  const size_t block_bytes = row_pair_block_bytes(g, kBlock, walk.sets);
  const std::byte* packed = static_cast<const std::byte*>(a.packed) +
                            static_cast<size_t>(group.c0 / kBlock) * block_bytes;

  int filled = 0, first = 0;  // row pairs since y_begin
  int fill_slot = 0;
  for (int y = a.y_begin; y < a.y_end; y += walk.rows, first += walk.step) {
    for (; filled < first + walk.slots; ++filled) {
      const int row = y * g.sh + 2 * (filled - first) * g.dh;
      fill(group, row_at(row), row_at(row + g.dh), right - left, g.c,
           group.ring + fill_slot * slot + left);
      if (++fill_slot == walk.slots) fill_slot = 0;
    }
    const int rows = smaller(walk.rows, a.y_end - y);
    const RunRows* run_rows = rows == 2 ? kernels.two : kernels.one;
    t.first = fill_slot;  // the oldest
    t.ring = group.ring;
    t.packed = packed;
    t.y = a.y + y * t.y_row + x0 * t.y_stride + group.c0;
    for (int block = 0; block < group.blocks; ++block) {
      t.valid = block + 1 < group.blocks ? kBlock : group.tail;
      run_rows[t.valid < kBlock](t, x1 - x0);
      t.ring += group.width;
      t.packed += block_bytes;
      t.y += kBlock;
    }
    if (a.epilogue->table || a.residual) finish(a, group, x0, x1, y, y + rows);
  }
}

void walk_image(const Args& a, const Walk& walk, const RowKernels& kernels) {
  const Geometry& g = a.geometry;
  const Cut cut = cut_ring(g, walk);
  Group group{};
  group.ring = reinterpret_cast<__m256i*>(a.scratch);
  for (group.c0 = a.c_begin; group.c0 < a.c_end; group.c0 += group.blocks * kBlock) {
    const int channels = a.c_end - group.c0;
    group.blocks = smaller(cut.blocks, ceil_div(channels, kBlock));
    group.tail = smaller(kBlock, channels - (group.blocks - 1) * kBlock);
    for (int x = 0; x < g.ow; x += cut.columns) {
      const int end = smaller(g.ow, x + cut.columns);
      group.width = columns_read(g, end - x);
      walk_strip(a, walk, kernels, group, x, end);
    }
  }
}

// --- the kernels ---------------------------------------------------------------------------------

// Square windows at stride 1 or 2: two output rows share what they read.
constexpr Walk two_row_walk(int taps, int stride) {
  const int sets = stride == 1 ? 2 : 1;
  return {sets, 2, row_pairs(taps, sets) + stride - 1, stride};
}

const char* refuses_any(const Geometry& g, const Weights& weights) {
  return products_fit_int32(g, weights) ? nullptr : "results before clamping could exceed 32 bits";
}

template <int kTaps, int kStride>
const char* refuses(const Geometry& g, const Weights& weights) {
  if (g.kh != kTaps || g.kw != kTaps) return "made for another window";
  if (g.sh != kStride || g.sw != kStride) return "made for another stride";
  return g.dh != 1 || g.dw != 1 ? "made for windows without dilation" : refuses_any(g, weights);
}

template <int kTaps, int kStride>
size_t scratch_bytes(const Geometry& g) {
  return ring_bytes(g, two_row_walk(kTaps, kStride));
}

template <int kStride>
size_t packed_bytes(const Geometry& g) {
  return row_pair_bytes(g, kBlock, two_row_walk(1, kStride).sets);
}

template <int kStride>
void pack(const Geometry& g, const Weights& weights, void* packed) {
  pack_row_pairs(g, weights, kBlock, two_row_walk(1, kStride).sets, packed);
}

template <int kTaps, int kStride>
void run(const Args& a) {
  walk_image(a, two_row_walk(kTaps, kStride),
             {{run_rows<kTaps, kStride, 1, false>, run_rows<kTaps, kStride, 1, true>},
              {run_rows<kTaps, kStride, 2, false>, run_rows<kTaps, kStride, 2, true>}});
}

// Any other window: row by row, and no pair outlives its row.
Walk row_walk(const Geometry& g) {
  const int pairs = row_pairs(g.kh, 1);
  return {1, 1, pairs, pairs};
}

size_t scratch_bytes_any(const Geometry& g) { return ring_bytes(g, row_walk(g)); }

void run_any(const Args& a) {
  walk_image(a, row_walk(a.geometry), {{run_row_any<false>, run_row_any<true>}, {}});
}

#define LIGHTKERN_DWCONV(taps, stride)                                                      \
  {                                                                                         \
    "dwconv_s8_" #taps "x" #taps "s" #stride "_2x4_avx2", kBlock, 2, refuses<taps, stride>, \
        scratch_bytes<taps, stride>, packed_bytes<stride>, pack<stride>, run<taps, stride>  \
  }
constexpr Kernel kKernels[] = {
    LIGHTKERN_DWCONV(3, 1),
    LIGHTKERN_DWCONV(3, 2),
    LIGHTKERN_DWCONV(5, 1),
    LIGHTKERN_DWCONV(5, 2),
    LIGHTKERN_DWCONV(7, 1),
    {"dwconv_s8_1x8_avx2", kBlock, 1, refuses_any, scratch_bytes_any, packed_bytes<2>, pack<2>,
     run_any},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::dwconv
