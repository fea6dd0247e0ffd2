// Square: vpdpbusd on 64 channels, all outputs of a group at once, for groups of 2, 4 and 8
// channels with as many outputs. Quad: 32 channels, any number of outputs. Both are exact for all
// weights; at most 64 MAC per cycle where a core has two multipliers of 256 bits.
#if !defined(__clang__)
// GCC 12 sees uninitialized values in its own _mm512_undefined_epi32.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
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

// A row of scratch: 64 channels, or per group two channels and those of the next column.
struct Square {
  static constexpr Tile kTile = {64, 1, 4, false, true};
  static void widen(const Act* x, std::byte* row) {
    _mm512_store_si512(row, _mm512_loadu_si512(x));
  }
  static void widen_pairs(const Act* x, const Act* next, std::byte* row) {
    const __m512i low = _mm512_cvtepu16_epi32(load256(x));
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(next)), 16);
    _mm512_store_si512(row, _mm512_or_si512(low, high));
  }
};

#include "kernels/gconv/planar.inc"

// GCC otherwise reads an operand of several multiplies from memory every time.
inline void keep_in_register(__m512i& v) {
#ifdef __AVX512F__
  __asm__("" : "+v"(v));
#endif
}

// ByteClamp of simd/x86.inc, and the order of bytes behind packing.
struct WideClamp {
  __m512 hi;
  __m512i zero_point16, lo8, order;
};

// Packing leaves in each 16 bytes, of two or four groups, one output behind the other: `groups`
// bytes each. A group of 2 channels has two pixels there.
template <int n>
WideClamp load_wide_clamp(const Clamp& clamp) {
  constexpr int kGroups = n == 8 ? 2 : 4;
  alignas(16) uint8_t order[16];
  for (int i = 0; i < 16; ++i) {
    const int output = i % n, group = i / n % kGroups, pixel = i / (n * kGroups);
    order[i] = static_cast<uint8_t>((pixel * n + output) * kGroups + group);
  }
  const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(order));
  return {_mm512_set1_ps(clamp.hi), _mm512_set1_epi16(static_cast<int16_t>(clamp.zero_point)),
          _mm512_set1_epi8(static_cast<char>(static_cast<int32_t>(clamp.lo) + clamp.zero_point)),
          _mm512_broadcast_i32x4(bytes)};
}

// 2 * 16 sums to words.
__m512i to_words(__m512i a, __m512i b, const float* multiplier, const WideClamp& clamp) {
  const auto scale = [&](__m512i sums, const float* m) {
    const __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_load_ps(m));
    return _mm512_cvtps_epi32(_mm512_min_ps(t, clamp.hi));
  };
  const __m512i words = _mm512_packs_epi32(scale(a, multiplier), scale(b, multiplier + 16));
  return _mm512_adds_epi16(words, clamp.zero_point16);
}

__m512i to_bytes(__m512i a, __m512i b, const WideClamp& clamp) {
  return _mm512_shuffle_epi8(_mm512_max_epu8(_mm512_packus_epi16(a, b), clamp.lo8), clamp.order);
}

// Sums of two outputs whose groups have two lanes each: per four lanes the first output of two
// groups, then the second one.
__m512i add_lanes(__m512i a, __m512i b) {
  const __m512 fa = _mm512_castsi512_ps(a), fb = _mm512_castsi512_ps(b);
  return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0x88)),
                          _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0xDD)));
}

// Requantizes one pixel; of groups of 2 channels two, the second of which may be the first again.
template <int n>
[[gnu::always_inline]] inline __m512i finish_square(const __m512i* acc, const __m512i* second,
                                                    const float* multiplier,
                                                    const WideClamp& clamp) {
  if constexpr (n == 2) {
    const __m512i bytes = to_bytes(to_words(acc[0], acc[1], multiplier, clamp),
                                   to_words(second[0], second[1], multiplier, clamp), clamp);
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes);
  } else if constexpr (n == 4) {
    return to_bytes(to_words(acc[0], acc[1], multiplier, clamp),
                    to_words(acc[2], acc[3], multiplier + 32, clamp), clamp);
  } else {
    const __m512i low =
        to_words(add_lanes(acc[0], acc[1]), add_lanes(acc[2], acc[3]), multiplier, clamp);
    const __m512i high =
        to_words(add_lanes(acc[4], acc[5]), add_lanes(acc[6], acc[7]), multiplier + 32, clamp);
    return to_bytes(low, high, clamp);
  }
}

// What the tiles of a row share.
struct SquareRow {
  const Args* args;
  const std::byte* const* rows;
  const std::byte* packed;
  Chunk chunk;
  WideClamp clamp;
  int channels;
};

// All outputs of `pixels` neighbouring pixels, `tiles` times.
template <int n, int pixels>
[[gnu::noinline]] void compute_square(const SquareRow& row, ptrdiff_t column_bytes, int tiles,
                                      Act* y) {
  const Geometry& g = row.args->geometry;
  const ptrdiff_t step_bytes = static_cast<ptrdiff_t>(row.args->layout.columns) * g.dw * 64;
  const ptrdiff_t pixel_bytes = static_cast<ptrdiff_t>(g.sw) * 64;
  constexpr int kWidth = n == 2 ? 32 : 64, kTogether = n == 2 ? 2 : 1;  // channels, pixels
  const bool whole = row.channels == kWidth;
  const WideClamp clamp = row.clamp;
  for (; tiles > 0; --tiles, column_bytes += pixels * pixel_bytes, y += pixels * g.y_pixel_stride) {
    __m512i acc[pixels][n];
    for (int o = 0; o < n; ++o) {
      const __m512i bias = _mm512_load_si512(row.packed + row.chunk.bias + o * 64);
      for (int p = 0; p < pixels; ++p) acc[p][o] = bias;
    }
    const std::byte* weights = row.packed + row.chunk.weights;
    for (int ky = 0; ky < g.kh; ++ky) {
      const std::byte* x = row.rows[ky] + column_bytes;
      for (int step = 0; step < row.args->layout.steps; ++step, x += step_bytes) {
        __m512i v[pixels];
        for (int p = 0; p < pixels; ++p) v[p] = _mm512_load_si512(x + p * pixel_bytes);
        for (int o = 0; o < n; ++o, weights += 64) {
          __m512i w = _mm512_load_si512(weights);
          keep_in_register(w);
          for (int p = 0; p < pixels; ++p) acc[p][o] = _mm512_dpbusd_epi32(acc[p][o], v[p], w);
        }
      }
    }
    const float* multiplier = reinterpret_cast<const float*>(row.packed + row.chunk.multiplier);
    alignas(64) Act part[pixels * kWidth];
    Act* to = whole ? y : part;
    const ptrdiff_t to_stride = whole ? g.y_pixel_stride : kWidth;
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p += kTogether, to += kTogether * to_stride) {
      constexpr int kLast = pixels - 1;
      const __m512i bytes = finish_square<n>(acc[p], acc[p < kLast ? p + 1 : p], multiplier, clamp);
      if constexpr (n == 2) {
        store_bytes(to, _mm512_castsi512_si256(bytes));
        if (p < kLast) store_bytes(to + to_stride, _mm512_extracti64x4_epi64(bytes, 1));
      } else {
        _mm512_storeu_si512(to, bytes);
      }
    }
    for (int p = 0; !whole && p < pixels; ++p)
      std::memcpy(y + p * g.y_pixel_stride, part + p * kWidth, static_cast<size_t>(row.channels));
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
  const Chunk chunk = make_chunk(Square::kTile, g, a.layout, n);
  const WideClamp clamp = load_wide_clamp<n>(a.epilogue->clamp);
  const int tiles = (g.ow + most - 1) / most, width = (g.ow + tiles - 1) / tiles;
  const int wide = g.ow - tiles * (width - 1);
  const auto compute_wide = find_square<n, most>(width);
  const auto compute_narrow = find_square<n, most>(width > 1 ? width - 1 : 1);
  run_block<Square>(
      a, block, [&](const std::byte* const* rows, const std::byte* packed, Act* y, int groups) {
        const SquareRow row = {&a, rows, packed, chunk, clamp, groups * n};
        compute_wide(row, 0, wide, y);
        const ptrdiff_t done = static_cast<ptrdiff_t>(wide) * width;
        compute_narrow(row, done * g.sw * 64, tiles - wide, y + done * g.y_pixel_stride);
      });
}

// Accumulators, a register of weights and one per pixel fill 28 or fewer of 32 registers.
void run_squares(const Args& a) {
  for (int block = a.block_begin; block < a.block_end; ++block) {
    if (a.geometry.icg == 8) {
      run_square<8, 3>(a, block);
    } else if (a.geometry.icg == 4) {
      run_square<4, 4>(a, block);
    } else {
      run_square<2, 8>(a, block);
    }
  }
}

constexpr Kernel kKernels[] = {{"gconv_s8_square64c4_avx512vnni", Square::kTile, run_squares},
                               {"gconv_s8_2x32c4_avx512vnni", Quad::kTile, run<Quad>}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::gconv
