// add on AVX-512 VNNI: 64 bytes in 25 instructions (simd/vbmi.inc, add_wide) where there is a fit,
// else as on AVX2.
#include "kernels/add/add.h"
#include "kernels/simd/avx2.h"

namespace lightkern::add {
namespace {

#include "kernels/add/x86.inc"

void run_wide(const Args& args) {
  constexpr size_t kWide = 64;
  if (!args.params.fit.shift) return run(args);
  const Operands& o = args.operands;
  const AddWide p = load_add_wide(args.params);
  const Act *a = o.a, *b = o.b;
  Act* y = o.y;
  for (size_t row = 0; row < o.rows; ++row, a += o.a_stride, b += o.b_stride, y += o.y_stride) {
    const __m512i same = _mm512_set1_epi8(static_cast<char>(*b));
    size_t i = 0;
    for (; i + kWide <= o.cols; i += kWide) {
      const __m512i other = o.b_step ? _mm512_loadu_si512(b + i) : same;
      _mm512_storeu_si512(y + i, add_wide(_mm512_loadu_si512(a + i), other, p));
    }
    if (i == o.cols) continue;
    const __mmask64 rest = (__mmask64{1} << (o.cols - i)) - 1;
    const __m512i other = o.b_step ? _mm512_maskz_loadu_epi8(rest, b + i) : same;
    _mm512_mask_storeu_epi8(y + i, rest, add_wide(_mm512_maskz_loadu_epi8(rest, a + i), other, p));
  }
}

constexpr Kernel kKernels[] = {{"add_s8_64_avx512vnni", run_wide}};

}  // namespace

extern const Table avx512vnni;
constexpr Table avx512vnni = make_table(kKernels);

}  // namespace lightkern::add
