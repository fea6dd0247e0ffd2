// The plan: an int8 model bound to the kernels of one CPU. Immutable; any number of sessions share
// it.
//
//   fuse.cc       which nodes become one step
//   placement.cc  which tensors are views into others (concat, slice, reshape): no step at all
//   ops/*.cc      node -> step: kernel choice, packing, geometry
//   arena.cc      where each buffer lies, so that lifetimes overlap and memory does not
#pragma once

#include <memory>
#include <vector>

#include "kernels/dequantize/dequantize.h"
#include "kernels/quantize/quantize.h"
#include "kernels/reorder/reorder.h"
#include "runtime/lowering.h"
#include "runtime/model.h"
#include "runtime/step.h"

namespace lightkern {

// What an element of an output costs beside its multiply-accumulates, in these.
constexpr double kMacsPerElement = 8;

struct Plan {
  explicit Plan(Guard g) : guard(g), storage(g) {}

  std::vector<TensorDesc> tensors;
  std::vector<TensorView> views;
  std::vector<Placement> placements;
  std::vector<size_t> root_bytes;     // per tensor; 0 for views
  std::vector<size_t> arena_offsets;  // per tensor; meaningful for roots
  size_t arena_bytes = 0;
  size_t least_arena_bytes = 0;  // no arena can be smaller for these steps in this order
  size_t scratch_bytes = 0;      // per thread
  std::vector<Step> steps;
  std::vector<int> inputs, outputs;
  const quantize::Kernel* quantize = nullptr;
  const dequantize::Kernel* dequantize = nullptr;
  const reorder::Kernel* reorder = nullptr;  // int8 arrays, in and out
  Guard guard;
  Storage storage;  // packed weights
  double work = 0;  // of all steps, in multiply-accumulates, roughly

  // Whether other threads should take part in a step of so much work. A thread that spins takes a
  // microsecond to come, one that sleeps ten, and tiny networks always find them asleep. Guarded
  // plans are for tests, which want to see every cut.
  bool shares(double step_work) const {
    constexpr double kLeastStep = 3e5, kLeastPlan = 1.5e6;
    return guard == Guard::kOn || (step_work >= kLeastStep && work >= kLeastPlan);
  }
  size_t packed_bytes() const {
    size_t total = 0;
    for (const Step& step : steps) total += step.packed_bytes;
    return total;
  }
};

// Throws std::invalid_argument for a model that breaks a rule; nothing has run then.
std::shared_ptr<const Plan> make_plan(const ModelDesc& model, const PlanOptions& options);

// fuse.cc: the steps to be, in an order that respects every dependency.
std::vector<Fused> fuse_nodes(const ModelDesc& model, bool enabled);

// placement.cc
std::vector<Placement> place_tensors(const ModelDesc& model, const std::vector<Fused>& fused);

// arena.cc: offsets for buffers with sizes and closed lifetimes [first, last], in steps. Returns
// the arena's size.
struct Lifetime {
  size_t bytes;
  int first, last;
};
size_t assign_offsets(const std::vector<Lifetime>& buffers, std::vector<size_t>& offsets);
// The greatest sum of bytes that are live at once.
size_t least_arena(const std::vector<Lifetime>& buffers);

}  // namespace lightkern
