// Dot products down the columns: four rows of the image, interleaved per channel, against four taps
// of a column; at stride 1 the same quads serve two output rows.
//
// Exact for any weights: sdot sums in 32 bits. 3x3 takes 12 sdot per 16 outputs, of which three
// quarters of the products count; at stride 1, 49 instructions per 16 outputs with loads and
// requantization (22 of them), and 19 to interleave 16 channels of a column of four rows.
#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/neon.inc"

namespace lightkern::dwconv {
namespace {

// Weight sets at a stride: with two, a step makes two output rows.
constexpr int sets_of(int stride) { return stride == 1 ? 2 : 1; }

// A step of one block: quads of rows, and what to make of them.
struct Step {
  const int8_t* quads;      // [quads][width][vectors][4 channels][4 rows]
  ptrdiff_t quad;           // bytes of one of them
  const int32_t* bias;      // [16]
  const float* multiplier;  // [16]
  const int8_t* weights;    // [4][quads][kw][sets][4 channels][4 rows]
  ByteClamp clamp;
  Act* y;
  ptrdiff_t y_stride, y_row;
  int valid;
};

// --- interleaving --------------------------------------------------------------------------------

// Bytes of four rows, 16 channels, to four registers of four channels.
inline int8x16x4_t interleave(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d) {
  const auto pairs = [](int8x16_t even, int8x16_t odd) {
    return int16x8x2_t{
        {vreinterpretq_s16_s8(vzip1q_s8(even, odd)), vreinterpretq_s16_s8(vzip2q_s8(even, odd))}};
  };
  const int16x8x2_t ab = pairs(a, b), cd = pairs(c, d);
  return {{vreinterpretq_s8_s16(vzip1q_s16(ab.val[0], cd.val[0])),
           vreinterpretq_s8_s16(vzip2q_s16(ab.val[0], cd.val[0])),
           vreinterpretq_s8_s16(vzip1q_s16(ab.val[1], cd.val[1])),
           vreinterpretq_s8_s16(vzip2q_s16(ab.val[1], cd.val[1]))}};
}

// A row of the image, or of padding: then the stride is 0.
struct Line {
  const Act* pixel;
  ptrdiff_t stride;
};

// The 16 bytes at a line's pixel; then on to the next pixel, in the same instruction, which GCC
// does not find.
inline int8x16_t take16(Line& line) {
  int8x16_t bytes;
  __asm__("ld1 {%0.16b}, [%1], %2" : "=w"(bytes), "+r"(line.pixel) : "r"(line.stride) : "memory");
  return bytes;
}

// n pixels of four rows to `to` [n][vectors][16].
template <int vectors, class Take>
inline void fill_quads(Line (&line)[4], int n, int8_t* to, Take take) {
  for (const int8_t* const end = to + n * vectors * 16; to != end; to += vectors * 16) {
    const int8x16_t a = take(line[0]), b = take(line[1]), c = take(line[2]), d = take(line[3]);
    const int8x16x4_t quads = interleave(a, b, c, d);
    if constexpr (vectors == 4) {
      vst1q_s8_x4(to, quads);
    } else {
      vst1q_s8(to, quads.val[0]);
      vst1q_s8(to + 16, quads.val[1]);
    }
  }
}

// Four rows from iy on, all columns of the image.
template <int vectors>
inline void fill_quad(const Block& b, int iy, const Act* padding, int8_t* to) {
  const Geometry& g = b.args->geometry;
  const int n = smaller(g.w, padded_width(g) - g.left);
  if (n <= 0) return;
  Line line[4];
  for (int r = 0; r < 4; ++r) {
    const bool exists = iy + r >= 0 && iy + r < g.h;
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(iy + r) * g.w * g.x_pixel_stride + b.first;
    line[r] = exists ? Line{b.args->x + pixel, g.x_pixel_stride} : Line{padding, 0};
  }
  to += g.left * vectors * 16;
  if (b.valid == kBlock) {
    fill_quads<vectors>(line, n, to, take16);
  } else if (b.valid == kBlock / 2) {
    fill_quads<vectors>(line, n, to, [](Line& l) {
      const int8x16_t bytes = load8(l.pixel);
      l.pixel += l.stride;
      return bytes;
    });
  } else {
    fill_quads<vectors>(line, n, to, [&](Line& l) {
      int8_t bytes[kBlock] = {};
      std::memcpy(bytes, l.pixel, static_cast<size_t>(b.valid));
      l.pixel += l.stride;
      return vld1q_s8(bytes);
    });
  }
}

// The padding beside the image, which is the same in every quad.
inline void pad_quad(const Block& b, int8_t* quad, int vectors) {
  const Geometry& g = b.args->geometry;
  const int width = padded_width(g), left = smaller(g.left, width);
  const auto fill = [&](int x0, int x1) {
    for (int i = x0 * vectors; i < x1 * vectors; ++i) vst1q_s8(quad + i * 16, b.zero());
  };
  fill(0, left);
  fill(g.left + g.w, width);
}

// --- the tiles -----------------------------------------------------------------------------------

template <bool whole, int vectors>
[[gnu::always_inline]] inline void store(const int32x4_t (&t)[vectors], const Step& s, Act* y) {
  int8x16_t bytes;
  if constexpr (vectors == 4) {
    bytes = pack_bytes16(t[0], t[1], t[2], t[3], s.clamp);
  } else {
    bytes = vcombine_s8(pack_bytes8(t[0], t[1], s.clamp), vdup_n_s8(0));
  }
  if (!whole) {
    store_first(y, bytes, s.valid);
  } else if (vectors == 4) {
    vst1q_s8(y, bytes);
  } else {
    store8(y, bytes);
  }
}

// n pixels of one or two output rows, 4 * vectors channels, of which all exist if `whole`. A column
// of the image is loaded once; a few channels at a time, so that their weights stay in registers.
template <int taps, int stride, int rows, int n, int vectors, bool whole>
[[gnu::always_inline]] inline void tile(const Step& s, int x) {
  constexpr int kSets = sets_of(stride), kQuads = row_quads(taps, kSets);
  constexpr int kUsed = row_quads(taps, rows);         // of these
  constexpr int kTogether = taps * kSets > 6 ? 1 : 2;  // vectors
  int32x4_t t[rows][n][vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v += kTogether) {
    int32x4_t acc[rows][n][kTogether];
#pragma GCC unroll 2
    for (int k = 0; k < kTogether; ++k) {
      const int32x4_t bias = vld1q_s32(s.bias + 4 * (v + k));
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < n; ++i) acc[r][i][k] = bias;
      }
    }
#pragma GCC unroll 2
    for (int q = 0; q < kUsed; ++q) {
      const int8_t* pixels = s.quads + q * s.quad + (x * stride * vectors + v) * 16;
      int8x16_t w[kTogether][taps][rows];
#pragma GCC unroll 2
      for (int k = 0; k < kTogether; ++k) {
#pragma GCC unroll 8
        for (int j = 0; j < taps; ++j) {
#pragma GCC unroll 2
          for (int r = 0; r < rows; ++r) {
            w[k][j][r] =
                vld1q_s8(s.weights + ((((v + k) * kQuads + q) * taps + j) * kSets + r) * 16);
          }
        }
      }
#pragma GCC unroll 16
      for (int column = 0; column < (n - 1) * stride + taps; ++column) {
#pragma GCC unroll 2
        for (int k = 0; k < kTogether; ++k) {
          const int8x16_t pixel = vld1q_s8(pixels + (column * vectors + k) * 16);
#pragma GCC unroll 4
          for (int i = 0; i < n; ++i) {
            const int j = column - i * stride;
            if (j < 0 || j >= taps) continue;
#pragma GCC unroll 2
            for (int r = 0; r < rows; ++r)
              acc[r][i][k] = vdotq_s32(acc[r][i][k], pixel, w[k][j][r]);
          }
        }
      }
      // Else GCC loads more, and earlier, than there are registers for.
      __asm__ volatile("" : "+w"(acc[rows - 1][n - 1][kTogether - 1])::"memory");
    }
#pragma GCC unroll 2
    for (int k = 0; k < kTogether; ++k) {
      const float32x4_t multiplier = vld1q_f32(s.multiplier + 4 * (v + k));
#pragma GCC unroll 2
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < n; ++i) t[r][i][v + k] = scale_round4(acc[r][i][k], multiplier);
      }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) store<whole>(t[r][i], s, s.y + (x + i) * s.y_stride + r * s.y_row);
  }
}

template <int taps, int stride, int rows, int vectors, bool whole>
[[gnu::always_inline]] inline void run_columns(const Step& step, int columns) {
  const Step s = step;
  constexpr int kColumns = 2;
  int x = 0;
  for (; x + kColumns <= columns; x += kColumns)
    tile<taps, stride, rows, kColumns, vectors, whole>(s, x);
  if (x < columns) tile<taps, stride, rows, 1, vectors, whole>(s, x);
}

template <int taps, int stride, int rows, int vectors>
void run_rows(const Step& s, int columns) {
  if (s.valid == 4 * vectors) {
    run_columns<taps, stride, rows, vectors, true>(s, columns);
  } else {
    run_columns<taps, stride, rows, vectors, false>(s, columns);
  }
}

// --- the walk ------------------------------------------------------------------------------------

template <int taps, int stride, int vectors>
void walk(const Block& b, const std::byte* packed) {
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
  s.clamp = load_byte_clamp(a.epilogue->clamp);
  s.y_stride = g.y_pixel_stride;
  s.y_row = g.ow * g.y_pixel_stride;
  s.valid = b.valid;
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
  pack_row_quads(g, weights, kBlock, 4, sets_of(stride), packed);
}

template <int taps, int stride>
void run(const Args& a) {
  const size_t bytes = row_quad_block_bytes(a.geometry, kBlock, sets_of(stride));
  for_each_block(a, bytes, [](const Block& b, const std::byte* packed) {
    if (b.valid <= kBlock / 2) {
      walk<taps, stride, 2>(b, packed);
    } else {
      walk<taps, stride, 4>(b, packed);
    }
  });
}

#define LIGHTKERN_DWCONV(tile, taps, stride)                     \
  {"dwconv_s8_" #taps "x" #taps "s" #stride "_" tile "_neondot", \
   kBlock,                                                       \
   sets_of(stride),                                              \
   refuses<taps, stride>,                                        \
   scratch_bytes<taps, stride>,                                  \
   packed_bytes<stride>,                                         \
   pack<stride>,                                                 \
   run<taps, stride>}
constexpr Kernel kKernels[] = {
    LIGHTKERN_DWCONV("2x2", 3, 1),
    LIGHTKERN_DWCONV("1x2", 3, 2),
    LIGHTKERN_DWCONV("2x2", 5, 1),
    LIGHTKERN_DWCONV("1x2", 5, 2),
};

}  // namespace

extern const Table neondot;
constexpr Table neondot = make_table(kKernels);

}  // namespace lightkern::dwconv
