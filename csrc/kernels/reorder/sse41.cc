// reorder on SSE4.1: rectangles of rows by 16 bytes, transposes by 8x8 blocks, three planes by
// pshufb.
#include "kernels/reorder/grid.h"
#include "kernels/simd/x86.h"

namespace lightkern::reorder {
namespace {

using Bytes = __m128i;
inline Bytes add(Bytes v, uint8_t offset) {
  return _mm_add_epi8(v, _mm_set1_epi8(static_cast<char>(offset)));
}
inline void store_high_half(uint8_t* y, Bytes v) { store_half(y, _mm_srli_si128(v, 8)); }

#include "kernels/reorder/rectangles.inc"

// Pixels of fewer than 8 bytes to planes. The last pixels, which a wide load would leave, one by
// one.
void split_narrow(const Rectangle& r) {
  const size_t wide = rows_readable_wide(r.rows, r.cols, r.grid.x_row);
  size_t row = 0;
  for (; row + 8 <= wide; row += 8) {
    const Columns8 block = transpose8(r.from(row, 0), r.grid.x_row);
    for (size_t col = 0; col < r.cols; ++col) {
      const Bytes pair = add(block.pair[col / 2], r.offset);
      store_half(r.to(row, col), col % 2 ? _mm_srli_si128(pair, 8) : pair);
    }
  }
  for (; row < r.rows; ++row) {
    for (size_t col = 0; col < r.cols; ++col) r.one(row, col);
  }
}

// Planes to pixels of 2 to 7 bytes, 8 pixels at a time; the last 8 overlap those before.
void merge_narrow(const Rectangle& r) {
  for (size_t i = 0; i < r.rows; i += 8) {
    const size_t row = i + 8 <= r.rows ? i : r.rows - 8;
    const Columns8 block = transpose8_rows([&](int k) {  // planes that are missing: the last again
      const size_t col = static_cast<size_t>(k);
      return load_half(r.from(row, col < r.cols ? col : r.cols - 1));
    });
    for (size_t k = 0; k < 8; ++k) {
      const Bytes pair = add(block.pair[k / 2], r.offset);
      store_narrow(r.to(row + k, 0), k % 2 ? _mm_srli_si128(pair, 8) : pair, r.cols);
    }
  }
}

bool copy_narrow(const Rectangle& r) {
  if (r.rows < 8 || r.cols < 2 || r.cols >= 8) return false;
  const Grid& g = r.grid;
  if (g.x_col == 1 && g.y_row == 1 && g.x_row > 0) {
    split_narrow(r);
  } else if (g.x_row == 1 && g.y_col == 1) {
    merge_narrow(r);
  } else {
    return false;
  }
  return true;
}

constexpr Kernel kKernels[] = {{"reorder_s8_8x8_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::reorder
