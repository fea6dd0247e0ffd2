#include "runtime/session.h"

#include <atomic>
#include <chrono>

#include "runtime/io.h"

namespace lightkern {
namespace {

using Clock = std::chrono::steady_clock;

// Appends the time since the last mark, if anybody asked.
class StageTimer {
 public:
  explicit StageTimer(std::vector<double>* seconds) : seconds_(seconds), last_(now()) {}
  void mark() {
    if (!seconds_) return;
    const Clock::time_point at = now();
    seconds_->push_back(std::chrono::duration<double>(at - last_).count());
    last_ = at;
  }

 private:
  Clock::time_point now() const { return seconds_ ? Clock::now() : Clock::time_point(); }

  std::vector<double>* seconds_;
  Clock::time_point last_;
};

}  // namespace

Session::Session(std::shared_ptr<const Plan> plan, int threads)
    : plan_(std::move(plan)), storage_(plan_->guard), pool_(threads) {
  const std::vector<Act*> roots = place_roots();
  for (const Placement& place : plan_->placements)
    tensors_.push_back(roots[static_cast<size_t>(place.root)] + place.offset);
  steps_.reserve(plan_->steps.size());
  for (const Step& step : plan_->steps) {
    steps_.push_back({&step, {}, {}});
    BoundStep& bound = steps_.back();
    for (int tensor : step.reads) bound.reads.push_back(tensors_[static_cast<size_t>(tensor)]);
    bound.io = {bound.reads.data(), tensors_[static_cast<size_t>(step.writes)]};
  }
  for (int i = 0; i < pool_.threads(); ++i) {
    scratch_.emplace_back((plan_->scratch_bytes + 63) / 64 * 64, plan_->guard);
  }
}

// Where each root tensor lies.
std::vector<Act*> Session::place_roots() {
  std::vector<Act*> roots;
  if (plan_->guard == Guard::kOn) {
    for (size_t bytes : plan_->root_bytes) {
      roots.push_back(reinterpret_cast<Act*>(storage_.take(bytes)));
      arena_bytes_ += bytes;
    }
    return roots;
  }
  arena_bytes_ = plan_->arena_bytes;
  Act* arena = reinterpret_cast<Act*>(storage_.take(arena_bytes_));
  for (size_t offset : plan_->arena_offsets) roots.push_back(arena + offset);
  storage_.settle();
  return roots;
}

void Session::run_step(size_t index) {
  struct Job {
    const BoundStep* bound;
    const std::vector<Buffer>* scratch;
  } job{&steps_[index], &scratch_};
  pool_.run(
      job.bound->step->units, job.bound->step->shared,
      [](void* context, size_t begin, size_t end, int thread) {
        const Job& j = *static_cast<const Job*>(context);
        const Step& step = *j.bound->step;
        step.run(step.state.get(), j.bound->io, begin, end,
                 (*j.scratch)[static_cast<size_t>(thread)].as<std::byte>());
      },
      &job);
}

int Session::load_inputs(const std::vector<IoArray>& inputs, size_t image) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const size_t tensor = static_cast<size_t>(plan_->inputs[i]);
    struct Job {
      InputStage stage;
      std::atomic<bool> nan{false};
    } job{make_input_stage(*plan_, tensor, inputs[i], image, tensors_[tensor])};
    pool_.run(
        job.stage.units, job.stage.shared,
        [](void* context, size_t begin, size_t end, int) {
          Job& j = *static_cast<Job*>(context);
          if (load_input(j.stage, begin, end)) j.nan.store(true, std::memory_order_relaxed);
        },
        &job);
    if (job.nan.load()) return static_cast<int>(i);
  }
  return -1;
}

void Session::store_outputs(const std::vector<IoArray>& outputs, size_t image) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const size_t tensor = static_cast<size_t>(plan_->outputs[i]);
    store_output(*plan_, tensor, outputs[i], image, tensors_[tensor]);
  }
}

int Session::run(const std::vector<IoArray>& inputs, const std::vector<IoArray>& outputs,
                 size_t batch, std::vector<double>* seconds) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (size_t image = 0; image < batch; ++image) {
    StageTimer timer(seconds);
    const int bad = load_inputs(inputs, image);
    if (bad >= 0) return bad;
    timer.mark();
    for (size_t i = 0; i < steps_.size(); ++i) {
      run_step(i);
      timer.mark();
    }
    store_outputs(outputs, image);
    timer.mark();
  }
  return -1;
}

}  // namespace lightkern
