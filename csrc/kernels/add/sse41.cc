// add on SSE4.1: 16 bytes in about 50 instructions (simd/sse41.h, add16), bound by the four vector
// pipes.
#include "kernels/simd/sse41.h"

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
          o.cols, true, [&](size_t i) { store16(y + i, add16(load16(a + i), load16(b + i), p)); },
          [&](size_t i) { store_half(y + i, add16(load_half(a + i), load_half(b + i), p)); },
          [&](size_t i) { y[i] = requantize_add(a[i], b[i], args.params); });
    } else {
      const __m128i all = _mm_set1_epi8(static_cast<char>(*b));
      walk_row(
          o.cols, true, [&](size_t i) { store16(y + i, add16(load16(a + i), all, p)); },
          [&](size_t i) { store_half(y + i, add16(load_half(a + i), all, p)); },
          [&](size_t i) { y[i] = requantize_add(a[i], *b, args.params); });
    }
  }
}

constexpr Kernel kKernels[] = {{"add_s8_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::add
