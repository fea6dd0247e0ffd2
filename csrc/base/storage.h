// Memory for what stays: the packed weights of a plan side by side, the arena of a session.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "base/buffer.h"

namespace lightkern {

// Blocks of memory that live as long as the storage does, aligned to 64. With Guard::kOn each is a
// guarded Buffer of its own. Otherwise they lie one behind the other, on huge pages as far as they
// fill such pages: all of them pass through the cache in every run, and with pages of 4 KiB the
// processor waits for its page tables on the way (half a percent to one of a network's time).
class Storage {
 public:
  explicit Storage(Guard guard) : guard_(guard) {}
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage();

  // `size` bytes: zeros, or a pattern if guarded. Several threads may call it at once. Throws
  // std::bad_alloc.
  std::byte* take(size_t size);

  // Before the first take(): at least `bytes` will be taken. They get huge pages at once, which
  // saves the time to fill small ones and to move them: a third of a plan's time.
  void expect(size_t bytes) noexcept { expected_ = bytes; }

  // To be called once, behind the last take(). Moves what was not expected to huge pages, and gives
  // back what was reserved in vain. Where the system has no huge pages to give nothing else
  // changes.
  void settle() noexcept;

 private:
  struct Chunk {
    std::byte* base;  // at a multiple of a huge page
    size_t size, used;
    size_t huge;  // bytes at the start for which huge pages were asked
  };

  Guard guard_;
  size_t expected_ = 0;
  std::mutex mutex_;
  std::vector<Chunk> chunks_;
  std::vector<Buffer> guarded_;
};

}  // namespace lightkern
