// Dot products down the columns: four rows of the image, interleaved per channel, against four taps
// of a column; at stride 1 the same quads serve two output rows.
//
// Exact for any weights: sdot sums in 32 bits. 3x3 takes 12 sdot per 16 outputs, of which three
// quarters of the products count. neondot_interleave.inc makes the quads, before a row or two of
// outputs are computed.
#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/neon.inc"
#include "kernels/dwconv/neondot_interleave.inc"

namespace lightkern::dwconv {
namespace {

// Weight sets at a stride: with two, a step makes two output rows.
constexpr int sets_of(int stride) { return stride == 1 ? 2 : 1; }

// A step of one block: quads of rows, and what to make of them.
struct Step {
  const int8_t* quads;      // [quads][width][4 * vectors channels][4 rows]
  ptrdiff_t quad;           // bytes of one of them
  const int32_t* bias;      // [16]
  const float* multiplier;  // [16]
  const int8_t* weights;    // [quads][kw][sets][16 channels][4 rows]
  Output output;
  Act* y;
  ptrdiff_t y_stride, y_row;
  int valid;
  bool in_order;  // the core issues in order
};

// --- the tiles -----------------------------------------------------------------------------------

template <int vectors>
struct Bytes;
template <>
struct Bytes<4> {
  int8x16x4_t of;
  void load(const int8_t* p) { of = vld1q_s8_x4(p); }
};
template <>
struct Bytes<2> {
  int8x16x2_t of;
  void load(const int8_t* p) { of = vld1q_s8_x2(p); }
};

template <int vectors, Last last>
[[gnu::always_inline]] inline int8x16_t to_bytes(const int32x4_t (&acc)[vectors],
                                                 const float32x4_t (&m)[vectors],
                                                 const Output& to) {
  float32x4_t t[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) t[v] = vmulq_f32(vcvtq_f32_s32(acc[v]), m[v]);
  if constexpr (vectors == 4) {
    return to_bytes16<last>(t[0], t[1], t[2], t[3], to);
  } else {
    const int8x8_t bytes = to_bytes8<last>(t[0], t[1], to);
    return vcombine_s8(bytes, bytes);
  }
}

// All pixels become bytes before the first one is stored if that takes branches, around which GCC
// 12 would keep the sums of the others in memory.
template <int rows, int n, int vectors, Last last>
[[gnu::always_inline]] inline void finish_tile(const Step& s, int x,
                                               const int32x4_t (&acc)[rows][n][vectors]) {
  float32x4_t m[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) m[v] = vld1q_f32(s.multiplier + 4 * v);
  int8x16_t bytes[rows][n];
#pragma GCC unroll 2
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) {
      bytes[r][i] = to_bytes<vectors, last>(acc[r][i], m, s.output);
      Act* const y = s.y + (x + i) * s.y_stride + r * s.y_row;
      if constexpr (last == Last::kLimits) {
        __asm__ volatile("" : "+w"(bytes[r][i])::"memory");
      } else if constexpr (vectors == 4) {
        vst1q_s8(y, bytes[r][i]);
      } else {
        vst1_s8(y, vget_low_s8(bytes[r][i]));
      }
    }
  }
  if constexpr (last == Last::kLimits) {
#pragma GCC unroll 2
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i)
        store_first(s.y + (x + i) * s.y_stride + r * s.y_row, bytes[r][i], s.valid);
    }
  }
}

// n pixels of one or two output rows, 4 * vectors channels.
template <int taps, int stride, int rows, int n, int vectors, Last last>
[[gnu::always_inline]] inline void tile(const Step& s, int x) {
  constexpr int kSets = sets_of(stride), kUsed = row_quads(taps, rows);
  int32x4_t acc[rows][n][vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const int32x4_t bias = vld1q_s32(s.bias + 4 * v);
#pragma GCC unroll 2
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) acc[r][i][v] = bias;
    }
  }
#pragma GCC unroll 2
  for (int q = 0; q < kUsed; ++q) {
    const int8_t* const pixels = s.quads + q * s.quad + x * stride * vectors * 16;
    const int8_t* const weights = s.weights + q * taps * kSets * 64;
    Bytes<vectors> pixel[n];
#pragma GCC unroll 8
    for (int j = 0; j < taps; ++j) {
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) {
        if (stride == 1 && j > 0 && i + 1 < n) {
          pixel[i] = pixel[i + 1];
        } else {
          pixel[i].load(pixels + (i * stride + j) * vectors * 16);
        }
      }
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) {
        Bytes<vectors> w;
        w.load(weights + (j * kSets + r) * 64);
#pragma GCC unroll 4
        for (int i = 0; i < n; ++i) {
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v)
            acc[r][i][v] = vdotq_s32(acc[r][i][v], pixel[i].of.val[v], w.of.val[v]);
        }
      }
      // Else GCC loads more, and earlier, than there are registers for.
      __asm__ volatile("" : "+w"(acc[rows - 1][n - 1][vectors - 1])::"memory");
    }
  }
  finish_tile<rows, n, vectors, last>(s, x, acc);
}

#include "kernels/dwconv/neondot_in_order.inc"
#include "kernels/dwconv/neondot_rows.inc"

// The wider tiles for cores that issue in order. Returns the number of columns that are done.
template <int taps, int stride>
[[gnu::always_inline]] inline int run_wide_columns(const Step& s, int columns) {
  constexpr int kColumns = stride == 1 ? 4 : 8;
  const int tiles = columns / kColumns;
  if (taps == 5 && stride == 2) return 0;  // there are none
  for (int first = 0; tiles > 0 && first < kBlock; first += kBlock / 2) {
    if (stride == 2) {
      run_3x3s2_half(s, tiles, first);
    } else {
      taps == 3 ? run_3x3s1_half(s, tiles, first) : run_5x5s1_half(s, tiles, first);
    }
  }
  return tiles * kColumns;
}

// As many of the first columns as there are hot tiles for. Returns their number.
template <int taps, int stride, int rows, int vectors>
[[gnu::always_inline]] inline int run_hot_columns(const Step& s, int columns) {
  constexpr int kColumns = stride == 1 ? 2 : 4;
  if constexpr (vectors != 4 || rows != sets_of(stride)) return 0;
  if (s.valid != kBlock || s.output.last == Last::kLimits) return 0;
  const int x = s.in_order ? run_wide_columns<taps, stride>(s, columns) : 0;
  const int tiles = (columns - x) / kColumns;
  if (tiles == 0) return x;
  if (taps == 3) {
    stride == 1 ? run_3x3s1(s, x, tiles) : run_3x3s2(s, x, tiles);
  } else {
    stride == 1 ? run_5x5s1(s, x, tiles) : run_5x5s2(s, x, tiles);
  }
  return x + tiles * kColumns;
}

template <int taps, int stride, int rows, int vectors, Last last>
[[gnu::always_inline]] inline void run_columns(const Step& step, int x, int columns) {
  const Step s = step;
  constexpr int kColumns = 2;
  for (; x + kColumns <= columns; x += kColumns)
    tile<taps, stride, rows, kColumns, vectors, last>(s, x);
  if (x < columns) tile<taps, stride, rows, 1, vectors, last>(s, x);
}

template <int taps, int stride, int rows, int vectors>
void run_rows(const Step& s, int columns) {
  const int x = run_hot_columns<taps, stride, rows, vectors>(s, columns);
  if (x == columns) return;
  if (s.valid != 4 * vectors || s.output.last == Last::kLimits) {
    run_columns<taps, stride, rows, vectors, Last::kLimits>(s, x, columns);
  } else if (s.output.last == Last::kEven) {
    run_columns<taps, stride, rows, vectors, Last::kEven>(s, x, columns);
  } else {
    run_columns<taps, stride, rows, vectors, Last::kOdd>(s, x, columns);
  }
}

// --- the walk ------------------------------------------------------------------------------------

template <int taps, int stride, int vectors>
void walk(const Block& b, const std::byte* packed, bool in_order) {
  constexpr int kSets = sets_of(stride), kQuads = row_quads(taps, kSets);
  const Args& a = *b.args;
  const Geometry& g = a.geometry;
  Act padding[kBlock];
  std::memset(padding, a.x_zero, sizeof(padding));
  const ptrdiff_t quad = static_cast<ptrdiff_t>(padded_width(g)) * vectors * 16;
  int8_t* const quads = reinterpret_cast<int8_t*>(a.scratch);
  for (int q = 0; q < kQuads; ++q) pad_quad(b, quads + q * quad, vectors);

  Step s{};
  s.quads = quads;
  s.quad = quad;
  s.bias = reinterpret_cast<const int32_t*>(packed);
  s.multiplier = reinterpret_cast<const float*>(s.bias + kBlock);
  s.weights = reinterpret_cast<const int8_t*>(s.multiplier + kBlock);
  s.output = load_output(a.epilogue->clamp, a.fits16);
  s.y_stride = g.y_pixel_stride;
  s.y_row = g.ow * g.y_pixel_stride;
  s.valid = b.valid;
  s.in_order = in_order;
  for (int y = a.y_begin; y < a.y_end; y += kSets) {
    const int rows = smaller(kSets, a.y_end - y);
    for (int q = 0; q < kQuads; ++q) {
      fill_quad<vectors>(b, y * stride - g.top + 4 * q, padding, quads + q * quad);
    }
    s.y = a.y + y * s.y_row + b.first;
    if (rows == 2) {
      run_rows<taps, stride, kSets, vectors>(s, g.ow);
    } else {
      run_rows<taps, stride, 1, vectors>(s, g.ow);
    }
    finish(b, y, y + rows);
  }
}

template <int taps, int stride>
const char* refuses(const Geometry& g, const Weights&) {
  if (g.kh != taps || g.kw != taps) return "made for another window";
  if (g.sh != stride || g.sw != stride) return "made for another stride";
  return g.dh != 1 || g.dw != 1 ? "made for windows without dilation" : nullptr;
}

template <int taps, int stride>
size_t scratch_bytes(const Geometry& g) {
  return static_cast<size_t>(row_quads(taps, sets_of(stride)) * 4 * padded_width(g)) * 16;
}

template <int stride>
size_t packed_bytes(const Geometry& g) {
  return row_quad_bytes(g, kBlock, sets_of(stride));
}

template <int stride>
void pack(const Geometry& g, const Weights& weights, void* packed) {
  pack_row_quads(g, weights, kBlock, kBlock, sets_of(stride), packed);
}

template <int taps, int stride, bool in_order>
void run(const Args& a) {
  const size_t bytes = row_quad_block_bytes(a.geometry, kBlock, sets_of(stride));
  for_each_block(a, bytes, [](const Block& b, const std::byte* packed) {
    if (b.valid <= kBlock / 2) {
      walk<taps, stride, 2>(b, packed, in_order);
    } else {
      walk<taps, stride, 4>(b, packed, in_order);
    }
  });
}

#define LIGHTKERN_DWCONV(tile, taps, stride, in_order)           \
  {"dwconv_s8_" #taps "x" #taps "s" #stride "_" tile "_neondot", \
   kBlock,                                                       \
   sets_of(stride),                                              \
   refuses<taps, stride>,                                        \
   scratch_bytes<taps, stride>,                                  \
   packed_bytes<stride>,                                         \
   pack<stride>,                                                 \
   run<taps, stride, in_order>,                                  \
   in_order}
constexpr Kernel kKernels[] = {
    LIGHTKERN_DWCONV("2x4inorder", 3, 1, true), LIGHTKERN_DWCONV("2x2", 3, 1, false),
    LIGHTKERN_DWCONV("1x8inorder", 3, 2, true), LIGHTKERN_DWCONV("1x2", 3, 2, false),
    LIGHTKERN_DWCONV("2x4inorder", 5, 1, true), LIGHTKERN_DWCONV("2x2", 5, 1, false),
    LIGHTKERN_DWCONV("1x2", 5, 2, false),
};

}  // namespace

extern const Table neondot;
constexpr Table neondot = make_table(kKernels);

}  // namespace lightkern::dwconv
