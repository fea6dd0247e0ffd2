// Intrinsics of the VNNI levels for CPUs without them, from SIMDe: LIGHTKERN_EMULATE_VNNI puts this
// header before the files of those levels (cmake/kernels.cmake), which know nothing of it.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <immintrin.h>
#include <simde/x86/avx512/add.h>
#include <simde/x86/avx512/broadcast.h>
#include <simde/x86/avx512/cast.h>
#include <simde/x86/avx512/cvt.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/load.h>
#include <simde/x86/avx512/loadu.h>
#include <simde/x86/avx512/max.h>
#include <simde/x86/avx512/min.h>
#include <simde/x86/avx512/mul.h>
#include <simde/x86/avx512/packs.h>
#include <simde/x86/avx512/packus.h>
#include <simde/x86/avx512/set.h>
#include <simde/x86/avx512/set1.h>
#include <simde/x86/avx512/shuffle.h>
#include <simde/x86/avx512/store.h>
#include <simde/x86/avx512/storeu.h>

#include <cstring>

// AVX-VNNI's name of the same function.
#define _mm256_dpbusd_avx_epi32(acc, x, w) simde_mm256_dpbusd_epi32(acc, x, w)

// What SIMDe lacks, for masks of the first bytes alone.
static inline simde__m512i load_first_bytes(uint64_t mask, const void* from) {
  simde__m512i v = simde_mm512_setzero_si512();
  std::memcpy(&v, from, static_cast<size_t>(__builtin_popcountll(mask)));
  return v;
}
static inline void store_first_bytes(void* to, uint64_t mask, simde__m512i v) {
  std::memcpy(to, &v, static_cast<size_t>(__builtin_popcountll(mask)));
}
#define _mm512_maskz_loadu_epi8(mask, from) load_first_bytes(mask, from)
#define _mm512_mask_storeu_epi8(to, mask, v) store_first_bytes(to, mask, v)
