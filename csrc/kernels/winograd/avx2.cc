// winograd on AVX2. Per position and two input channels: vpmaddwd + vpaddd on 8 outputs, 16
// products that stand for 36 of the window, so at best 36 MAC per issued multiply where gemm
// (vpmaddubsw, vpmaddwd, vpaddd) has 16, and any weights are exact. Transforms cost 32 operations
// per tile and 16 input channels, and 20 per tile and 8 outputs.
//
// Inputs are transformed for a stretch of tiles of one pair of rows, then every panel of weights is
// multiplied with it; one load of weights serves four to seven tiles.
#include "kernels/simd/avx2.h"

#include "kernels/winograd/winograd.h"

namespace lightkern::winograd {
namespace {

constexpr Tile kTile = {16, 8};

inline __m256i add(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }
inline __m256i sub(__m256i a, __m256i b) { return _mm256_sub_epi32(a, b); }

// Four lines of the image as 16 channels see them. A line outside of the image is a run of zero
// points that does not advance.
struct Lines {
  const Act* at[4];
  ptrdiff_t pixel[4];
};

// One column of four pixels, transformed downwards. `half`: there are only 8 channels.
template <bool half>
[[gnu::always_inline]] inline void load_column(const Lines& lines, int ix, int w, __m256i zero,
                                               __m256i* t) {
  __m256i d[4] = {zero, zero, zero, zero};
  if (ix >= 0 && ix < w) {
    for (int i = 0; i < 4; ++i) {
      const __m128i* from = reinterpret_cast<const __m128i*>(lines.at[i] + ix * lines.pixel[i]);
      d[i] = _mm256_cvtepu8_epi16(half ? _mm_loadl_epi64(from) : _mm_loadu_si128(from));
    }
  }
  t[0] = _mm256_sub_epi16(d[0], d[2]);
  t[1] = _mm256_add_epi16(d[1], d[2]);
  t[2] = _mm256_sub_epi16(d[2], d[1]);
  t[3] = _mm256_sub_epi16(d[1], d[3]);
}

// `tiles` tiles from column ix on to v [tiles][16][channels]. Two columns of a tile are those of
// the next. known_channels: of a block, or 0 for any.
template <bool half, int known_channels>
void transform(const Lines& all_lines, int ix, int w, int32_t x_zero, int tiles, int channels,
               int tile_stride, int16_t* v) {
  if (known_channels) channels = known_channels;
  const Lines lines = all_lines;  // a copy, which no store can change
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(x_zero));
  __m256i first[4], second[4];
  load_column<half>(lines, ix, w, zero, first);
  load_column<half>(lines, ix + 1, w, zero, second);
  for (; tiles > 0; --tiles, v += tile_stride) {
    ix += 2;
    const auto store = [&](int i, int j, __m256i value) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(v + (4 * i + j) * channels), value);
    };
    __m256i third[4], fourth[4];
    load_column<half>(lines, ix, w, zero, third);
    for (int i = 0; i < 4; ++i) {
      store(i, 0, _mm256_sub_epi16(first[i], third[i]));
      store(i, 1, _mm256_add_epi16(second[i], third[i]));
      store(i, 2, _mm256_sub_epi16(third[i], second[i]));
      first[i] = third[i];
    }
    load_column<half>(lines, ix + 1, w, zero, fourth);
    for (int i = 0; i < 4; ++i) {
      store(i, 3, _mm256_sub_epi16(second[i], fourth[i]));
      second[i] = fourth[i];
    }
  }
}

inline __m256i broadcast_pair(const int16_t* v) {
  int32_t bytes;
  std::memcpy(&bytes, v, 4);
  return _mm256_set1_epi32(bytes);
}

// What the compiler may know of a layer; 0: it does not. Groups of 8 channels are short enough for
// the code of more tiles at once, which share a load of weights; for groups of 16 it grows so long
// that it takes up to 15 % more time in a whole network.
template <int known_channels, int known_pairs>
struct Known {
  static constexpr int kChannels = known_channels, kPairs = known_pairs;
  static constexpr int kTiles = known_pairs == 4 ? 7 : kTilesAtOnce;
};

// Keeps the compiler from adding up in another order, for which it would need registers that do not
// exist.
inline void in_turn(__m256i& acc) { asm volatile("" : "+x"(acc)); }

// One position of `tiles` tiles: acc[t] += sum over channels.
template <int tiles>
[[gnu::always_inline]] inline void multiply_position(const int16_t* v, int channels, int pairs,
                                                     const __m256i* u, __m256i* acc) {
  for (int p = 0; p < pairs; p += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256i weights = _mm256_load_si256(u + p + i);
#pragma GCC unroll 8
      for (int t = 0; t < tiles; ++t) {
        const int16_t* at = v + t * tile_stride_of(channels, pairs) + 2 * (p + i);
        acc[t] = add(acc[t], _mm256_madd_epi16(broadcast_pair(at), weights));
        in_turn(acc[t]);
      }
    }
  }
}

// A row of four positions: its part in the left and in the right outputs. Sums that wait do so in
// L1: those at work have all registers.
template <int tiles>
[[gnu::always_inline]] inline void multiply_positions(const int16_t* v, int channels, int pairs,
                                                      const __m256i* u, __m256i* left,
                                                      __m256i* right) {
  __m256i acc[tiles];
#pragma GCC unroll 8
  for (int t = 0; t < tiles; ++t) acc[t] = _mm256_setzero_si256();
  multiply_position<tiles>(v + channels, channels, pairs, u + pairs, acc);
#pragma GCC unroll 8
  for (int t = 0; t < tiles; ++t) _mm256_store_si256(right + t, acc[t]);
  multiply_position<tiles>(v, channels, pairs, u, acc);
#pragma GCC unroll 8
  for (int t = 0; t < tiles; ++t) {
    _mm256_store_si256(left + t, acc[t]);
    acc[t] = _mm256_setzero_si256();
  }
  multiply_position<tiles>(v + 2 * channels, channels, pairs, u + 2 * pairs, acc);
#pragma GCC unroll 8
  for (int t = 0; t < tiles; ++t) {
    _mm256_store_si256(left + t, add(_mm256_load_si256(left + t), acc[t]));
    acc[t] = sub(_mm256_load_si256(right + t), acc[t]);
  }
  multiply_position<tiles>(v + 3 * channels, channels, pairs, u + 3 * pairs, acc);
#pragma GCC unroll 8
  for (int t = 0; t < tiles; ++t) _mm256_store_si256(right + t, acc[t]);
}

// 8 outputs of `tiles` tiles from v [tiles][16][channels] to both rows of sums [2 * tiles][8]. A
// row of outputs is the sum of three rows of positions, which meet in L1. The loop stays a loop:
// its body is long enough to fill the cache of decoded instructions.
template <int tiles, class K>
[[gnu::noinline]] void multiply(const int16_t* v, int channels, int pairs, const __m256i* u,
                                __m256i* upper, __m256i* lower) {
  if (K::kPairs) pairs = K::kPairs;
  if (K::kChannels) channels = K::kChannels;
  const __m256i bias = _mm256_load_si256(u + kPositions * pairs);
  __m256i sums[4][2 * tiles];
#pragma GCC unroll 1
  for (int i = 0; i < 4; ++i, v += 4 * channels, u += 4 * pairs) {
    multiply_positions<tiles>(v, channels, pairs, u, sums[i], sums[i] + tiles);
  }
  for (int t = 0; t < tiles; ++t) {
    for (int side = 0; side < 2; ++side) {
      const int from = side * tiles + t, to = 2 * t + side;
      // The second row of positions has a part in both rows of outputs: it brings the bias.
      const __m256i second = add(sums[1][from], bias), third = sums[2][from];
      upper[to] = add(sums[0][from], add(second, third));
      lower[to] = add(sums[3][from], sub(second, third));
    }
  }
}

// multiply<tiles, K>, for 1 to K::kTiles.
template <class K, int tiles = K::kTiles>
[[gnu::always_inline]] inline auto find_multiply(int count) {
  if constexpr (tiles == 1) {
    return multiply<1, K>;
  } else {
    return count == tiles ? multiply<tiles, K> : find_multiply<K, tiles - 1>(count);
  }
}

// In steps of about equal width: narrow ones wait for weights.
template <class K>
void multiply_row(const int16_t* v, int channels, int pairs, int tiles, const __m256i* u,
                  __m256i* upper, __m256i* lower) {
  for (int steps = (tiles + K::kTiles - 1) / K::kTiles; steps > 0; --steps) {
    const int step = (tiles + steps - 1) / steps;
    find_multiply<K>(step)(v, channels, pairs, u, upper, lower);
    v += step * tile_stride_of(channels, pairs);
    upper += 2 * step, lower += 2 * step, tiles -= step;
  }
}

// sums [pixels][8] to bytes, pixels `stride` apart. `proved`: no conversion can overflow.
template <bool proved>
void requantize_row(const __m256i* sums, __m256 multiplier, const ByteClamp& clamp, int pixels,
                    Act* y, ptrdiff_t stride) {
  const auto round = [&](int i) {
    return proved ? scale_round_proved(sums[i], multiplier)
                  : scale_round(sums[i], multiplier, clamp);
  };
  for (; pixels > 0; pixels -= 4, sums += 4, y += 4 * stride) {
    const __m256i bytes =
        _mm256_min_epu8(pack_bytes(round(0), round(1), round(2), round(3), clamp), clamp.hi8);
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    const __m128i first = _mm_unpacklo_epi32(low, high), last = _mm_unpackhi_epi32(low, high);
    const auto store_high = [](Act* to,
                               __m128i v) {  // unlike _mm_storeh_pd it asks for no alignment
      _mm_storeh_pi(reinterpret_cast<__m64*>(to), _mm_castsi128_ps(v));
    };
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), first);
    if (pixels > 1) store_high(y + stride, first);
    if (pixels > 2) _mm_storel_epi64(reinterpret_cast<__m128i*>(y + 2 * stride), last);
    if (pixels > 3) store_high(y + 3 * stride, last);
  }
}

// What a stretch of tiles of one block needs to know.
struct Stretch {
  int block, oy, ox, tiles;
  bool first;  // of those that this call computes with the same weights
};

// Brings the next panel into L2 while one is at work: a model's weights rarely stay there from run
// to run. Nothing is read, so what follows the last panel may be anything.
void prefetch(const std::byte* panel, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(panel + i), _MM_HINT_T1);
  }
}

void transform_inputs(const Args& a, const Stretch& s, int16_t* v) {
  const Geometry& g = a.geometry;
  const int first_group = s.block * a.layout.groups_per_block;
  const int left = (g.groups - first_group) * g.icg;
  const int existing =
      left < a.layout.groups_per_block * g.icg ? left : a.layout.groups_per_block * g.icg;
  alignas(16) Act zero_points[16];
  std::memset(zero_points, a.x_zero, sizeof(zero_points));
  for (int c = 0; c < existing; c += 16) {
    Lines lines;
    for (int i = 0; i < 4; ++i) {
      const int iy = s.oy - g.top + i;
      const bool inside = iy >= 0 && iy < g.h;
      lines.pixel[i] = inside ? g.x_pixel_stride : 0;
      lines.at[i] = inside ? a.x + static_cast<ptrdiff_t>(iy) * g.w * g.x_pixel_stride +
                                 first_group * g.icg + c
                           : zero_points;
    }
    const bool half = existing - c < kTile.inputs;
    const auto run = a.layout.channels == kTile.inputs
                         ? (half ? transform<true, kTile.inputs> : transform<false, kTile.inputs>)
                         : (half ? transform<true, 0> : transform<false, 0>);
    run(lines, s.ox - g.left, g.w, a.x_zero, s.tiles, a.layout.channels, a.layout.tile_stride,
        v + c);
  }
}

void apply_tail(const Args& a, const Stretch& s, int rows, int pixels) {
  const Geometry& g = a.geometry;
  const int first_group = s.block * a.layout.groups_per_block;
  const int groups = g.groups - first_group < a.layout.groups_per_block ? g.groups - first_group
                                                                        : a.layout.groups_per_block;
  for (int r = 0; r < rows; ++r) {
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(s.oy + r) * g.ow + s.ox;
    const Act* residual =
        a.residual ? a.residual + pixel * a.epilogue->residual_stride + first_group * g.ocg
                   : nullptr;
    apply_tail_rows(a.y + pixel * g.y_pixel_stride + first_group * g.ocg, g.y_pixel_stride,
                    residual, static_cast<size_t>(pixels), groups * g.ocg, *a.epilogue);
  }
}

// All outputs of a block's groups for one stretch.
void run_stretch(const Args& a, const Stretch& s, const ByteClamp& clamp) {
  const Geometry& g = a.geometry;
  const Layout& l = a.layout;
  int16_t* v = reinterpret_cast<int16_t*>(a.scratch);
  __m256i* upper = reinterpret_cast<__m256i*>(a.scratch + l.transformed_bytes);
  __m256i* lower = upper + 2 * l.chunk;
  transform_inputs(a, s, v);
  const int pixels = g.ow - s.ox < 2 * s.tiles ? g.ow - s.ox : 2 * s.tiles;
  const int rows = g.oh - s.oy < 2 ? 1 : 2;
  const int pairs = g.icg / 2, panels = g.ocg / kTile.outputs;
  const ptrdiff_t pixel = static_cast<ptrdiff_t>(s.oy) * g.ow + s.ox;
  const auto requantize = a.bounded ? requantize_row<true> : requantize_row<false>;
  for (int i = 0; i < l.groups_per_block; ++i) {
    const int group = s.block * l.groups_per_block + i;
    if (group >= g.groups) break;
    const std::byte* packed = a.packed + static_cast<size_t>(group * panels) * l.panel_bytes;
    for (int p = 0; p < panels; ++p, packed += l.panel_bytes) {
      if (s.first) prefetch(packed + l.panel_bytes, l.panel_bytes);
      const __m256i* u = reinterpret_cast<const __m256i*>(packed);
      const auto multiply_panel =
          l.channels == kTile.inputs && pairs == 4   ? multiply_row<Known<kTile.inputs, 4>>
          : l.channels == kTile.inputs && pairs == 8 ? multiply_row<Known<kTile.inputs, 8>>
                                                     : multiply_row<Known<0, 0>>;
      multiply_panel(v + i * g.icg, l.channels, pairs, s.tiles, u, upper, lower);
      const __m256 multiplier =
          _mm256_load_ps(reinterpret_cast<const float*>(u + kPositions * pairs + 1));
      Act* y = a.y + pixel * g.y_pixel_stride + group * g.ocg + p * kTile.outputs;
      requantize(upper, multiplier, clamp, pixels, y, g.y_pixel_stride);
      if (rows == 2) {
        requantize(lower, multiplier, clamp, pixels, y + g.ow * g.y_pixel_stride, g.y_pixel_stride);
      }
    }
  }
  if (a.epilogue->table || a.residual) apply_tail(a, s, rows, pixels);
}

void run(const Args& a) {
  const int tiles = (a.geometry.ow + 1) / 2;
  const ByteClamp clamp = load_byte_clamp(a.epilogue->clamp);
  for (int block = a.block_begin; block < a.block_end; ++block) {
    // Down the image, since a pair of rows shares two lines of inputs with the next.
    for (int t = 0; t < tiles; t += a.layout.chunk) {
      const int count = tiles - t < a.layout.chunk ? tiles - t : a.layout.chunk;
      for (int pair = a.pair_begin; pair < a.pair_end; ++pair) {
        run_stretch(a, {block, 2 * pair, 2 * t, count, pair == a.pair_begin && t == 0}, clamp);
      }
    }
  }
}

constexpr Kernel kKernels[] = {{"winograd_s8_2x2k3_4x8c2_avx2", kTile, run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::winograd
