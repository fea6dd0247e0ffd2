// Python's buffers as the runtime sees them: NumPy arrays, memoryviews, and whatever else has the
// buffer protocol. NumPy itself is neither needed nor imported.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

#include "runtime/model.h"

namespace lightkern {

// A buffer that is held, so that nobody can resize or free it, until this is destroyed (with the
// GIL). Int8, int32 or float32, C-contiguous, aligned; anything else is a TypeError or a ValueError
// that begins with `where`.
class HeldBuffer {
 public:
  HeldBuffer(const std::string& where, const pybind11::buffer& buffer);
  const ArrayView& view() const { return view_; }
  bool writable() const { return !info_.readonly; }

 private:
  pybind11::buffer_info info_;
  ArrayView view_;
};

// (least, greatest) value of an int8, int32 or float32 buffer of any strides; NaN, NaN if it holds
// a NaN. ValueError if it is empty.
pybind11::tuple extremes(const pybind11::buffer& buffer);

// Whether two buffers share a byte; of strided ones, whether their address ranges do.
bool overlap(const pybind11::buffer& a, const pybind11::buffer& b);

}  // namespace lightkern
