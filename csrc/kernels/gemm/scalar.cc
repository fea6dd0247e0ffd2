// The plain form, twice: a small square tile for everyday use, and an odd one that leaves no
// assumption of the packer or the driver untested.
#include "kernels/gemm/gemm.h"

namespace lightkern::gemm {
namespace {

template <int kr>
int32_t dot(const Act* a, const Panel& panel, uint32_t channel) {
  uint32_t acc = static_cast<uint32_t>(panel.bias[channel]);  // wraps on the way, fits at the end
  const int8_t* w = panel.weights + channel * kr;
  for (uint32_t s = 0; s < panel.steps; ++s, w += panel.width * kr) {
    const Act* x = a + panel.offsets[s];
    int32_t sum = 0;
    for (int k = 0; k < kr; ++k) sum += x[k] * w[k];
    acc += static_cast<uint32_t>(sum);
  }
  return static_cast<int32_t>(acc);
}

template <int kr>
void run(const Args& args) {
  const Panel& panel = *args.panel;
  const Epilogue& e = *args.epilogue;
  for (size_t i = 0; i < args.m; ++i) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(i);
    const Act* a = args.a + row * args.a_stride;
    Act* y = args.y + row * args.y_stride;
    const Act* residual = args.residual ? args.residual + row * e.residual_stride : nullptr;
    for (uint32_t c = 0; c < panel.n; ++c) {
      const Act value = requantize(dot<kr>(a, panel, c), panel.multiplier[c], e.clamp);
      y[c] = apply_tail(value, residual ? residual + c : nullptr, e);
    }
  }
}

void merge(const Merge& m) {
  for (size_t line = 0; line < m.lines; ++line) {
    const ptrdiff_t offset = static_cast<ptrdiff_t>(line) * m.pitch;
    for (int i = 0; i < m.inputs; ++i) {
      const Act* from = m.from[i] + offset;
      Act* to = m.to + offset + i;
      for (size_t at = 0; at < m.pixels * m.pixel; at += m.pixel) to[at] = from[at];
    }
  }
}

template <int kr>
constexpr Kernel make_kernel(const char* name, const Tile& tile) {
  return {name, tile, WeightFormat::kDense, PairRule::kAny, run<kr>, {}, nullptr, false, merge};
}

constexpr Kernel kKernels[] = {
    make_kernel<4>("gemm_s8_1x4c4_scalar", {1, 4, 4, 1}),
    make_kernel<3>("gemm_s8_1x5c3_scalar", {1, 5, 3, 2}),
};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::gemm
