// What convolution and linear layers share: the window that slides over an image, the scales, and
// what is fused behind. conv.cc chooses between the four families, each a file of its own.
#pragma once

#include "runtime/lowering.h"

namespace lightkern {

// Geometry of a convolution. A linear layer is a 1x1 window over one line of pixels.
struct ConvWindow {
  int h, w, oh, ow;
  int groups, icg, ocg;  // channels per group: input, output
  int kh, kw, sh, sw, dh, dw;
  int top, left;  // padding; what lies right and below follows from oh, ow
  ptrdiff_t x_pixel_stride, y_pixel_stride;

  size_t depth() const {
    return static_cast<size_t>(kh) * static_cast<size_t>(kw) * static_cast<size_t>(icg);
  }
  double macs() const {
    return static_cast<double>(oh) * ow * groups * ocg * static_cast<double>(depth());
  }
};

// Canonical parameters of a node with weights, and m[c] = x.scale * weight_scale[c] / y.scale.
struct ConvWeights {
  const int8_t* weight;  // [groups * ocg][kh][kw][icg]
  const int32_t* bias;   // [groups * ocg]
  std::vector<float> multiplier;
};
ConvWeights weights_of(const LoweringContext& context, const NodeDesc& node,
                       const ConvWindow& window);

// The epilogue of a step with all that it points to.
struct FusedEpilogue {
  FusedEpilogue() = default;
  FusedEpilogue(const LoweringContext& context, const Fused& fused);
  FusedEpilogue(FusedEpilogue&&) = default;
  FusedEpilogue& operator=(FusedEpilogue&&) = default;

  const Act* residual(const StepIo& io) const { return has_residual ? io.reads[1] : nullptr; }

  Epilogue values{};
  std::unique_ptr<const MemoryTable> table;  // values.table and values.fit point into it
  bool has_residual = false;
};

// gemm.cc: any window, any number of groups; every group is a gemm of its own.
Step lower_gemm(const LoweringContext&, const Fused&, ConvWindow);
// dwconv.cc: one filter per channel.
Step lower_depthwise(const LoweringContext&, const Fused&, const ConvWindow&);
// gconv.cc: few channels per group, and whether that is better than one gemm per group.
Step lower_group(const LoweringContext&, const Fused&, const ConvWindow&);
bool prefers_group_kernel(const PlanOptions&, const ConvWindow&);
// winograd.cc: 3x3 at stride 1 with 16 products for 4 outputs, and whether that is the fastest way.
Step lower_winograd(const LoweringContext&, const Fused&, const ConvWindow&);
bool prefers_winograd(const LoweringContext&, const NodeDesc&, const ConvWindow&);

}  // namespace lightkern
