#include "base/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace lightkern {
namespace {

constexpr size_t kAlignment = 64;
constexpr int kPattern = 0xA5;

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Buffer::Buffer(size_t size, Guard guard) : size_(size) {
  if (size > std::numeric_limits<size_t>::max() / 4) throw std::bad_alloc();
  if (guard == Guard::kOff) {
    data_ = static_cast<std::byte*>(
        std::aligned_alloc(kAlignment, round_up(size ? size : 1, kAlignment)));
    if (!data_) throw std::bad_alloc();
    return;
  }
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t body = round_up(size ? size : 1, page);
  mapped_ = body + 2 * page;
  void* mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  if (mprotect(mapping_ + page, body, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping_, mapped_);
    throw std::bad_alloc();
  }
  std::memset(mapping_ + page, kPattern, body);
  data_ = mapping_ + page + body - size;
}

Buffer::~Buffer() {
  if (mapping_) {
    munmap(mapping_, mapped_);
  } else {
    std::free(data_);
  }
}

void Buffer::swap(Buffer& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
}

}  // namespace lightkern
