// A few threads that wait for work: they spin for some microseconds, since the next step usually
// follows at once, then sleep, since a phone's battery matters between runs.
#pragma once

#include <cstddef>
#include <memory>

namespace lightkern {

class ThreadPool {
 public:
  // `threads` counts the calling thread: 1 starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  // fn(context, begin, end, thread) for disjoint ranges that cover [0, units); returns when all are
  // done. One caller at a time; unless `shared`, it does everything itself and wakes nobody.
  using Work = void (*)(void* context, size_t begin, size_t end, int thread);
  void run(size_t units, bool shared, Work fn, void* context);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
  int threads_;
};

}  // namespace lightkern
