// How the rows of a gemm come to its kernel. A row is a window of the image.
//
// A window is read where it lies: the packer gives each step of the depth the byte offset of its
// inputs. Where windows reach into the padding, the few lines of the image that a block of output
// needs are first copied into scratch with the padding around them; that reads every input about
// kh / sh times, instead of the kh * kw / (sh * sw) times of a copy per window. Of a group
// convolution the channels of several groups are copied at once. Only where a line of the window
// is short and fills its steps badly, as with the three channels of a picture (9 steps instead of
// 7), more is copied. If the kernel can merge them, these are the inputs behind the whole steps of
// lines: those of a pixel from several lines come side by side, as far from those of the next pixel
// as windows are from each other, so that they are read like inputs of the window. Else windows
// are copied out, one behind the other.
#pragma once

#include "kernels/gemm/pack.h"
#include "runtime/ops/conv.h"

namespace lightkern {

enum class RowAccess {
  kInPlace,
  kLines,    // from lines of the image in scratch
  kRests,    // from such lines, and from lines of what is behind their whole steps
  kWindows,  // from windows in scratch, copied out of such lines
  kCopied,   // of one line: from scratch, as gemm::Kernel::row_copy leaves them there
};

// The rows of one layer.
struct RowSource {
  const gemm::Kernel* kernel;
  ConvWindow window;
  Act x_zero;
  RowAccess access;
  ptrdiff_t pixel, pitch;  // bytes between pixels and between lines, of the image or of the copy
  ptrdiff_t row;           // bytes between windows, or units of a RowCopy, in scratch
  size_t line_bytes;       // of scratch, in front of windows
  ptrdiff_t rests, rest_pitch;  // bytes from a window to its rests, from one line of them to others
};

// Groups, output lines and pixels whose rows are wanted together.
struct RowBlock {
  size_t g0, g1, y0, y1, x0, x1;

  bool operator==(const RowBlock& o) const {
    return g0 == o.g0 && g1 == o.g1 && y0 == o.y0 && y1 == o.y1 && x0 == o.x0 && x1 == o.x1;
  }
};

// Rows of a block, of its first group: the first one, and how far others are from it.
struct Rows {
  const Act* first;
  ptrdiff_t pixel,
      line;  // bytes from one output pixel (kCopied: RowCopy unit) and line to the next
};

bool sees_padding(const ConvWindow& w);

// Whether the windows are single pixels of one line, which a RowCopy takes.
bool is_one_line(const ConvWindow& w);

// Chooses the access. `panels` of each group read the same rows.
RowSource choose_rows(const gemm::Kernel& kernel, const ConvWindow& window, Act x_zero,
                      size_t panels);

// Groups that are copied together.
Split split_groups(const RowSource& rows);

// Settles the strides for blocks of at most so many groups, lines and pixels, and returns the
// scratch that read_rows needs.
size_t reserve_rows(RowSource& rows, size_t groups, size_t lines, size_t pixels);

// Runs of inputs that adjoin in memory.
std::vector<gemm::Segment> row_segments(const RowSource& rows);

// RowAccess::kRests: the weights of n channels in the order of the segments.
std::vector<int8_t> sort_weights(const RowSource& rows, const int8_t* weight, size_t n);

// `x`: the image at the block's first group. With `copied`, scratch holds the rows of this block
// already.
Rows read_rows(const RowSource& rows, const RowBlock& block, const Act* x, Act* scratch,
               bool copied);

}  // namespace lightkern
