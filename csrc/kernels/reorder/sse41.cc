// reorder on SSE4.1: rectangles of rows by 16 bytes, transposes by 8x8 blocks, three planes by
// pshufb.
#include "kernels/reorder/grid.h"
#include "kernels/simd/x86.h"

namespace lightkern::reorder {
namespace {

// rows x cols elements of a grid, strides as there.
struct Rectangle {
  const uint8_t* x;
  uint8_t* y;
  size_t rows, cols;
  Grid grid;
  uint8_t offset;

  const uint8_t* from(size_t row, size_t col) const {
    return x + static_cast<ptrdiff_t>(row) * grid.x_row + static_cast<ptrdiff_t>(col) * grid.x_col;
  }
  uint8_t* to(size_t row, size_t col) const {
    return y + static_cast<ptrdiff_t>(row) * grid.y_row + static_cast<ptrdiff_t>(col) * grid.y_col;
  }
  void one(size_t row, size_t col) const {
    *to(row, col) = static_cast<uint8_t>(*from(row, col) + offset);
  }
};

void copy_each(const Rectangle& r) {
  for (size_t row = 0; row < r.rows; ++row) {
    for (size_t col = 0; col < r.cols; ++col) r.one(row, col);
  }
}

void copy_rows(Rectangle r, __m128i offset) {
  const ptrdiff_t width = static_cast<ptrdiff_t>(r.cols);
  if (r.grid.x_row == width && r.grid.y_row == width) {  // no gaps: one long row
    r.cols *= r.rows;
    r.rows = 1;
  }
  for (size_t row = 0; row < r.rows; ++row) {
    const auto wide = [&](size_t col) {
      store16(r.to(row, col), _mm_add_epi8(load16(r.from(row, col)), offset));
    };
    size_t col = 0;
    for (; col + 16 <= r.cols; col += 16) wide(col);
    if (col < r.cols && r.cols >= 16) {
      wide(r.cols - 16);
      continue;
    }
    for (; col < r.cols; ++col) r.one(row, col);
  }
}

// Bytes that follow each other in a row of one side do so in a column of the other. The last blocks
// overlap those before.
void transpose(const Rectangle& r, __m128i offset) {
  const bool x_runs_down = r.grid.x_row == 1;
  const ptrdiff_t x_step = x_runs_down ? r.grid.x_col : r.grid.x_row;
  const ptrdiff_t y_step = x_runs_down ? r.grid.y_row : r.grid.y_col;
  for (size_t i = 0; i < r.rows; i += 8) {
    const size_t row = i + 8 <= r.rows ? i : r.rows - 8;
    for (size_t j = 0; j < r.cols; j += 8) {
      const size_t col = j + 8 <= r.cols ? j : r.cols - 8;
      const Columns8 block = transpose8(r.from(row, col), x_step);
      uint8_t* y = r.to(row, col);
      for (int k = 0; k < 4; ++k, y += 2 * y_step) {
        const __m128i pair = _mm_add_epi8(block.pair[k], offset);
        store_half(y, pair);
        store_half(y + y_step, _mm_srli_si128(pair, 8));
      }
    }
  }
}

// Planes to pixels of three bytes.
void merge_planes(const Rectangle& r, __m128i offset) {
  for (size_t i = 0; i < r.rows; i += 16) {
    const size_t row = i + 16 <= r.rows ? i : r.rows - 16;
    const auto plane = [&](size_t col) { return _mm_add_epi8(load16(r.from(row, col)), offset); };
    interleave3(plane(0), plane(1), plane(2), r.to(row, 0));
  }
}

void copy_rectangle(const Rectangle& r) {
  if (r.rows == 0 || r.cols == 0) return;
  const __m128i offset = _mm_set1_epi8(static_cast<char>(r.offset));
  const Grid& g = r.grid;
  const bool x_down = g.x_row == 1, y_down = g.y_row == 1, x_along = g.x_col == 1,
             y_along = g.y_col == 1;
  if (x_along && y_along) {
    copy_rows(r, offset);
  } else if (r.cols == 3 && x_down && y_along && g.y_row == 3 && r.rows >= 16) {
    merge_planes(r, offset);
  } else if (r.rows >= 8 && r.cols >= 8 && ((x_down && y_along) || (x_along && y_down))) {
    transpose(r, offset);
  } else {
    copy_each(r);
  }
}

// Elements one by one, where the orders share no grid.
void copy_elements(const Args& args) {
  const auto at = [](const Order& o, size_t i) {
    return static_cast<ptrdiff_t>(i / o.inner) * o.outer_stride +
           static_cast<ptrdiff_t>(i % o.inner) * o.inner_stride;
  };
  for (size_t i = args.begin; i < args.end; ++i) {
    args.y[at(args.y_order, i)] = static_cast<uint8_t>(args.x[at(args.x_order, i)] + args.offset);
  }
}

void run(const Args& args) {
  const Grid grid = make_grid(args);
  if (grid.cols == 0) return copy_elements(args);
  const Rectangle all = {args.x, args.y, 0, 0, grid, args.offset};
  // Part of a row, whole rows, part of a row.
  size_t i = args.begin;
  while (i < args.end) {
    const size_t row = i / grid.cols, col = i % grid.cols, left = args.end - i;
    const bool whole = col == 0 && left >= grid.cols;
    const size_t rest = grid.cols - col;
    const size_t rows = whole ? left / grid.cols : 1, cols = whole         ? grid.cols
                                                             : left < rest ? left
                                                                           : rest;
    copy_rectangle({all.from(row, col), all.to(row, col), rows, cols, grid, args.offset});
    i += rows * cols;
  }
}

constexpr Kernel kKernels[] = {{"reorder_s8_8x8_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::reorder
