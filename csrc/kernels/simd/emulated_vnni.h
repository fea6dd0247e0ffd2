// Intrinsics of the VNNI levels for CPUs without them, from SIMDe: LIGHTKERN_EMULATE_VNNI puts this
// header before the files of those levels (cmake/kernels.cmake), which know nothing of it.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <immintrin.h>
#include <simde/x86/avx512.h>

#include <cstdint>

// AVX-VNNI's names of the same functions.
#define _mm_dpbusd_avx_epi32(acc, x, w) simde_mm_dpbusd_epi32(acc, x, w)
#define _mm256_dpbusd_avx_epi32(acc, x, w) simde_mm256_dpbusd_epi32(acc, x, w)

// Masked loads and stores of bytes, which SIMDe lacks. As on the CPU, no other byte is touched.
template <class Vector, class Mask>
static inline Vector emulated_load_bytes(Mask mask, const void* from) {
  uint8_t bytes[sizeof(Vector)];
  for (unsigned i = 0; i < sizeof(Vector); ++i)
    bytes[i] = mask >> i & 1 ? static_cast<const uint8_t*>(from)[i] : 0;
  Vector v;
  __builtin_memcpy(&v, bytes, sizeof(v));
  return v;
}
template <class Vector, class Mask>
static inline void emulated_store_bytes(void* to, Mask mask, Vector v) {
  for (unsigned i = 0; i < sizeof(Vector); ++i) {
    if (mask >> i & 1) static_cast<uint8_t*>(to)[i] = reinterpret_cast<const uint8_t*>(&v)[i];
  }
}
#define _mm_maskz_loadu_epi8(mask, p) emulated_load_bytes<__m128i>(mask, p)
#define _mm256_maskz_loadu_epi8(mask, p) emulated_load_bytes<__m256i>(mask, p)
#define _mm512_maskz_loadu_epi8(mask, p) emulated_load_bytes<__m512i>(mask, p)
#define _mm_mask_storeu_epi8(p, mask, v) emulated_store_bytes(p, mask, v)
#define _mm256_mask_storeu_epi8(p, mask, v) emulated_store_bytes(p, mask, v)
#define _mm512_mask_storeu_epi8(p, mask, v) emulated_store_bytes(p, mask, v)

// Shifts of 32 bits by a count per lane, which SIMDe lacks in this width.
template <class Vector>
static inline Vector emulated_shift_right(Vector x, Vector counts) {
  int32_t lanes[sizeof(Vector) / 4], by[sizeof(Vector) / 4];
  __builtin_memcpy(lanes, &x, sizeof(x));
  __builtin_memcpy(by, &counts, sizeof(counts));
  for (unsigned i = 0; i < sizeof(Vector) / 4; ++i) lanes[i] >>= by[i];
  __builtin_memcpy(&x, lanes, sizeof(x));
  return x;
}
#define _mm512_srav_epi32(x, counts) emulated_shift_right<__m512i>(x, counts)
