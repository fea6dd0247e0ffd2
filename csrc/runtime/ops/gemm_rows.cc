#include "runtime/ops/gemm_rows.h"

#include <algorithm>
#include <cstring>

namespace lightkern {
namespace {

// Groups are copied together up to this many channels: a pixel of them is then one or two moves.
constexpr size_t kCopiedChannels = 32;

// The longest line of a window that is copied out, and how much too much that reads and writes.
constexpr size_t kMostGathered = 32;

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

size_t depth_of_step(const RowSource& rows) { return static_cast<size_t>(rows.kernel->tile.kr); }

bool in_scratch(const RowSource& rows) {
  return rows.access != RowAccess::kInPlace && rows.access != RowAccess::kCopied;
}

// Columns of the image that a line of so many windows sees.
ptrdiff_t columns_of(const ConvWindow& w, size_t pixels) {
  return static_cast<ptrdiff_t>(pixels - 1) * w.sw + static_cast<ptrdiff_t>(w.kw - 1) * w.dw + 1;
}

// Copies `count` pixels of `channels` bytes from one stride to another.
void copy_pixels(const Act* from, ptrdiff_t stride, size_t channels, size_t count, Act* to,
                 ptrdiff_t to_stride) {
  if (stride == to_stride && static_cast<ptrdiff_t>(channels) == stride) {
    std::memcpy(to, from, count * channels);
    return;
  }
  const auto copy = [&](auto pixel) {
    for (size_t i = 0; i < count; ++i, from += stride, to += to_stride) pixel();
  };
  // A length that the compiler knows becomes two moves instead of a call.
  if (channels == kCopiedChannels) {
    copy([&] { std::memcpy(to, from, kCopiedChannels); });
  } else {
    copy([&] { std::memcpy(to, from, channels); });
  }
}

// The lines and columns that the windows of a block see, with zero points where they see padding.
void copy_lines(const RowSource& rows, const RowBlock& b, const Act* x, Act* scratch) {
  const ConvWindow& w = rows.window;
  const ptrdiff_t lines = static_cast<ptrdiff_t>(b.y1 - b.y0 - 1) * w.sh + w.kh;
  const ptrdiff_t columns = columns_of(w, b.x1 - b.x0);
  const ptrdiff_t column0 = static_cast<ptrdiff_t>(b.x0) * w.sw - w.left;
  const ptrdiff_t begin = std::clamp<ptrdiff_t>(-column0, 0, columns);
  const ptrdiff_t end = std::clamp<ptrdiff_t>(w.w - column0, begin, columns);
  const size_t channels = (b.g1 - b.g0) * static_cast<size_t>(w.icg);
  const auto zero_points = [&](Act* to, ptrdiff_t pixels) {
    std::memset(to, rows.x_zero, static_cast<size_t>(pixels * rows.pixel));
  };
  for (ptrdiff_t i = 0; i < lines; ++i) {
    const ptrdiff_t line = static_cast<ptrdiff_t>(b.y0) * w.sh - w.top + i * w.dh;
    Act* to = scratch + i * rows.pitch;
    if (line < 0 || line >= w.h || begin == end) {
      zero_points(to, columns);
      continue;
    }
    zero_points(to, begin);
    copy_pixels(x + (line * w.w + column0 + begin) * w.x_pixel_stride, w.x_pixel_stride, channels,
                static_cast<size_t>(end - begin), to + begin * rows.pixel, rows.pixel);
    zero_points(to + end * rows.pixel, columns - end);
  }
}

// Copies `bytes` of each line of a window: constant sizes take few instructions, and each copy
// mends the end of the one before it. height: of the window, if it is known.
template <size_t bytes, int height = 0>
void copy_windows(const RowSource& rows, const RowBlock& b, const Act* lines, Act* to) {
  const ConvWindow& w = rows.window;
  const ptrdiff_t length = static_cast<ptrdiff_t>(w.kw) * w.icg, step = w.sw * rows.pixel;
  const ptrdiff_t pitch = rows.pitch, row = rows.row;
  const int kh = height ? height : w.kh;
  for (size_t y = b.y0; y < b.y1; ++y, lines += w.sh * pitch) {
    const Act* window = lines;
    for (size_t x = b.x0; x < b.x1; ++x, window += step, to += row) {
      for (int r = 0; r < kh; ++r) std::memcpy(to + r * length, window + r * pitch, bytes);
    }
  }
}

// The windows of a block, from lines of it, one behind the other.
void gather_windows(const RowSource& rows, const RowBlock& b, const Act* lines, Act* to) {
  const ConvWindow& w = rows.window;
  if (w.kw * w.icg > 16) return copy_windows<kMostGathered>(rows, b, lines, to);
  w.kh == 3 ? copy_windows<16, 3>(rows, b, lines, to) : copy_windows<16>(rows, b, lines, to);
}

// RowAccess::kRests: what is behind the whole steps of a window's lines.
struct Rests {
  int whole, each;  // inputs of a line of the window: in whole steps, and behind them
  int count;        // of all lines
  int in_line;      // of a pixel in one line of rests
  int lines;        // of rests, per line of output
  int inputs(int line) const { return std::min(in_line, count - line * in_line); }
};

Rests rests_of(const RowSource& rows) {
  const ConvWindow& w = rows.window;
  const int kr = rows.kernel->tile.kr, length = w.kw * w.icg;
  Rests r{};
  r.whole = length / kr * kr, r.each = length - r.whole, r.count = r.each * w.kh;
  r.in_line = std::min({kr, w.sw * w.icg, gemm::kMostMerged});
  r.lines = (r.count + r.in_line - 1) / r.in_line;
  return r;
}

// The rests of a block's windows, from lines of it. What is written too much at the end of a line
// of rests, the next one mends.
void gather_rests(const RowSource& rows, const RowBlock& b, const Act* lines, Act* to) {
  const ConvWindow& w = rows.window;
  const Rests rests = rests_of(rows);
  gemm::Merge merge{};
  merge.pixel = static_cast<size_t>(w.sw * rows.pixel), merge.pixels = b.x1 - b.x0;
  merge.pitch = w.sh * rows.pitch, merge.lines = b.y1 - b.y0;
  for (int line = 0; line < rests.lines; ++line, to += rows.rest_pitch) {
    merge.inputs = rests.inputs(line);
    for (int i = 0; i < merge.inputs; ++i) {
      const int rest = line * rests.in_line + i;
      merge.from[i] = lines + rest / rests.each * rows.pitch + rests.whole + rest % rests.each;
    }
    merge.to = to;
    rows.kernel->merge(merge);
  }
}

std::vector<gemm::Segment> segments_of(const ConvWindow& w, ptrdiff_t pixel, ptrdiff_t line_step) {
  std::vector<gemm::Segment> segments;
  const bool adjoin = w.kw == 1 || (w.dw == 1 && pixel == w.icg);
  const int parts = adjoin ? 1 : w.kw, length = adjoin ? w.kw * w.icg : w.icg;
  for (int r = 0; r < w.kh; ++r) {
    for (int part = 0; part < parts; ++part) {
      const ptrdiff_t offset = r * line_step + static_cast<ptrdiff_t>(part) * w.dw * pixel;
      segments.push_back({static_cast<int32_t>(offset), length});
    }
  }
  return segments;
}

// Whether windows copied out take fewer steps than lines do.
bool worth_gathering(const ConvWindow& w, size_t kr) {
  const size_t length = static_cast<size_t>(w.kw) * static_cast<size_t>(w.icg);
  const auto steps = [&](size_t inputs) { return (inputs + kr - 1) / kr; };
  return w.groups == 1 && w.dw == 1 && length <= kMostGathered &&
         steps(w.depth()) < static_cast<size_t>(w.kh) * steps(length);
}

// Whether lines and their rests, which take less copying, take no more steps than windows do.
bool rests_take_as_few(const RowSource& rows) {
  const ConvWindow& w = rows.window;
  const size_t kr = depth_of_step(rows);
  const Rests rests = rests_of(rows);
  return rows.kernel->merge && rests.whole > 0 &&
         static_cast<size_t>(w.sw * w.icg) <= gemm::kMostMergedPixel &&
         static_cast<size_t>(w.kh * rests.whole) / kr + static_cast<size_t>(rests.lines) <=
             (w.depth() + kr - 1) / kr;
}

// Whether so many panels read the rows that the kernel's copy of them pays.
bool worth_copying(const gemm::Kernel& kernel, const ConvWindow& w, size_t panels) {
  return kernel.row_copy.run && is_one_line(w) && w.ow >= kernel.tile.mr &&
         panels >= static_cast<size_t>(kernel.row_copy.panels);
}

RowAccess choose_access(const RowSource& rows, size_t panels) {
  const ConvWindow& w = rows.window;
  const size_t kr = depth_of_step(rows);
  if (rows.kernel->row_copy.needed) return RowAccess::kCopied;
  if (worth_gathering(w, kr))
    return rests_take_as_few(rows) ? RowAccess::kRests : RowAccess::kWindows;
  // In place each segment must fill a step: none may read beyond the tensor.
  const int32_t length = segments_of(w, rows.pixel, 0)[0].length;
  if (sees_padding(w) || length < rows.kernel->tile.kr) return RowAccess::kLines;
  return worth_copying(*rows.kernel, w, panels) ? RowAccess::kCopied : RowAccess::kInPlace;
}

}  // namespace

bool sees_padding(const ConvWindow& w) {
  return w.top > 0 || w.left > 0 ||
         static_cast<int64_t>(w.oh - 1) * w.sh + static_cast<int64_t>(w.kh - 1) * w.dh >= w.h ||
         static_cast<int64_t>(w.ow - 1) * w.sw + static_cast<int64_t>(w.kw - 1) * w.dw >= w.w;
}

bool is_one_line(const ConvWindow& w) {
  return w.groups == 1 && w.kh == 1 && w.kw == 1 && w.oh == 1 && w.sw == 1 && !sees_padding(w);
}

RowSource choose_rows(const gemm::Kernel& kernel, const ConvWindow& window, Act x_zero,
                      size_t panels) {
  RowSource rows{};
  rows.kernel = &kernel;
  rows.window = window;
  rows.x_zero = x_zero;
  rows.pixel = window.x_pixel_stride;
  rows.pitch = window.w * window.x_pixel_stride;
  rows.access = choose_access(rows, panels);
  return rows;
}

Split split_groups(const RowSource& rows) {
  const ConvWindow& w = rows.window;
  return split_work(static_cast<size_t>(w.groups), w.icg,
                    in_scratch(rows) ? static_cast<double>(kCopiedChannels) : 1);
}

size_t reserve_rows(RowSource& rows, size_t groups, size_t lines, size_t pixels) {
  const ConvWindow& w = rows.window;
  const size_t kr = depth_of_step(rows), depth = round_up(w.depth(), kr);
  if (rows.access == RowAccess::kInPlace) return 0;
  if (rows.access == RowAccess::kCopied) {
    const gemm::RowCopy& copy = rows.kernel->row_copy;
    const size_t together = static_cast<size_t>(copy.rows);
    const size_t inputs = copy.depth ? round_up(w.depth(), static_cast<size_t>(copy.depth)) : depth;
    rows.row = static_cast<ptrdiff_t>(together * static_cast<size_t>(copy.width) * inputs);
    return (pixels + together - 1) / together * static_cast<size_t>(rows.row);
  }
  rows.pixel = static_cast<ptrdiff_t>(groups) * w.icg;
  rows.pitch = columns_of(w, pixels) * rows.pixel;
  const size_t seen = (lines - 1) * static_cast<size_t>(w.sh) + static_cast<size_t>(w.kh);
  const size_t line_bytes = seen * static_cast<size_t>(rows.pitch);
  if (rows.access == RowAccess::kLines) return line_bytes + kr - 1;
  if (rows.access == RowAccess::kRests) {
    rows.rests = static_cast<ptrdiff_t>(line_bytes);
    rows.rest_pitch = static_cast<ptrdiff_t>(lines) * w.sh * rows.pitch;
    const ptrdiff_t rest_bytes = rests_of(rows).lines * rows.rest_pitch;
    return line_bytes + static_cast<size_t>(rest_bytes) + gemm::kMergedBytes;
  }
  rows.row = static_cast<ptrdiff_t>(depth);
  rows.line_bytes = line_bytes + kMostGathered;
  return rows.line_bytes + lines * pixels * depth + kMostGathered;
}

std::vector<gemm::Segment> row_segments(const RowSource& rows) {
  const ConvWindow& w = rows.window;
  if (rows.access == RowAccess::kWindows) return {{0, static_cast<int32_t>(w.depth())}};
  if (rows.access == RowAccess::kRests) {
    const Rests rests = rests_of(rows);
    std::vector<gemm::Segment> segments;
    for (int r = 0; r < w.kh; ++r)
      segments.push_back({static_cast<int32_t>(r * rows.pitch), rests.whole});
    for (int i = 0; i < rests.lines; ++i)
      segments.push_back({static_cast<int32_t>(rows.rests + i * rows.rest_pitch), rests.inputs(i)});
    return segments;
  }
  const bool lines_adjoin = rows.access == RowAccess::kLines;  // dilation: others are not copied
  return segments_of(w, rows.pixel, rows.pitch * (lines_adjoin ? 1 : w.dh));
}

std::vector<int8_t> sort_weights(const RowSource& rows, const int8_t* weight, size_t n) {
  const size_t k = rows.window.depth();
  const Rests rests = rests_of(rows);
  const size_t length = static_cast<size_t>(rests.whole + rests.each);
  std::vector<int8_t> sorted;
  sorted.reserve(n * k);
  for (size_t c = 0; c < n; ++c, weight += k) {
    for (size_t at = 0; at < k; at += length)
      sorted.insert(sorted.end(), weight + at, weight + at + rests.whole);
    for (size_t at = 0; at < k; at += length)
      sorted.insert(sorted.end(), weight + at + rests.whole, weight + at + length);
  }
  return sorted;
}

Rows read_rows(const RowSource& rows, const RowBlock& b, const Act* x, Act* scratch, bool copied) {
  const ConvWindow& w = rows.window;
  const ptrdiff_t pixel = w.sw * rows.pixel, line = w.sh * rows.pitch;
  const ptrdiff_t y0 = static_cast<ptrdiff_t>(b.y0), x0 = static_cast<ptrdiff_t>(b.x0);
  switch (rows.access) {
    case RowAccess::kInPlace:
      return {x + y0 * line + x0 * pixel, pixel, line};
    case RowAccess::kCopied:
      if (!copied) {
        rows.kernel->row_copy.run(x + x0 * pixel, pixel, b.x1 - b.x0, w.depth(), scratch, rows.row);
      }
      return {scratch, rows.row, 0};
    case RowAccess::kLines:
      if (!copied) copy_lines(rows, b, x, scratch);
      return {scratch, pixel, line};
    case RowAccess::kRests:
      if (!copied) {
        copy_lines(rows, b, x, scratch);
        gather_rests(rows, b, scratch, scratch + rows.rests);
      }
      return {scratch, pixel, line};
    case RowAccess::kWindows:
      if (!copied) {
        copy_lines(rows, b, x, scratch);
        gather_windows(rows, b, scratch, scratch + rows.line_bytes);
      }
      return {scratch + rows.line_bytes, rows.row, static_cast<ptrdiff_t>(b.x1 - b.x0) * rows.row};
  }
  return {};
}

}  // namespace lightkern
