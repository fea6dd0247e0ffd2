// Exact for any int8 weights: vpmaddwd on 16-bit pairs of rows, then vpaddd. Two rows of the image
// are interleaved and widened once, into a ring of row pairs that stays in the first-level cache; a
// tile slides over it. At stride 1 each pair serves two output rows (two sets of weights, pack.cc),
// at stride 2 two output rows share the pair between them. |acc| <= 255 * sum|w| + |bias| < 2^31 by
// Model.validate; a product pair is below 2 * 255 * 127 < 2^17. Ceiling of vpmaddwd + vpaddd: 26
// MAC/cycle on Zen 3, of which 3x3 can use 3/4 and 5x5 5/6 (the zero weights). The loop over kernel
// columns must stay rolled: GCC 12 otherwise hoists all products above all sums and spills them.
#include "kernels/simd/avx2.h"

#include <cstring>

#include "kernels/dwconv/dwconv.h"

namespace lightkern::dwconv {
namespace {

constexpr int kBlock = 8;  // channels per register of accumulators
constexpr size_t kRingBytes =
    20 << 10;                   // leaves room for the weights, the image's rows and the output's
constexpr int kMostBlocks = 8;  // of a group: 64 channels, a cache line

// How a kernel walks down the image.
struct Walk {
  int sets;   // of weights: 2 at stride 1
  int rows;   // output rows per step
  int slots;  // row pairs that a step reads
  int step;   // row pairs between steps; == slots if steps share none
};

int padded_width(const Geometry& g) { return (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1; }

// Blocks of channels that go through the ring together.
int group_blocks(const Geometry& g, const Walk& walk) {
  const size_t each =
      static_cast<size_t>(walk.slots) * static_cast<size_t>(padded_width(g)) * sizeof(__m256i);
  const size_t fit = kRingBytes / each;
  const int most = fit < 2 ? 1 : (fit < kMostBlocks ? static_cast<int>(fit) & ~1 : kMostBlocks);
  const int blocks = (g.c + kBlock - 1) / kBlock;
  return blocks < most ? blocks : most;
}

size_t ring_bytes(const Geometry& g, const Walk& walk) {
  return static_cast<size_t>(walk.slots * group_blocks(g, walk)) *
         static_cast<size_t>(padded_width(g)) * sizeof(__m256i);
}

// --- the ring ------------------------------------------------------------------------------------

// A row of the image from channel c0 on, or of padding: then the stride is 0.
struct Row {
  const Act* pixel;
  ptrdiff_t stride;
};

// The channels that go through the ring together.
struct Group {
  int c0, blocks;
  int tail;       // channels of the last block, 1..8
  __m256i* ring;  // [slots][blocks][width]
  int width;
};

__m128i load8(const Act* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

// The last `n` channels of a tensor of `c`: read together with those before them where there are
// enough.
__m128i load_tail(const Act* p, int n, int c) {
  if (c >= kBlock) return _mm_srl_epi64(load8(p + n - kBlock), _mm_cvtsi32_si128(8 * (kBlock - n)));
  uint64_t bytes = 0;
  for (int i = n; i-- > 0;) bytes = bytes << 8 | p[i];
  return _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
}

__m256i widen(__m128i bytes) { return _mm256_cvtepu8_epi16(bytes); }

// Pixels [0, n) of two rows, interleaved, to `to` [blocks][width].
void fill(const Group& group, Row a, Row b, int n, int c, __m256i* to) {
  int block = 0;
  const int whole = group.tail == kBlock ? group.blocks : group.blocks - 1;
  for (; block + 2 <= whole; block += 2, to += 2 * group.width) {
    const Act *pa = a.pixel + block * kBlock, *pb = b.pixel + block * kBlock;
    for (int x = 0; x < n; ++x, pa += a.stride, pb += b.stride) {
      const __m128i va = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pa));
      const __m128i vb = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pb));
      to[x] = widen(_mm_unpacklo_epi8(va, vb));
      to[x + group.width] = widen(_mm_unpackhi_epi8(va, vb));
    }
  }
  for (; block < group.blocks; ++block, to += group.width) {
    const int valid = block < whole ? kBlock : group.tail;
    const Act *pa = a.pixel + block * kBlock, *pb = b.pixel + block * kBlock;
    for (int x = 0; x < n; ++x, pa += a.stride, pb += b.stride) {
      const __m128i va = valid == kBlock ? load8(pa) : load_tail(pa, valid, c);
      const __m128i vb = valid == kBlock ? load8(pb) : load_tail(pb, valid, c);
      to[x] = widen(_mm_unpacklo_epi8(va, vb));
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
  Act* y;  // [ow] pixels, and those of the next row y_row further
  ptrdiff_t y_stride, y_row;
  int valid;  // channels, 1..8

  const __m256i* pair(int p) const { return ring + (first + p) % slots * slot; }
  const __m256i* weights() const {
    return reinterpret_cast<const __m256i*>(packed + kBlock * (sizeof(int32_t) + sizeof(float)));
  }
  __m256i bias() const { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed)); }
  __m256 multiplier() const {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(packed + kBlock * sizeof(int32_t)));
  }
};

// The empty statements hide where a value comes from: GCC 12 otherwise regroups the sums, computes
// all products of a column first, carries pixels from one column to the next, and spills all of it,
// at half the speed.
inline void multiply_add(__m256i& acc, __m256i pixel, __m256i weight) {
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pixel, weight));
  __asm__("" : "+x"(acc));
}

inline const __m256i* opaque(const __m256i* pointer) {
  __asm__("" : "+r"(pointer));
  return pointer;
}

// Requantizes and stores n <= 4 pixels of eight channels, or of t.valid channels.
template <int n, bool kTail>
inline void store(const __m256i* acc, const Tile& t, Act* y) {
  const __m256 m = t.multiplier();
  const __m256i v0 = scale_round8(acc[0], m, t.clamp);
  const __m256i v1 = n > 1 ? scale_round8(acc[n > 1 ? 1 : 0], m, t.clamp) : v0;
  const __m256i v2 = n > 2 ? scale_round8(acc[n > 2 ? 2 : 0], m, t.clamp) : v0;
  const __m256i v3 = n > 3 ? scale_round8(acc[n > 3 ? 3 : 0], m, t.clamp) : v0;
  const __m256i bytes = pack_bytes(v0, v1, v2, v3, t.clamp);
  if (kTail) {
    alignas(32) uint32_t quads[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(quads), bytes);
    for (int i = 0; i < n; ++i, y += t.y_stride) {
      const uint64_t pixel = quads[i] | static_cast<uint64_t>(quads[i + 4]) << 32;
      for (int c = 0; c < t.valid; ++c) y[c] = static_cast<Act>(pixel >> 8 * c);
    }
    return;
  }
  const __m256i pixels =
      _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m128i p01 = _mm256_castsi256_si128(pixels), p23 = _mm256_extracti128_si256(pixels, 1);
  const ptrdiff_t stride = t.y_stride;
  _mm_storel_epi64(reinterpret_cast<__m128i*>(y), p01);
  if (n > 1) _mm_storeh_pd(reinterpret_cast<double*>(y + stride), _mm_castsi128_pd(p01));
  if (n > 2) _mm_storel_epi64(reinterpret_cast<__m128i*>(y + 2 * stride), p23);
  if (n > 3) _mm_storeh_pd(reinterpret_cast<double*>(y + 3 * stride), _mm_castsi128_pd(p23));
}

// n pixels of two output rows. At stride 1 both read every pair, with a set of weights each; at
// stride 2 the lower one reads one pair further down.
template <int kTaps, int kStride, int n, bool kTail>
inline __attribute__((always_inline)) void two_rows(const Tile& t, const __m256i* const* pairs,
                                                    int x) {
  constexpr int kSets = kStride == 1 ? 2 : 1, kPairs = row_pairs(kTaps, kSets);
  __m256i upper[n], lower[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) upper[i] = lower[i] = t.bias();
  const __m256i* w = t.weights();
#pragma GCC unroll 3
  for (int j = 0; j < kTaps; ++j, w += kPairs * kSets) {
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      const __m256i* above = opaque(pairs[p] + kStride * x + j);
      const __m256i* below = kStride == 1 ? above : opaque(pairs[p + 1] + kStride * x + j);
      const __m256i w0 = _mm256_loadu_si256(w + p * kSets),
                    w1 = _mm256_loadu_si256(w + p * kSets + kSets - 1);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) {
        multiply_add(upper[i], above[kStride * i], w0);
        multiply_add(lower[i], below[kStride * i], w1);
      }
    }
  }
  store<n, kTail>(upper, t, t.y + x * t.y_stride);
  store<n, kTail>(lower, t, t.y + x * t.y_stride + t.y_row);
}

template <int kTaps, int kStride, bool kTail>
void row_couple(const Tile& t, int ow) {
  const __m256i* pairs[4];
  for (int p = 0; p < t.slots; ++p) pairs[p] = t.pair(p);
  int x = 0;
  for (; x + 4 <= ow; x += 4) two_rows<kTaps, kStride, 4, kTail>(t, pairs, x);
  switch (ow - x) {
    case 3:
      return two_rows<kTaps, kStride, 3, kTail>(t, pairs, x);
    case 2:
      return two_rows<kTaps, kStride, 2, kTail>(t, pairs, x);
    case 1:
      return two_rows<kTaps, kStride, 1, kTail>(t, pairs, x);
  }
}

// n pixels of one output row, any stride and dilation.
template <int n, bool kTail>
inline void one_row(const Tile& t, int x) {
  __m256i acc[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) acc[i] = t.bias();
  for (int p = 0; p < t.pairs; ++p) {
    const __m256i* pixels = t.pair(p) + x * t.sw;
    const __m256i* w = t.weights() + p * t.sets;
#pragma GCC unroll 1
    for (int j = 0; j < t.kw; ++j, pixels = opaque(pixels + t.dw), w += t.pairs * t.sets) {
      const __m256i w0 = _mm256_loadu_si256(w);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) multiply_add(acc[i], pixels[i * t.sw], w0);
    }
  }
  store<(n < 4 ? n : 4), kTail>(acc, t, t.y + x * t.y_stride);
  if (n > 4) store<4, kTail>(acc + (n > 4 ? 4 : 0), t, t.y + (x + 4) * t.y_stride);
}

template <bool kTail>
void any_row(const Tile& t, int ow) {
  int x = 0;
  for (; x + 8 <= ow; x += 8) one_row<8, kTail>(t, x);
  for (; x + 4 <= ow; x += 4) one_row<4, kTail>(t, x);
  for (; x < ow; ++x) one_row<1, kTail>(t, x);
}

// --- the walk ------------------------------------------------------------------------------------

// Two output rows of one block, or of its tail; a kernel without it goes row by row.
using Rows = void (*)(const Tile&, int ow);
struct Couple {
  Rows whole, tail;
};

int smaller(int a, int b) { return a < b ? a : b; }

// Row `row` of the image, counted from the first row of padding.
Row row_at(const Args& a, int row, int c0, const Act* padding) {
  const Geometry& g = a.geometry;
  const ptrdiff_t y = row - g.top;
  if (y < 0 || y >= g.h) return {padding, 0};
  return {a.x + y * g.w * g.x_pixel_stride + c0, g.x_pixel_stride};
}

// The rare tails of the epilogue, on values that have just been written.
void finish_rows(const Args& a, int c0, int c1, int y0, int y1) {
  const Geometry& g = a.geometry;
  const Epilogue& e = *a.epilogue;
  for (ptrdiff_t pixel = static_cast<ptrdiff_t>(y0) * g.ow;
       pixel < static_cast<ptrdiff_t>(y1) * g.ow; ++pixel) {
    Act* y = a.y + pixel * g.y_pixel_stride;
    const Act* residual = a.residual ? a.residual + pixel * e.residual_stride + c0 : nullptr;
    apply_tail_row(y + c0, residual, c1 - c0, e);
  }
}

void walk_group(const Args& a, const Walk& walk, const Group& group, Couple couple) {
  const Geometry& g = a.geometry;
  const int left = smaller(g.left, group.width), right = smaller(g.left + g.w, group.width);
  const ptrdiff_t slot = static_cast<ptrdiff_t>(group.blocks) * group.width;

  // Columns of padding are the same in every row.
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(a.x_zero));
  for (__m256i* line = group.ring; line < group.ring + walk.slots * slot; line += group.width) {
    for (int x = 0; x < left; ++x) line[x] = zero;
    for (int x = right; x < group.width; ++x) line[x] = zero;
  }
  Act padding[kBlock + kMostBlocks * kBlock];  // a pixel, and what load_tail reads before it
  std::memset(padding, a.x_zero, sizeof(padding));

  Tile tile{};
  tile.slot = slot;
  tile.slots = walk.slots;
  tile.kw = g.kw;
  tile.sw = g.sw;
  tile.dw = g.dw;
  tile.pairs = row_pairs(g.kh, walk.sets);
  tile.sets = walk.sets;
  tile.clamp = load_byte_clamp(a.epilogue->clamp);
  tile.y_stride = g.y_pixel_stride;
  tile.y_row = g.ow * g.y_pixel_stride;
  const size_t block_bytes = row_pair_block_bytes(g, kBlock, walk.sets);
  const int c1 = group.c0 + (group.blocks - 1) * kBlock + group.tail;

  int filled = 0, first = 0;  // row pairs since y_begin
  for (int y = a.y_begin; y < a.y_end; y += walk.rows, first += walk.step) {
    for (; filled < first + walk.slots; ++filled) {
      const int row = y * g.sh + 2 * (filled - first) * g.dh;
      fill(group, row_at(a, row, group.c0, padding + kBlock),
           row_at(a, row + g.dh, group.c0, padding + kBlock), right - left, g.c,
           group.ring + filled % walk.slots * slot + left);
    }
    const int rows = smaller(walk.rows, a.y_end - y);
    tile.first = first % walk.slots;
    for (int block = 0; block < group.blocks; ++block) {
      const int c = group.c0 + block * kBlock;
      tile.ring = group.ring + block * group.width;
      tile.packed =
          static_cast<const std::byte*>(a.packed) + static_cast<size_t>(c / kBlock) * block_bytes;
      tile.y = a.y + y * tile.y_row + c;
      tile.valid = block + 1 < group.blocks ? kBlock : group.tail;
      const Couple work = rows == 2 ? couple : Couple{any_row<false>, any_row<true>};
      (tile.valid == kBlock ? work.whole : work.tail)(tile, g.ow);
    }
    if (a.epilogue->table || a.residual) finish_rows(a, group.c0, c1, y, y + rows);
  }
}

void walk_slice(const Args& a, const Walk& walk, Couple couple) {
  const int most = group_blocks(a.geometry, walk);
  Group group{};
  group.ring = reinterpret_cast<__m256i*>(a.scratch);
  group.width = padded_width(a.geometry);
  for (group.c0 = a.c_begin; group.c0 < a.c_end; group.c0 += group.blocks * kBlock) {
    const int channels = a.c_end - group.c0;
    group.blocks = smaller(most, (channels + kBlock - 1) / kBlock);
    group.tail = smaller(kBlock, channels - (group.blocks - 1) * kBlock);
    walk_group(a, walk, group, couple);
  }
}

// --- the kernels ---------------------------------------------------------------------------------

// Square windows at stride 1 or 2: two output rows share what they read.
constexpr Walk couple_walk(int taps, int stride) {
  const int sets = stride == 1 ? 2 : 1;
  return {sets, 2, row_pairs(taps, sets) + stride - 1, stride};
}

template <int kTaps, int kStride>
const char* refuses(const Geometry& g) {
  if (g.kh != kTaps || g.kw != kTaps) return "made for another window";
  if (g.sh != kStride || g.sw != kStride) return "made for another stride";
  return g.dh != 1 || g.dw != 1 ? "made for windows without dilation" : nullptr;
}

template <int kTaps, int kStride>
size_t scratch_bytes(const Geometry& g) {
  return ring_bytes(g, couple_walk(kTaps, kStride));
}

template <int kStride>
size_t packed_bytes(const Geometry& g) {
  return row_pair_bytes(g, kBlock, couple_walk(1, kStride).sets);
}

template <int kStride>
void pack(const Geometry& g, const Weights& weights, void* packed) {
  pack_row_pairs(g, weights, kBlock, couple_walk(1, kStride).sets, packed);
}

template <int kTaps, int kStride>
void run(const Args& a) {
  constexpr Walk walk = couple_walk(kTaps, kStride);
  walk_slice(a, walk, {row_couple<kTaps, kStride, false>, row_couple<kTaps, kStride, true>});
}

// Any other window: row by row, and no pair outlives its row.
Walk row_walk(const Geometry& g) {
  const int pairs = row_pairs(g.kh, 1);
  return {1, 1, pairs, pairs};
}

const char* refuses_none(const Geometry&) { return nullptr; }

size_t scratch_bytes_any(const Geometry& g) { return ring_bytes(g, row_walk(g)); }

void run_any(const Args& a) { walk_slice(a, row_walk(a.geometry), {}); }

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
    {"dwconv_s8_1x8_avx2", kBlock, 1, refuses_none, scratch_bytes_any, packed_bytes<2>, pack<2>,
     run_any},
};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::dwconv
