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

// Waits until the condition holds: spins while another core can make it true, then yields the core
// to it.
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

// A job is open while `epoch` is odd. The caller opens it, takes part, and closes it when no unit
// is left; it then waits for the workers that are inside, not for those that have not come: one
// that the operating system kept from running costs its help, and no time. A worker enters first
// and looks at the epoch then, the caller closes first and looks for workers then, so that one of
// the two sees the other.
struct ThreadPool::Shared {
  // The job. Written while none is open and no worker is inside.
  Work fn = nullptr;
  void* context = nullptr;
  // The units that each thread takes first. The same part of every step goes to the same thread, so
  // that a thread mostly reads what it wrote itself, out of its own cache; who is done early helps
  // the others, from where they are.
  struct alignas(64) Share {
    std::atomic<size_t> next{0};
    size_t end = 0;
  };
  std::vector<Share> shares;
  alignas(64) std::atomic<unsigned> epoch{0};
  alignas(64) std::atomic<int> inside{0};
  std::atomic<bool> stop{false};
  std::atomic<int> sleepers{0};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  pid_t pid = 0;

  void work(int thread) {
    const size_t count = shares.size();
    for (size_t i = 0; i < count; ++i) {
      Share& share = shares[(static_cast<size_t>(thread) + i) % count];
      size_t begin = share.next.load(std::memory_order_relaxed);
      while (begin < share.end) {
        // Half of what is left: much at first, single units last.
        const size_t end = begin + std::max<size_t>(1, (share.end - begin) / 2);
        if (!share.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
        fn(context, begin, end, thread);
        begin = share.next.load(std::memory_order_relaxed);
      }
    }
  }

  void serve(int thread) {
    unsigned seen = 0;
    for (;;) {
      const auto ready = [&] {
        const unsigned now = epoch.load();
        return ((now & 1) != 0 && now != seen) || stop.load();
      };
      for (int i = 0; i < kSpins && !ready(); ++i) relax();
      if (!ready()) {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, ready);
        sleepers.fetch_sub(1);
      }
      if (stop.load()) return;
      const unsigned job = epoch.load();
      inside.fetch_add(1);
      if ((job & 1) != 0 && epoch.load() == job) {
        seen = job;
        work(thread);
      }
      inside.fetch_sub(1);
    }
  }

  void wake_sleepers() {
    if (sleepers.load() > 0) {
      std::lock_guard<std::mutex> lock(mutex);
      wake.notify_all();
    }
  }

  void join() {
    stop.store(true);
    wake_sleepers();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads) : shared_(new Shared), threads_(std::max(threads, 1)) {
  shared_->pid = getpid();
  shared_->shares = std::vector<Shared::Share>(static_cast<size_t>(threads_));
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
    (void)shared_
        .release();  // a forked child: the workers live in the parent only and cannot be joined
  }
}

void ThreadPool::run(size_t units, bool shared, Work fn, void* context) {
  if (!shared || threads_ == 1 || units == 1 || shared_->pid != getpid()) {
    fn(context, 0, units, 0);
    return;
  }
  Shared& s = *shared_;
  s.fn = fn;
  s.context = context;
  const size_t threads = s.shares.size();
  for (size_t i = 0; i < threads; ++i) {
    s.shares[i].end = units * (i + 1) / threads;
    s.shares[i].next.store(units * i / threads, std::memory_order_relaxed);
  }
  s.epoch.fetch_add(1);
  s.wake_sleepers();
  s.work(0);
  s.epoch.fetch_add(1);
  spin_until([&] { return s.inside.load() == 0; });
}

}  // namespace lightkern
