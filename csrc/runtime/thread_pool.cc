#include "runtime/thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace lightkern {
namespace {

constexpr int kSpins = 4000;  // about 50 to 100 microseconds

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Waits until the condition holds: spins while another core can make it true, then yields the core to it.
template <class Condition>
void spin_until(Condition condition) {
  for (int i = 0; !condition(); ++i) {
    if (i < kSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace

struct ThreadPool::Shared {
  // The job. Written by the caller before `epoch` moves, read by the workers after they saw it move.
  Work fn = nullptr;
  void* context = nullptr;
  size_t units = 0, chunk = 1;
  alignas(64) std::atomic<size_t> next{0};
  alignas(64) std::atomic<unsigned> epoch{0};
  alignas(64) std::atomic<int> busy{0};
  std::atomic<bool> stop{false};
  std::atomic<int> sleepers{0};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  pid_t pid = 0;

  void work(int thread) {
    for (;;) {
      const size_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= units) return;
      fn(context, begin, std::min(begin + chunk, units), thread);
    }
  }

  void serve(int thread) {
    unsigned seen = 0;
    for (;;) {
      const auto ready = [&] { return epoch.load() != seen; };
      for (int i = 0; i < kSpins && !ready(); ++i) relax();
      if (!ready()) {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, ready);
        sleepers.fetch_sub(1);
      }
      seen = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      work(thread);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }

  void join() {
    stop.store(true);
    publish();
    for (std::thread& worker : workers) worker.join();
  }

  void publish() {
    epoch.fetch_add(1);
    if (sleepers.load() > 0) {
      std::lock_guard<std::mutex> lock(mutex);
      wake.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int threads) : shared_(new Shared), threads_(std::max(threads, 1)) {
  shared_->pid = getpid();
  try {
    for (int i = 1; i < threads_; ++i) {
      shared_->workers.emplace_back([shared = shared_.get(), i] { shared->serve(i); });
    }
  } catch (...) {
    shared_->join();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  if (shared_->pid == getpid()) {
    shared_->join();
  } else {
    (void)shared_.release();  // a forked child: the workers live in the parent only and cannot be joined
  }
}

void ThreadPool::run(size_t units, Work fn, void* context) {
  if (threads_ == 1 || units == 1 || shared_->pid != getpid()) {
    fn(context, 0, units, 0);
    return;
  }
  Shared& s = *shared_;
  s.fn = fn;
  s.context = context;
  s.units = units;
  s.chunk = std::max<size_t>(1, units / (static_cast<size_t>(threads_) * 8));
  s.next.store(0, std::memory_order_relaxed);
  s.busy.store(threads_ - 1, std::memory_order_relaxed);
  s.publish();
  s.work(0);
  spin_until([&] { return s.busy.load(std::memory_order_acquire) == 0; });
}

}  // namespace lightkern
