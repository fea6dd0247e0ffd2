#include "runtime/plan.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "runtime/thread_pool.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace lightkern {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 31;

// What memory safety rests on. The rules of the format are checked in Python (model.py); this is
// the second wall.
void check_indices(const ModelDesc& model) {
  const int count = static_cast<int>(model.tensors.size());
  const auto check = [&](int tensor, const std::string& where) {
    if (tensor < 0 || tensor >= count) {
      throw std::invalid_argument(where + ": tensor " + std::to_string(tensor) + " of " +
                                  std::to_string(count));
    }
  };
  for (const TensorDesc& t : model.tensors) {
    if (t.h < 1 || t.w < 1 || t.c < 1 || static_cast<int64_t>(t.h) * t.w > kMaxElements / t.c) {
      throw std::invalid_argument("tensor '" + t.name + "': size " + std::to_string(t.h) + "x" +
                                  std::to_string(t.w) + "x" + std::to_string(t.c));
    }
    if (t.zero_point < -128 || t.zero_point > 127 || !(t.scale > 0)) {
      throw std::invalid_argument("tensor '" + t.name + "': zero point or scale out of range");
    }
  }
  std::vector<bool> written(model.tensors.size(), false);
  for (int tensor : model.inputs) {
    check(tensor, "input");
    written[static_cast<size_t>(tensor)] = true;
  }
  for (const NodeDesc& node : model.nodes) {
    if (node.inputs.empty()) throw std::invalid_argument("node '" + node.name + "': no input");
    for (int tensor : node.inputs) {
      check(tensor, "node '" + node.name + "'");
      if (!written[static_cast<size_t>(tensor)]) {
        throw std::invalid_argument("node '" + node.name +
                                    "': reads a tensor before it is written");
      }
    }
    check(node.output, "node '" + node.name + "'");
    if (written[static_cast<size_t>(node.output)]) {
      throw std::invalid_argument("node '" + node.name + "': output is written twice");
    }
    written[static_cast<size_t>(node.output)] = true;
  }
  for (int tensor : model.outputs) {
    check(tensor, "output");
    if (!written[static_cast<size_t>(tensor)])
      throw std::invalid_argument("output is never written");
  }
}

void make_views(const ModelDesc& model, Plan& plan) {
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const TensorDesc& desc = model.tensors[t];
    plan.views.push_back({desc.h, desc.w, desc.c, plan.placements[t].pixel_stride, desc.scale,
                          memory_zero_point(desc.zero_point)});
    const bool root = plan.placements[t].root == static_cast<int>(t);
    plan.root_bytes.push_back(root ? desc.elements() : 0);
  }
}

void plan_memory(Plan& plan) {
  const int end = static_cast<int>(plan.steps.size());
  std::vector<Lifetime> lifetimes(plan.tensors.size(), Lifetime{0, end, -1});
  const auto touch = [&](int tensor, int step) {
    Lifetime& life =
        lifetimes[static_cast<size_t>(plan.placements[static_cast<size_t>(tensor)].root)];
    life.first = std::min(life.first, step);
    life.last = std::max(life.last, step);
  };
  for (int tensor : plan.inputs) touch(tensor, -1);
  for (int i = 0; i < end; ++i) {
    for (int tensor : plan.steps[static_cast<size_t>(i)].reads) touch(tensor, i);
    touch(plan.steps[static_cast<size_t>(i)].writes, i);
  }
  for (int tensor : plan.outputs) touch(tensor, end);
  for (size_t t = 0; t < lifetimes.size(); ++t) {
    const bool used = lifetimes[t].first <= lifetimes[t].last;
    if (!used) plan.root_bytes[t] = 0;  // produced inside a fused step, never stored
    lifetimes[t].bytes = plan.root_bytes[t];
  }
  plan.least_arena_bytes = least_arena(lifetimes);
  plan.arena_bytes = assign_offsets(lifetimes, plan.arena_offsets);
}

void decide_sharing(Plan& plan) {
  const auto work_of = [&](const Step& step) {
    const TensorView& y = plan.views[static_cast<size_t>(step.writes)];
    return step.macs + kMacsPerElement * static_cast<double>(y.pixels()) * y.c;
  };
  for (const Step& step : plan.steps) plan.work += work_of(step);
  for (Step& step : plan.steps) step.shared = plan.shares(work_of(step));
}

Step lower(const LoweringContext& context, const Fused& fused) {
  const Lower lower_op = find_lowering(fused.node->op);
  if (!lower_op) {
    throw std::invalid_argument("node '" + fused.node->name + "': unknown op '" + fused.node->op +
                                "'");
  }
  return lower_op(context, fused);
}

int64_t weights_of(const NodeDesc& node) {
  int64_t total = 0;
  for (const auto& item : node.arrays) total += item.second.elements();
  return total;
}

// How many threads lower a network. They are worth starting where there is much to pack, whatever
// number of threads the sessions will have.
int lowering_threads(int64_t weights) {
  constexpr int64_t kLeastWeights = 200000;
  constexpr unsigned kMostThreads = 4;
  if (weights < kLeastWeights) return 1;
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads));
}

// Packing takes most of the time that a plan needs; the largest layers come first. Throws what the
// first node throws that cannot be lowered.
std::vector<Step> lower_all(const LoweringContext& context, const std::vector<Fused>& fused) {
  std::vector<Step> steps(fused.size());
  std::vector<std::exception_ptr> errors(fused.size());
  std::vector<std::pair<int64_t, size_t>> order;
  int64_t weights = 0;
  for (size_t i = 0; i < fused.size(); ++i) {
    order.push_back({weights_of(*fused[i].node), i});
    weights += order.back().first;
  }
  context.storage.expect(static_cast<size_t>(weights));
  std::sort(order.rbegin(), order.rend());

  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t at = next++; at < order.size(); at = next++) {
      const size_t i = order[at].second;
      try {
        steps[i] = lower(context, fused[i]);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  try {
    ThreadPool pool(lowering_threads(weights));
    pool.run(
        static_cast<size_t>(pool.threads()), true,
        [](void* job, size_t, size_t, int) { (*static_cast<decltype(work)*>(job))(); }, &work);
  } catch (const std::system_error&) {
    work();  // the system has no more threads to give: this one does it all
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return steps;
}

// What packing took and freed, which the allocator would keep.
void give_back_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

// Throws if no op has a kernel of this name.
void check_kernel_name(const std::string& name) {
  struct Search {
    const std::string& name;
    bool found;
  } search{name, name.empty()};
  visit_kernels(
      [](void* context, const char*, Isa, const char* kernel) {
        Search& s = *static_cast<Search*>(context);
        s.found |= s.name == kernel;
      },
      &search);
  if (!search.found) throw std::invalid_argument("there is no kernel '" + name + "'");
}

}  // namespace

std::shared_ptr<const Plan> make_plan(const ModelDesc& model, const PlanOptions& options) {
  check_indices(model);
  check_kernel_name(options.kernel);
  auto plan = std::make_shared<Plan>(options.guard);
  plan->tensors = model.tensors;
  plan->inputs = model.inputs;
  plan->outputs = model.outputs;
  Step io;
  io.name = "inputs and outputs";
  plan->quantize = pick_kernel(quantize::kRegistry, options, io);
  plan->dequantize = pick_kernel(dequantize::kRegistry, options, io);
  plan->reorder = pick_kernel(reorder::kRegistry, options, io);
  const std::vector<Fused> fused = fuse_nodes(model, options.fuse);
  plan->placements = place_tensors(model, fused);
  make_views(model, *plan);
  const LoweringContext context{model, plan->views, plan->placements, options, plan->storage};
  for (Step& step : lower_all(context, fused)) {
    if (!step.run) continue;  // a view: placement did all the work
    plan->scratch_bytes = std::max(plan->scratch_bytes, step.scratch);
    plan->steps.push_back(std::move(step));
  }
  plan->storage.settle();
  give_back_memory();
  plan_memory(*plan);
  decide_sharing(*plan);
  return plan;
}

}  // namespace lightkern
