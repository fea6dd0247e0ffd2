// reorder on NEON: rectangles of rows by 16 bytes, transposes by 8x8 blocks, three planes by st3.
#include "kernels/simd/neon.h"

#include "kernels/reorder/grid.h"

namespace lightkern::reorder {
namespace {

// Memory here is bytes; simd/neon.h has them signed, which makes no difference.
using Bytes = int8x16_t;
inline const int8_t* bytes(const uint8_t* x) { return reinterpret_cast<const int8_t*>(x); }
inline int8_t* bytes(uint8_t* y) { return reinterpret_cast<int8_t*>(y); }

inline Bytes load16(const uint8_t* x) { return vld1q_s8(bytes(x)); }
inline void store16(uint8_t* y, Bytes v) { vst1q_s8(bytes(y), v); }
inline void store_half(uint8_t* y, Bytes v) { vst1_s8(bytes(y), vget_low_s8(v)); }
inline void store_high_half(uint8_t* y, Bytes v) { vst1_s8(bytes(y), vget_high_s8(v)); }
inline Bytes add(Bytes v, uint8_t offset) {
  return vaddq_s8(v, vdupq_n_s8(static_cast<int8_t>(offset)));
}
inline Columns8 transpose8(const uint8_t* x, ptrdiff_t stride) {
  return lightkern::transpose8(bytes(x), stride);
}
inline void interleave3(Bytes a, Bytes b, Bytes c, uint8_t* y) {
  const int8x16x3_t all = {{a, b, c}};
  vst3q_s8(bytes(y), all);
}

#include "kernels/reorder/rectangles.inc"

bool copy_narrow(const Rectangle&) { return false; }

constexpr Kernel kKernels[] = {{"reorder_s8_8x8_neon", run}};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::reorder
