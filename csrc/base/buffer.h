// Owned memory, aligned, and on request guarded.
#pragma once

#include <cstddef>

namespace lightkern {

enum class Guard { kOff, kOn };

// A block of `size` bytes, aligned to 64. With Guard::kOn it ends at an inaccessible page, starts
// after another one, and is filled with a pattern, so that a test sees any access outside of it; it
// is then aligned to 64 only if size is a multiple of 64. Throws std::bad_alloc.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t size, Guard guard = Guard::kOff);
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  template <class T = std::byte>
  T* as() const noexcept {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const noexcept { return size_; }

 private:
  void swap(Buffer& other) noexcept;

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::byte* mapping_ = nullptr;  // guarded blocks only
  size_t mapped_ = 0;
};

}  // namespace lightkern
