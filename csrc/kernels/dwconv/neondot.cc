// Dot products down the columns: four rows of the image, interleaved per channel, against four taps
// of a column; at stride 1 the same quads serve two output rows.
//
// Exact for any weights: sdot sums in 32 bits. 3x3 takes 12 sdot per 16 outputs, of which three
// quarters of the products count; interleaving takes 8 zips per 16 channels of a column, and
// requantization 23 instructions per 16 outputs is most of the rest.
#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/neon.inc"

namespace lightkern::dwconv {
namespace {

// Weight sets at a stride: with two, a step makes two output rows.
constexpr int sets_of(int stride) { return stride == 1 ? 2 : 1; }

// A step of one block: quads of rows, and what to make of them.
struct Step {
  const int8_t* quads;      // [quads][4][width][4 channels][4 rows]
  ptrdiff_t plane;          // bytes of one [width][16]
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

// n pixels of four rows to `to` [vectors][..][16], planes apart.
template <int vectors, class Load>
inline void fill_quads(Line (&line)[4], int n, int8_t* to, ptrdiff_t plane, Load load) {
  for (int i = 0; i < n; ++i, to += 16) {
    int8x16_t v[4];
    for (int r = 0; r < 4; ++r, line[r - 1].pixel += line[r - 1].stride) v[r] = load(line[r].pixel);
    const int8x16x4_t quads = interleave(v[0], v[1], v[2], v[3]);
    for (int k = 0; k < vectors; ++k) vst1q_s8(to + k * plane, quads.val[k]);
  }
}

// Four rows from iy on, all columns of the image.
inline void fill_quad(const Block& b, int iy, const Act* padding, int8_t* to, ptrdiff_t plane) {
  const Geometry& g = b.args->geometry;
  const int n = smaller(g.w, padded_width(g) - g.left);
  Line line[4];
  for (int r = 0; r < 4; ++r) {
    const bool exists = iy + r >= 0 && iy + r < g.h;
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(iy + r) * g.w * g.x_pixel_stride + b.first;
    line[r] = exists ? Line{b.args->x + pixel, g.x_pixel_stride} : Line{padding, 0};
  }
  to += g.left * 16;
  if (b.valid == kBlock) {
    fill_quads<4>(line, n, to, plane, [](const Act* p) { return vld1q_s8(p); });
  } else if (b.valid == kBlock / 2) {
    fill_quads<2>(line, n, to, plane, [](const Act* p) { return load8(p); });
  } else {
    fill_quads<4>(line, n, to, plane, [&](const Act* p) {
      int8_t bytes[kBlock] = {};
      std::memcpy(bytes, p, static_cast<size_t>(b.valid));
      return vld1q_s8(bytes);
    });
  }
}

// --- the tiles -----------------------------------------------------------------------------------

template <int vectors>
inline void store(const int32x4_t (&acc)[vectors], const Step& s, Act* y) {
  int32x4_t t[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) t[v] = scale_round4(acc[v], vld1q_f32(s.multiplier + 4 * v));
  if constexpr (vectors == 4) {
    const int8x16_t bytes = pack_bytes16(t[0], t[1], t[2], t[3], s.clamp);
    if (s.valid == 16) return vst1q_s8(y, bytes);
    store_first(y, bytes, s.valid);
  } else {
    const int8x8_t bytes = pack_bytes8(t[0], t[1], s.clamp);
    if (s.valid == 8) return vst1_s8(y, bytes);
    store_first(y, vcombine_s8(bytes, bytes), s.valid);
  }
}

// n pixels of one or two output rows, 4 * vectors channels.
template <int taps, int stride, int rows, int n, int vectors>
[[gnu::always_inline]] inline void tile(const Step& s, int x) {
  constexpr int kSets = sets_of(stride), kQuads = row_quads(taps, kSets);
  constexpr int kUsed = row_quads(taps, rows);  // of these
  int32x4_t acc[rows][n][vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const int32x4_t bias = vld1q_s32(s.bias + 4 * v);
#pragma GCC unroll 2
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) acc[r][i][v] = bias;
    }
#pragma GCC unroll 2
    for (int q = 0; q < kUsed; ++q) {
      const int8_t* pixels = s.quads + (4 * q + v) * s.plane + x * stride * 16;
      const int8_t* w = s.weights + (v * kQuads + q) * taps * kSets * 16;
#pragma GCC unroll 8
      for (int j = 0; j < taps; ++j) {
#pragma GCC unroll 2
        for (int r = 0; r < rows; ++r) {
          const int8x16_t weights = vld1q_s8(w + (j * kSets + r) * 16);
#pragma GCC unroll 4
          for (int i = 0; i < n; ++i) {
            const int8x16_t pixel = vld1q_s8(pixels + (i * stride + j) * 16);
            acc[r][i][v] = vdotq_s32(acc[r][i][v], pixel, weights);
          }
        }
      }
    }
    // Else GCC loads more, and earlier, than there are registers for.
    __asm__ volatile("" : "+w"(acc[rows - 1][n - 1][v])::"memory");
  }
#pragma GCC unroll 2
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) store(acc[r][i], s, s.y + (x + i) * s.y_stride + r * s.y_row);
  }
}

template <int taps, int stride, int rows, int vectors>
void run_rows(const Step& s, int columns) {
  constexpr int kColumns = 2;
  int x = 0;
  for (; x + kColumns <= columns; x += kColumns) tile<taps, stride, rows, kColumns, vectors>(s, x);
  for (; x < columns; ++x) tile<taps, stride, rows, 1, vectors>(s, x);
}

// --- the walk ------------------------------------------------------------------------------------

template <int taps, int stride, int vectors>
void walk(const Block& b, const std::byte* packed) {
  constexpr int kSets = sets_of(stride), kQuads = row_quads(taps, kSets);
  const Args& a = *b.args;
  const Geometry& g = a.geometry;
  Act padding[kBlock];
  std::memset(padding, a.x_zero, sizeof(padding));
  const ptrdiff_t plane = static_cast<ptrdiff_t>(padded_width(g)) * 16;
  int8_t* const quads = reinterpret_cast<int8_t*>(a.scratch);
  for (int i = 0; i < 4 * kQuads; ++i) fill_margins(b, quads + i * plane);

  Step s{};
  s.quads = quads;
  s.plane = plane;
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
      fill_quad(b, y * stride - g.top + 4 * q, padding, quads + 4 * q * plane, plane);
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
