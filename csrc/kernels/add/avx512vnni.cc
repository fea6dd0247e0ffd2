// add on AVX-512 VNNI: 64 bytes in 25 instructions (simd/vbmi.inc, add_wide) where there is a fit,
// else as on AVX2.
#include "kernels/add/add.h"
#include "kernels/simd/avx2.h"

namespace lightkern::add {
namespace {

#include "kernels/add/x86.inc"

void run_wide(const Args& args) {
  if (!args.params.fit.shift) return run(args);
  const Operands& o = args.operands;
  const AddWide p = load_add_wide(args.params);
  const Act *a = o.a, *b = o.b;
  Act* y = o.y;
  for (size_t row = 0; row < o.rows; ++row, a += o.a_stride, b += o.b_stride, y += o.y_stride) {
    if (o.b_step) {
      const auto each = [&](size_t i, __mmask64 mask) {
        return _mm512_maskz_loadu_epi8(mask, b + i);
      };
      add_row_wide(a, each, y, o.cols, p);
    } else {
      const __m512i same = _mm512_set1_epi8(static_cast<char>(*b));
      add_row_wide(a, [&](size_t, __mmask64) { return same; }, y, o.cols, p);
    }
  }
}

constexpr Kernel kKernels[] = {{"add_s8_64_avx512vnni", run_wide}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::add
