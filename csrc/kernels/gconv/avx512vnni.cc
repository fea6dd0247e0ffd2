// Square: vpdpbusd on 64 channels, for groups of 2, 4, 8 and 16 channels with as many outputs.
// Quad: 32 channels, any number of outputs. Both are exact for all weights; at most 64 MAC per
// cycle where a core has two multipliers of 256 bits.
#include "kernels/gconv/gconv.h"
#include "kernels/gconv/ymm.inc"

namespace lightkern::gconv {
namespace {

// Never holds pairs of columns: its lanes are four wide (pack.cc refuses).
struct Quad : Shared {
  static void widen_pairs(const Act*, const Act*, std::byte*) {}
  static constexpr Tile kTile = {32, 1, 4, false};
  static void widen(const Act* x, std::byte* row) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), load256(x));
  }
  static Acc multiply_add(Acc acc, Vec x, Vec w) { return _mm256_dpbusd_epi32(acc, x, w); }
};

// Masks the first `channels` of 64.
__mmask64 mask_of(int channels) { return ~uint64_t{0} >> (64 - channels); }

struct Square {
  static constexpr Tile kTile = {64, 1, 4, false, true};
  static void widen(const Act* x, std::byte* row) { widen_part(x, 64, row); }
  static void widen_part(const Act* x, int channels, std::byte* row) {
    _mm512_store_si512(row, _mm512_maskz_loadu_epi8(mask_of(channels), x));
  }
  static void fill(int32_t value, std::byte* row) {
    _mm512_store_si512(row, _mm512_set1_epi8(static_cast<char>(value)));
  }
  static void widen_pairs(const Act*, const Act*, std::byte*) {}
};

#include "kernels/gconv/planar.inc"

// An instruction of its own: GCC 12 else copies accumulators from register to register, and reads
// an operand of several multiplies from memory every time.
inline void multiply_add(__m512i& acc, __m512i x, __m512i w) {
#ifdef __AVX512VNNI__
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
#else
  acc = _mm512_dpbusd_epi32(acc, x, w);
#endif
}

// Limits as bytes, and the order of bytes behind packing.
struct WideClamp {
  __m512i zero_point, lo8, hi8, order;
};

// Packing leaves in each 16 bytes the outputs of 4 / lanes groups, `lanes` of each in turn.
template <int lanes>
WideClamp load_wide_clamp(const Clamp& clamp) {
  constexpr int kGroup = 4 * lanes;  // outputs
  alignas(16) uint8_t order[16];
  for (int i = 0; i < 16; ++i) {
    const int group = i / kGroup, o = i % kGroup;
    order[i] = static_cast<uint8_t>(o / lanes * 4 + group * lanes + o % lanes);
  }
  const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(order));
  const auto limit = [&](float real) {
    return _mm512_set1_epi8(static_cast<char>(static_cast<int32_t>(real) + clamp.zero_point));
  };
  return {_mm512_set1_epi32(clamp.zero_point), limit(clamp.lo), limit(clamp.hi),
          _mm512_broadcast_i32x4(bytes)};
}

// 16 sums to values. The packer has proved that no product leaves int32, so the limits may come
// last. On Zen 4 additions of int32 run beside vpdpbusd; saturating ones of int16 take its place.
__m512i scale(__m512i sums, const float* multiplier, const WideClamp& clamp) {
  const __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_load_ps(multiplier));
  return _mm512_add_epi32(_mm512_cvtps_epi32(t), clamp.zero_point);
}

// Of `lanes` neighbouring outputs the sums over all lanes of their groups: accumulator s holds in
// lane j what the inputs of lane j add to output (j + s) % lanes, so it is turned by s lanes.
template <int lanes>
__m512i add_lanes(const __m512i* acc) {
  if constexpr (lanes == 1) return acc[0];
  if constexpr (lanes == 2)
    return _mm512_add_epi32(acc[0], _mm512_shuffle_epi32(acc[1], _MM_PERM_CDAB));
  if constexpr (lanes == 4) {
    const __m512i low = _mm512_add_epi32(acc[0], _mm512_shuffle_epi32(acc[1], _MM_PERM_CBAD));
    const __m512i high = _mm512_add_epi32(_mm512_shuffle_epi32(acc[2], _MM_PERM_BADC),
                                          _mm512_shuffle_epi32(acc[3], _MM_PERM_ADCB));
    return _mm512_add_epi32(low, high);
  }
}

// What the tiles of a row share.
struct SquareRow {
  const std::byte* const* rows;
  const std::byte* packed;
  Chunk chunk;
  int kh, kw;
  ptrdiff_t tap_bytes, pixel_bytes;  // from one to the next in rows
  ptrdiff_t y_pixel_stride;
  __mmask64 mask;  // outputs that exist
  WideClamp clamp;
};

// Accumulators of a chunk: 4 / lanes registers of outputs.
constexpr int kSums = 4;

template <int pixels>
[[gnu::always_inline]] inline void add_taps(const SquareRow& row, const std::byte* packed,
                                            ptrdiff_t column_bytes, __m512i (&acc)[pixels][kSums]) {
  const ptrdiff_t tap_bytes = row.tap_bytes, pixel_bytes = row.pixel_bytes;
  for (int i = 0; i < kSums; ++i) {
    const __m512i bias = _mm512_load_si512(packed + row.chunk.bias + i * 64);
    for (int p = 0; p < pixels; ++p) acc[p][i] = bias;
  }
  const std::byte* weights = packed + row.chunk.weights;
  for (int ky = 0; ky < row.kh; ++ky) {
    const std::byte* x = row.rows[ky] + column_bytes;
    for (int kx = 0; kx < row.kw; ++kx, x += tap_bytes) {
      __m512i v[pixels];
      for (int p = 0; p < pixels; ++p) v[p] = _mm512_load_si512(x + p * pixel_bytes);
      for (int i = 0; i < kSums; ++i, weights += 64) {
        const __m512i w = _mm512_load_si512(weights);
        for (int p = 0; p < pixels; ++p) multiply_add(acc[p][i], v[p], w);
      }
    }
  }
}

// All outputs of `pixels` neighbouring pixels, `tiles` times. A chunk has few accumulators on
// purpose: what becomes of them is then short enough to run beside the products of the next one.
template <int lanes, int pixels>
[[gnu::noinline]] void compute_square(const SquareRow& row, ptrdiff_t column_bytes, int tiles,
                                      Act* y) {
  constexpr int kRegisters = kSums / lanes;  // of outputs, per chunk
  const ptrdiff_t tile_bytes = row.pixel_bytes * pixels;
  const WideClamp clamp = row.clamp;
  for (; tiles > 0; --tiles, column_bytes += tile_bytes, y += pixels * row.y_pixel_stride) {
    const std::byte* packed = row.packed;
    __m512i values[pixels][4];
#pragma GCC unroll 4
    for (int first = 0; first < 4; first += kRegisters, packed += row.chunk.bytes) {
      __m512i acc[pixels][kSums];
      add_taps<pixels>(row, packed, column_bytes, acc);
      const float* multiplier = reinterpret_cast<const float*>(packed + row.chunk.multiplier);
#pragma GCC unroll 4
      for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 4
        for (int i = 0; i < kRegisters; ++i)
          values[p][first + i] =
              scale(add_lanes<lanes>(acc[p] + i * lanes), multiplier + i * 16, clamp);
      }
    }
    Act* to = y;
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p, to += row.y_pixel_stride) {
      const __m512i words[2] = {_mm512_packs_epi32(values[p][0], values[p][1]),
                                _mm512_packs_epi32(values[p][2], values[p][3])};
      __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(words[0], words[1]), clamp.lo8);
      bytes = _mm512_min_epu8(bytes, clamp.hi8);
      if (lanes < 4) bytes = _mm512_shuffle_epi8(bytes, clamp.order);
      _mm512_mask_storeu_epi8(to, row.mask, bytes);
    }
  }
}

using ComputeSquare = void (*)(const SquareRow&, ptrdiff_t, int, Act*);

// The function for tiles of `width` pixels, 1 <= width <= 3.
template <int lanes>
ComputeSquare find_square(int width) {
  return width == 3   ? compute_square<lanes, 3>
         : width == 2 ? compute_square<lanes, 2>
                      : compute_square<lanes, 1>;
}

// At most 3 pixels per tile; tiles of a row differ by at most one pixel, since a tile of one waits
// for its weights.
template <int lanes>
void run_square(const Args& a, int block) {
  const Geometry& g = a.geometry;
  SquareRow row = {nullptr,
                   nullptr,
                   make_chunk(Square::kTile, g, a.layout, g.ocg),
                   g.kh,
                   g.kw,
                   g.dw * ptrdiff_t{64},
                   g.sw * ptrdiff_t{64},
                   g.y_pixel_stride,
                   0,
                   load_wide_clamp<lanes>(a.epilogue->clamp)};
  const int tiles = (g.ow + 2) / 3, width = (g.ow + tiles - 1) / tiles;
  const int wide = g.ow - tiles * (width - 1);
  const ptrdiff_t done = static_cast<ptrdiff_t>(wide) * width;
  const auto compute_wide = find_square<lanes>(width),
             compute_narrow = find_square<lanes>(width - 1);
  run_block<Square>(
      a, block, [&](const std::byte* const* rows, const std::byte* packed, Act* y, int groups) {
        row.rows = rows, row.packed = packed, row.mask = mask_of(groups * g.ocg);
        compute_wide(row, 0, wide, y);
        compute_narrow(row, done * row.pixel_bytes, tiles - wide, y + done * g.y_pixel_stride);
      });
}

void run_squares(const Args& a) {
  const int lanes = a.geometry.icg / Square::kTile.lane;
  for (int block = a.block_begin; block < a.block_end; ++block)
    lanes == 4   ? run_square<4>(a, block)
    : lanes == 2 ? run_square<2>(a, block)
                 : run_square<1>(a, block);
}

constexpr Kernel kKernels[] = {{"gconv_s8_square64c4_avx512vnni", Square::kTile, run_squares},
                               {"gconv_s8_2x32c4_avx512vnni", Quad::kTile, run<Quad>}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gconv
