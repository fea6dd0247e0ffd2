// reorder on SSE4.1: rectangles of rows by 16 bytes, transposes by 8x8 blocks, three planes by
// pshufb.
#include "kernels/reorder/grid.h"
#include "kernels/simd/x86.h"

namespace lightkern::reorder {
namespace {

using Bytes = __m128i;
inline Bytes add(Bytes v, uint8_t offset) {
  return _mm_add_epi8(v, _mm_set1_epi8(static_cast<char>(offset)));
}
inline void store_high_half(uint8_t* y, Bytes v) { store_half(y, _mm_srli_si128(v, 8)); }

#include "kernels/reorder/rectangles.inc"

constexpr Kernel kKernels[] = {{"reorder_s8_8x8_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::reorder
