// add on NEON: 45 instructions for 16 bytes (simd/neon.h, add16).
#include "kernels/simd/neon.h"

#include "kernels/add/add.h"

namespace lightkern::add {
namespace {

void run(const Args& args) {
  const Operands& o = args.operands;
  const AddVec p = load_add(args.params);
  for (size_t row = 0; row < o.rows; ++row) {
    const ptrdiff_t r = static_cast<ptrdiff_t>(row);
    const Act* a = o.a + r * o.a_stride;
    const Act* b = o.b + r * o.b_stride;
    Act* y = o.y + r * o.y_stride;
    if (o.b_step) {
      walk_row(
          o.cols, true,
          [&](size_t i) { vst1q_s8(y + i, add16(vld1q_s8(a + i), vld1q_s8(b + i), p)); },
          [&](size_t i) { store8(y + i, add16(load8(a + i), load8(b + i), p)); },
          [&](size_t i) { y[i] = requantize_add(a[i], b[i], args.params); });
    } else {
      const int8x16_t all = vdupq_n_s8(*b);
      walk_row(
          o.cols, true, [&](size_t i) { vst1q_s8(y + i, add16(vld1q_s8(a + i), all, p)); },
          [&](size_t i) { store8(y + i, add16(load8(a + i), all, p)); },
          [&](size_t i) { y[i] = requantize_add(a[i], *b, args.params); });
    }
  }
}

constexpr Kernel kKernels[] = {{"add_s8_16_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::add
