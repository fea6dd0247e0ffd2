#include "bindings/buffers.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace py = pybind11;

namespace lightkern {
namespace {

// The code of `ArrayView`, '?' for types that no tensor has. Struct syntax: "<", "=" and "@" are
// prefixes of native order here, and "l" is a 32-bit integer on some systems.
char type_of(const py::buffer_info& info) {
  const std::string& format = info.format;
  const size_t prefix = !format.empty() && std::string("<=@").find(format[0]) != std::string::npos;
  if (format.size() != prefix + 1) return '?';
  const char code = format[prefix];
  if (code == 'b' && info.itemsize == 1) return 'b';
  if ((code == 'i' || code == 'l') && info.itemsize == 4) return 'i';
  if (code == 'f' && info.itemsize == 4) return 'f';
  return '?';
}

char known_type_of(const std::string& where, const py::buffer_info& info) {
  const char type = type_of(info);
  if (type == '?') {
    throw py::type_error(where + ": format '" + info.format + "' is not int8, int32 or float32");
  }
  return type;
}

template <class T>
py::tuple extremes_of(const void* data, size_t count) {
  const T* x = static_cast<const T*>(data);
  T least = x[0], most = x[0];
  bool nan = false;
  for (size_t i = 0; i < count; ++i) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
    nan |= x[i] != x[i];
  }
  if (nan) {
    const double value = std::numeric_limits<double>::quiet_NaN();
    return py::make_tuple(value, value);
  }
  return py::make_tuple(least, most);
}

// Element by element in one row, whatever the strides and the alignment were.
std::unique_ptr<int32_t[]> gather(const py::buffer_info& info) {
  const auto bytes = static_cast<size_t>(info.view()->len);
  auto copy = std::make_unique<int32_t[]>(bytes / sizeof(int32_t) + 1);
  if (PyBuffer_ToContiguous(copy.get(), info.view(), info.view()->len, 'C') != 0) {
    throw py::error_already_set();
  }
  return copy;
}

bool is_aligned(const py::buffer_info& info) {
  return reinterpret_cast<uintptr_t>(info.ptr) % static_cast<uintptr_t>(info.itemsize) == 0;
}

struct Range {
  const char* begin;
  const char* end;
};

// Of a buffer that has elements.
Range bytes_of(const py::buffer_info& info) {
  const char* low = static_cast<const char*>(info.ptr);
  const char* high = low + info.itemsize;
  for (size_t i = 0; i < info.shape.size(); ++i) {
    const py::ssize_t reach = (info.shape[i] - 1) * info.strides[i];
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

}  // namespace

HeldBuffer::HeldBuffer(const std::string& where, const py::buffer& buffer)
    : info_(buffer.request()) {
  view_.type = known_type_of(where, info_);
  if (!PyBuffer_IsContiguous(info_.view(), 'C'))
    throw py::value_error(where + ": not C-contiguous");
  if (!is_aligned(info_)) {
    throw py::value_error(where + ": its address is no multiple of its elements' " +
                          std::to_string(info_.itemsize) + " bytes");
  }
  view_.data = info_.ptr;
  view_.shape.assign(info_.shape.begin(), info_.shape.end());
}

py::tuple extremes(const py::buffer& buffer) {
  const py::buffer_info info = buffer.request();
  const char type = known_type_of("extremes", info);
  if (info.size == 0) throw py::value_error("extremes: the buffer is empty");
  const void* data = info.ptr;
  std::unique_ptr<int32_t[]> copy;
  if (!PyBuffer_IsContiguous(info.view(), 'A') || !is_aligned(info)) {
    copy = gather(info);
    data = copy.get();
  }
  const auto count = static_cast<size_t>(info.size);
  if (type == 'b') return extremes_of<int8_t>(data, count);
  if (type == 'i') return extremes_of<int32_t>(data, count);
  return extremes_of<float>(data, count);
}

bool overlap(const py::buffer& a, const py::buffer& b) {
  const py::buffer_info first = a.request(), second = b.request();
  if (first.size == 0 || second.size == 0) return false;
  const Range one = bytes_of(first), two = bytes_of(second);
  const std::less<const char*> before;
  return before(one.begin, two.end) && before(two.begin, one.end);
}

}  // namespace lightkern
