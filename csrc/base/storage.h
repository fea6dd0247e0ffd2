// Memory for what stays: the packed weights of a plan side by side, the arena of a session.
#pragma once

#include <cstddef>
#include <vector>

#include "base/buffer.h"

namespace lightkern {

// Blocks of memory that live as long as the storage does, aligned to 64. With Guard::kOn each is a
// guarded Buffer of its own. Otherwise they lie one behind the other, and settle() moves them to
// huge pages as far as they fill such pages: all of them pass through the cache in every run, and
// with pages of 4 KiB the processor waits for its page tables on the way (half a percent to one
// of a network's time).
class Storage {
 public:
  explicit Storage(Guard guard) : guard_(guard) {}
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage();

  // `size` bytes: zeros, or a pattern if guarded. Throws std::bad_alloc.
  std::byte* take(size_t size);

  // To be called once, behind the last take(). Gives back what was reserved in vain. Where the
  // system has no huge pages to give nothing else changes.
  void settle() noexcept;

 private:
  struct Chunk {
    std::byte* base;  // at a multiple of a huge page
    size_t size, used;
  };

  Guard guard_;
  std::vector<Chunk> chunks_;
  std::vector<Buffer> guarded_;
};

}  // namespace lightkern
