// A session: a plan, an arena and threads. Runs one image after the other.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/storage.h"
#include "runtime/plan.h"
#include "runtime/thread_pool.h"

namespace lightkern {

// A user's array for one input or output: C-contiguous [n][h][w][c] or [n][c][h][w].
struct IoArray {
  void* data;
  bool is_float;        // else int8
  bool channels_first;  // [n][c][h][w]
};

class Session {
 public:
  Session(std::shared_ptr<const Plan> plan, int threads);

  const Plan& plan() const { return *plan_; }
  int threads() const { return pool_.threads(); }
  size_t arena_bytes() const { return arena_bytes_; }

  // Safe to call from several threads: calls wait for each other. Returns the index of an input
  // with a NaN, or -1. `seconds`, if not null, receives the time of each stage: the inputs, every
  // step, the outputs.
  int run(const std::vector<IoArray>& inputs, const std::vector<IoArray>& outputs, size_t batch,
          std::vector<double>* seconds = nullptr);

 private:
  int load_inputs(const std::vector<IoArray>& inputs, size_t image);
  void store_outputs(const std::vector<IoArray>& outputs, size_t image);
  std::vector<Act*> place_roots();
  void run_step(size_t index);

  struct BoundStep {
    const Step* step;
    std::vector<const Act*> reads;
    StepIo io;
  };

  std::shared_ptr<const Plan> plan_;
  Storage storage_;  // one arena, or one guarded block per tensor
  std::vector<Act*> tensors_;
  std::vector<BoundStep> steps_;
  std::vector<Buffer> scratch_;  // per thread
  size_t arena_bytes_ = 0;
  ThreadPool pool_;
  std::mutex mutex_;
};

}  // namespace lightkern
