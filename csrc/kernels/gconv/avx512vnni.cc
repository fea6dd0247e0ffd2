// Square: vpdpbusd on 64 channels, all outputs of a group at once, for groups of 2, 4 and 8
// channels with as many outputs. Quad: 32 channels, any number of outputs. Both are exact for all
// weights; at most 64 MAC per cycle where a core has two multipliers of 256 bits.
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

// Packing leaves in each 16 bytes, of two groups of 8 or four of 4 channels, one output behind the
// other.
template <int n>
WideClamp load_wide_clamp(const Clamp& clamp) {
  alignas(16) uint8_t order[16];
  for (int i = 0; i < 16; ++i) order[i] = static_cast<uint8_t>(i % n * (16 / n) + i / n);
  const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(order));
  const auto limit = [&](float real) {
    return _mm512_set1_epi8(static_cast<char>(static_cast<int32_t>(real) + clamp.zero_point));
  };
  return {_mm512_set1_epi32(clamp.zero_point), limit(clamp.lo), limit(clamp.hi),
          _mm512_broadcast_i32x4(bytes)};
}

// 2 * 16 sums to words. The packer has proved that no product leaves int32, so the limits may come
// last. On Zen 4 additions of int32 run beside vpdpbusd; saturating ones of int16 take its place.
__m512i to_words(__m512i a, __m512i b, const float* multiplier, const WideClamp& clamp) {
  const auto scale = [&](__m512i sums, const float* m) {
    const __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_load_ps(m));
    return _mm512_add_epi32(_mm512_cvtps_epi32(t), clamp.zero_point);
  };
  return _mm512_packs_epi32(scale(a, multiplier), scale(b, multiplier + 16));
}

__m512i to_bytes(__m512i a, __m512i b, const WideClamp& clamp) {
  const __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(a, b), clamp.lo8);
  return _mm512_shuffle_epi8(_mm512_min_epu8(bytes, clamp.hi8), clamp.order);
}

// Sums of two outputs whose groups have two lanes each: per four lanes the first output of two
// groups, then the second one.
__m512i add_lanes(__m512i a, __m512i b) {
  const __m512 fa = _mm512_castsi512_ps(a), fb = _mm512_castsi512_ps(b);
  return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0x88)),
                          _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0xDD)));
}

// One pixel.
template <int n>
[[gnu::always_inline]] inline __m512i finish_square(const __m512i* acc, const float* multiplier,
                                                    const WideClamp& clamp) {
  __m512i sums[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    sums[i] = n == 4 ? acc[i] : add_lanes(acc[n / 4 * i], acc[n / 4 * i + n / 8]);
  const __m512i low = to_words(sums[0], sums[1], multiplier, clamp);
  return to_bytes(low, to_words(sums[2], sums[3], multiplier + 32, clamp), clamp);
}

// What the tiles of a row share.
struct SquareRow {
  const Args* args;
  const std::byte* const* rows;
  const std::byte* packed;
  Chunk chunk;
  WideClamp clamp;
  __mmask64 mask;  // outputs that exist
};

// All outputs of `pixels` neighbouring pixels, `tiles` times.
template <int n, int pixels>
[[gnu::noinline]] void compute_square(const SquareRow& row, ptrdiff_t column_bytes, int tiles,
                                      Act* y) {
  const Geometry& g = row.args->geometry;
  const ptrdiff_t step_bytes = static_cast<ptrdiff_t>(g.dw) * 64;
  const ptrdiff_t pixel_bytes = static_cast<ptrdiff_t>(g.sw) * 64;
  for (; tiles > 0; --tiles, column_bytes += pixels * pixel_bytes, y += pixels * g.y_pixel_stride) {
    __m512i acc[pixels][n];
    for (int o = 0; o < n; ++o) {
      const __m512i bias = _mm512_load_si512(row.packed + row.chunk.bias + o * 64);
      for (int p = 0; p < pixels; ++p) acc[p][o] = bias;
    }
    const std::byte* weights = row.packed + row.chunk.weights;
    for (int ky = 0; ky < g.kh; ++ky) {
      const std::byte* x = row.rows[ky] + column_bytes;
      for (int kx = 0; kx < g.kw; ++kx, x += step_bytes) {
        __m512i v[pixels];
        for (int p = 0; p < pixels; ++p) v[p] = _mm512_load_si512(x + p * pixel_bytes);
        for (int o = 0; o < n; ++o, weights += 64) {
          const __m512i w = _mm512_load_si512(weights);
          for (int p = 0; p < pixels; ++p) multiply_add(acc[p][o], v[p], w);
        }
      }
    }
    const SquareRow* late = &row;
    __asm__("" : "+r"(late));  // else registers are lost to limits while accumulators need them
    const WideClamp clamp = late->clamp;
    const float* multiplier = reinterpret_cast<const float*>(row.packed + row.chunk.multiplier);
    Act* to = y;
#pragma GCC unroll 8
    for (int p = 0; p < pixels; ++p, to += g.y_pixel_stride)
      _mm512_mask_storeu_epi8(to, late->mask, finish_square<n>(acc[p], multiplier, clamp));
  }
}

using ComputeSquare = void (*)(const SquareRow&, ptrdiff_t, int, Act*);

// The function for tiles of `width` pixels, 1 <= width <= pixels.
template <int n, int pixels>
ComputeSquare find_square(int width) {
  if constexpr (pixels > 1) {
    if (width < pixels) return find_square<n, pixels - 1>(width);
  }
  return compute_square<n, pixels>;
}

// `most` pixels per tile; tiles of a row differ by at most one pixel.
template <int n, int most>
void run_square(const Args& a, int block) {
  const Geometry& g = a.geometry;
  const Chunk chunk = make_chunk(Square::kTile, g, a.layout, g.ocg);
  const WideClamp clamp = load_wide_clamp<n>(a.epilogue->clamp);
  const int tiles = (g.ow + most - 1) / most, width = (g.ow + tiles - 1) / tiles;
  const int wide = g.ow - tiles * (width - 1);
  const ptrdiff_t done = static_cast<ptrdiff_t>(wide) * width;
  const auto compute_wide = find_square<n, most>(width);
  const auto compute_narrow = find_square<n, most>(width > 1 ? width - 1 : 1);
  run_block<Square>(
      a, block, [&](const std::byte* const* rows, const std::byte* packed, Act* y, int groups) {
        const SquareRow row = {&a, rows, packed, chunk, clamp, mask_of(groups * g.ocg)};
        compute_wide(row, 0, wide, y);
        compute_narrow(row, done * g.sw * 64, tiles - wide, y + done * g.y_pixel_stride);
      });
}

// Accumulators, a register of weights and one per pixel fill 28 of 32 registers, or 21.
void run_squares(const Args& a) {
  for (int block = a.block_begin; block < a.block_end; ++block)
    a.geometry.icg == 8 ? run_square<8, 3>(a, block) : run_square<4, 4>(a, block);
}

constexpr Kernel kKernels[] = {{"gconv_s8_square64c4_avx512vnni", Square::kTile, run_squares},
                               {"gconv_s8_2x32c4_avx512vnni", Quad::kTile, run<Quad>}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gconv
