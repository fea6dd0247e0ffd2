#include "base/storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>

namespace lightkern {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;  // of x86-64, and of arm64 with pages of 4 KiB
constexpr size_t kChunk = size_t{16} << 20;    // address space only, until it is written to

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// Address space of `size` bytes, a multiple of a huge page, from a multiple of it on.
std::byte* reserve(size_t size) {
  const size_t most = size + kHugePage;
  void* mapping = mmap(nullptr, most, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  const uintptr_t start = reinterpret_cast<uintptr_t>(mapping);
  const size_t before = round_up(start, kHugePage) - start;
  std::byte* base = static_cast<std::byte*>(mapping) + before;
  if (before > 0) munmap(mapping, before);
  if (before < kHugePage) munmap(base + size, kHugePage - before);
  return base;
}

// The part of `size` bytes for which huge pages are worth what they take: the last one if at least
// three quarters of it are used.
size_t worth_huge_pages(size_t size) { return (size + kHugePage / 4) / kHugePage * kHugePage; }

// Memory that is touched after this gets huge pages, if the system agrees.
bool ask_for_huge_pages(std::byte* base, size_t size) {
#ifdef MADV_HUGEPAGE
  return size > 0 && madvise(base, size, MADV_HUGEPAGE) == 0;
#else
  static_cast<void>(base), static_cast<void>(size);
  return false;
#endif
}

// The same for memory that was touched already.
void move_to_huge_pages(std::byte* base, size_t size) {
#ifndef MADV_COLLAPSE
  constexpr int MADV_COLLAPSE = 25;  // Linux 6.1; older headers do not know it
#endif
  if (ask_for_huge_pages(base, size)) madvise(base, size, MADV_COLLAPSE);
}

}  // namespace

Storage::~Storage() {
  for (const Chunk& chunk : chunks_) munmap(chunk.base, chunk.size);
}

std::byte* Storage::take(size_t size) {
  if (size > std::numeric_limits<size_t>::max() / 4) throw std::bad_alloc();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (guard_ == Guard::kOn) {
    guarded_.emplace_back(size, Guard::kOn);
    return guarded_.back().as<std::byte>();
  }
  const size_t bytes = round_up(size, kAlignment);
  if (chunks_.empty() || chunks_.back().size - chunks_.back().used < bytes) {
    chunks_.reserve(chunks_.size() + 1);
    const size_t chunk = std::max(kChunk, round_up(bytes, kHugePage));
    const size_t huge = worth_huge_pages(std::min(expected_, chunk));
    expected_ -= std::min(expected_, chunk);
    chunks_.push_back({reserve(chunk), chunk, 0, huge});
    ask_for_huge_pages(chunks_.back().base, huge);
  }
  Chunk& chunk = chunks_.back();
  std::byte* at = chunk.base + chunk.used;
  chunk.used += bytes;
  return at;
}

void Storage::settle() noexcept {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (Chunk& chunk : chunks_) {
    const size_t huge = worth_huge_pages(chunk.used);
    if (huge > chunk.huge) move_to_huge_pages(chunk.base + chunk.huge, huge - chunk.huge);
    const size_t kept = std::max(huge, round_up(chunk.used, page));
    if (kept < chunk.size && munmap(chunk.base + kept, chunk.size - kept) == 0) chunk.size = kept;
  }
}

}  // namespace lightkern
