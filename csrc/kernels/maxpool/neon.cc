// maxpool on NEON: smax over the window, 16 or 8 channels at a time; bound by the loads.
#include "kernels/simd/neon.h"

#include "kernels/maxpool/view.h"

namespace lightkern::maxpool {
namespace {

void run(const Args& args) {
  const auto load16 = [](const Act* x) { return vld1q_s8(x); };
  const auto max16 = [](int8x16_t a, int8x16_t b) { return vmaxq_s8(a, b); };
  for_each_pixel(args, [&](const View& view, Act* y) {
    walk_row(
        args.channels, true,
        [&](size_t c) { vst1q_s8(y + c, reduce<int8x16_t>(view, c, load16, max16)); },
        [&](size_t c) { store8(y + c, reduce<int8x16_t>(view, c, load8, max16)); },
        [&](size_t c) { y[c] = max_of_one(view, c); });
  });
}

constexpr Kernel kKernels[] = {{"maxpool_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::maxpool
