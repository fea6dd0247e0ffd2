// Lowering: node -> step. One function per op, in ops/<op>.cc; each picks a kernel, packs for it,
// and fixes the geometry.
#pragma once

#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/storage.h"
#include "kernels/fit.h"
#include "kernels/registry.h"
#include "kernels/requant.h"
#include "runtime/model.h"
#include "runtime/step.h"

namespace lightkern {

struct PlanOptions {
  std::vector<Isa> levels;  // allowed, best first
  std::string kernel;  // not empty: steps whose op has a kernel of this name must use it (tests)
  Guard guard = Guard::kOff;
  bool fuse = true;
};

// A tensor as a kernel sees it: geometry in memory.
struct TensorView {
  int h, w, c;
  ptrdiff_t pixel_stride;  // bytes between pixels, >= c; a row of pixels is w * pixel_stride
  float scale;
  int32_t zero_point;  // memory domain

  size_t pixels() const { return static_cast<size_t>(h) * static_cast<size_t>(w); }
  // One row of elements without gaps, if it is one.
  bool dense() const { return pixel_stride == c; }
};

// Where a tensor lives: `offset` bytes into the buffer of tensor `root`.
struct Placement {
  int root;
  size_t offset;
  ptrdiff_t pixel_stride;
};

// A node, with the nodes that the plan fused behind it.
struct Fused {
  const NodeDesc* node = nullptr;
  const NodeDesc* table = nullptr;    // applied to the node's output
  const NodeDesc* add = nullptr;      // then added to `residual`
  int residual = -1;                  // tensor index
  const NodeDesc* shuffle = nullptr;  // a channel shuffle behind a concat: together one interleave
};

struct LoweringContext {
  const ModelDesc& model;
  const std::vector<TensorView>& views;      // per tensor
  const std::vector<Placement>& placements;  // per tensor
  const PlanOptions& options;
  Storage& storage;  // for packed weights

  const TensorView& in(const NodeDesc& node, size_t i) const {
    return views[static_cast<size_t>(node.inputs[i])];
  }
  const TensorView& out(const NodeDesc& node) const {
    return views[static_cast<size_t>(node.output)];
  }
};

// --- what lowering functions share ---------------------------------------------------------------

// Zero point of an int8 tensor in memory.
inline int32_t memory_zero_point(int32_t zero_point) { return zero_point + kActOffset; }

// Limits of a requantizing node's output: attribute "clamp" (int8 domain) against the output's zero
// point.
Clamp make_clamp(const NodeDesc& node, const TensorView& out);
Clamp full_clamp(const TensorView& out);

// The node's int8 table [256] (indexed by q + 128) as a table over memory bytes, and its fit.
struct MemoryTable {
  explicit MemoryTable(const NodeDesc& table_node);

  Act values[256];
  TableFit fit;
  bool fits;
};

AddParams make_add(const NodeDesc& add_node, const TensorView& a, const TensorView& b,
                   const TensorView& out);

// Output tensor of the last fused node.
int final_output(const Fused& fused);

// Name and op of the step, reads (the node's inputs, then the residual) and writes.
Step start_step(const Fused& fused);

// Why a kernel is not for the cores that this process runs on, although they could run it; null if
// it is, or was asked for by name.
template <class Kernel>
const char* wrong_core(const Kernel& kernel, const PlanOptions& options) {
  if (!kernel.in_order || issues_in_order() || options.kernel == kernel.name) return nullptr;
  return "made for cores that issue in order";
}

// Picks the first kernel that `fits` accepts among the allowed levels, best level first, and notes
// the others in step.rejected. `fits(kernel)` returns null, or the reason why not. Throws
// std::invalid_argument if none fits, or if options.kernel names a kernel of this op that does not.
template <class Kernel, class Fits>
const Kernel* pick_kernel(const KernelRegistry<Kernel>& registry, const PlanOptions& options,
                          Step& step, Fits fits) {
  const Kernel* chosen = nullptr;
  const Kernel* forced = nullptr;
  for (size_t i = 0; i < registry.count; ++i) {
    const RegistryEntry<Kernel>& entry = registry.entries[i];
    bool allowed = false;
    for (Isa isa : options.levels) allowed |= isa == entry.isa;
    for (size_t k = 0; k < entry.table->count; ++k) {
      const Kernel& kernel = entry.table->kernels[k];
      const char* reason =
          allowed ? fits(kernel) : "its ISA level is not allowed or not in this CPU";
      if (options.kernel == kernel.name) {
        if (reason)
          throw std::invalid_argument("step '" + step.name + "': kernel " + kernel.name + ": " +
                                      reason);
        forced = &kernel;
      } else if (reason) {
        step.rejected.push_back({kernel.name, reason});
      } else if (chosen) {
        step.rejected.push_back({kernel.name, nullptr});
      } else {
        chosen = &kernel;
      }
    }
  }
  if (forced) chosen = forced;
  if (!chosen)
    throw std::invalid_argument("step '" + step.name + "': no kernel of op " + registry.op +
                                " fits");
  step.kernel = chosen->name;
  return chosen;
}

// The same where any kernel will do.
template <class Kernel>
const Kernel* pick_kernel(const KernelRegistry<Kernel>& registry, const PlanOptions& options,
                          Step& step) {
  return pick_kernel(registry, options, step, [](const Kernel&) -> const char* { return nullptr; });
}

// [0, total) cut into units of `per_unit` items; the last may be shorter.
struct Split {
  size_t total, per_unit, units;

  size_t first(size_t begin) const { return begin * per_unit; }
  size_t last(size_t end) const { return end * per_unit < total ? end * per_unit : total; }
};

// Units of at least about `min_work` (MACs, or bytes times a few), and a multiple of `multiple`
// items.
Split split_work(size_t total, double work_per_item, double min_work = 20000, size_t multiple = 1);

// Row-wise work on [pixels][channels]. Where no tensor has gaps the rows are one flat run of bytes,
// cut anywhere.
struct RowWork {
  bool flat;
  size_t channels;
  Split split;  // of bytes if flat, else of pixels

  // What units [begin, end) cover: rows of cols bytes, starting `offset(stride of the tensor's
  // pixels)` bytes in.
  size_t rows(size_t begin, size_t end) const {
    return flat ? 1 : split.last(end) - split.first(begin);
  }
  size_t cols(size_t begin, size_t end) const {
    return flat ? split.last(end) - split.first(begin) : channels;
  }
  ptrdiff_t offset(size_t begin, ptrdiff_t pixel_stride) const {
    return static_cast<ptrdiff_t>(split.first(begin)) * (flat ? 1 : pixel_stride);
  }
};
RowWork split_rows(const TensorView& y, bool flat, double work_per_byte = 1);

// --- the ops -------------------------------------------------------------------------------------

using Lower = Step (*)(const LoweringContext&, const Fused&);

Step lower_table(const LoweringContext&, const Fused&);
Step lower_conv2d(const LoweringContext&, const Fused&);
Step lower_linear(const LoweringContext&, const Fused&);
Step lower_binary(const LoweringContext&, const Fused&);  // add, sub, mul
Step lower_prelu(const LoweringContext&, const Fused&);
Step lower_pool(const LoweringContext&, const Fused&);  // global_avg_pool, avg_pool, max_pool
Step lower_concat(const LoweringContext&, const Fused&);
Step lower_slice(const LoweringContext&, const Fused&);
Step lower_shuffle(const LoweringContext&, const Fused&);  // fused concat + channel_shuffle too
Step lower_pad(const LoweringContext&, const Fused&);
Step lower_reshape(const LoweringContext&, const Fused&);
Step lower_resize(const LoweringContext&, const Fused&);
Step lower_softmax(const LoweringContext&, const Fused&);

// Null for an op without kernels.
Lower find_lowering(const std::string& op);

}  // namespace lightkern
