// quantize on SSE4.1: x86.inc says how.
#include "kernels/simd/sse41.h"

#include "kernels/quantize/quantize.h"

namespace lightkern::quantize {
namespace {

inline Floats is_nan(Floats v) { return _mm_cmpunord_ps(v, v); }
inline Bytes in_order(Bytes v) { return v; }
inline void interleave_planes(Bytes r, Bytes g, Bytes b, Act* y) { interleave3(r, g, b, y); }

#include "kernels/quantize/x86.inc"

constexpr Kernel kKernels[] = {{"quantize_f32_16_sse41", run}};

}  // namespace

extern const Table sse41;
constexpr Table sse41 = make_table(kKernels);

}  // namespace lightkern::quantize
