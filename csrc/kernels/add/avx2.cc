// add on AVX2: 32 bytes in about 50 instructions (simd/avx2.h, add32), bound by the four vector
// pipes.
#include "kernels/simd/avx2.h"

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
          o.cols, true, [&](size_t i) { store32(y + i, add32(load32(a + i), load32(b + i), p)); },
          [&](size_t i) { store8(y + i, add32(load8(a + i), load8(b + i), p)); },
          [&](size_t i) { y[i] = requantize_add(a[i], b[i], args.params); });
    } else {
      const __m256i all = _mm256_set1_epi8(static_cast<char>(*b));
      walk_row(
          o.cols, true, [&](size_t i) { store32(y + i, add32(load32(a + i), all, p)); },
          [&](size_t i) { store8(y + i, add32(load8(a + i), all, p)); },
          [&](size_t i) { y[i] = requantize_add(a[i], *b, args.params); });
    }
  }
}

constexpr Kernel kKernels[] = {{"add_s8_32_avx2", run}};

}  // namespace

extern const Table avx2;
constexpr Table avx2 = make_table(kKernels);

}  // namespace lightkern::add
