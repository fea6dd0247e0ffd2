// Intrinsics of the VNNI levels for CPUs without them, from SIMDe: LIGHTKERN_EMULATE_VNNI puts this
// header before the files of those levels (cmake/kernels.cmake), which know nothing of it.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <immintrin.h>
#include <simde/x86/avx512/add.h>
#include <simde/x86/avx512/adds.h>
#include <simde/x86/avx512/broadcast.h>
#include <simde/x86/avx512/cast.h>
#include <simde/x86/avx512/cvt.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/extract.h>
#include <simde/x86/avx512/load.h>
#include <simde/x86/avx512/loadu.h>
#include <simde/x86/avx512/max.h>
#include <simde/x86/avx512/min.h>
#include <simde/x86/avx512/mul.h>
#include <simde/x86/avx512/or.h>
#include <simde/x86/avx512/packs.h>
#include <simde/x86/avx512/packus.h>
#include <simde/x86/avx512/permutexvar.h>
#include <simde/x86/avx512/set.h>
#include <simde/x86/avx512/set1.h>
#include <simde/x86/avx512/setr.h>
#include <simde/x86/avx512/shuffle.h>
#include <simde/x86/avx512/slli.h>
#include <simde/x86/avx512/store.h>
#include <simde/x86/avx512/storeu.h>

// AVX-VNNI's name of the same function.
#define _mm256_dpbusd_avx_epi32(acc, x, w) simde_mm256_dpbusd_epi32(acc, x, w)

// What SIMDe lacks, for masks of the first bytes alone.
static inline simde__m512i simde_first_bytes(uint64_t mask, const void* from) {
  simde__m512i v = simde_mm512_setzero_si512();
  memcpy(&v, from, static_cast<size_t>(__builtin_popcountll(mask)));
  return v;
}
#define _mm512_maskz_loadu_epi8(mask, from) simde_first_bytes(mask, from)
#define _mm512_mask_storeu_epi8(to, mask, v) \
  memcpy(to, &static_cast<const simde__m512i&>(v), static_cast<size_t>(__builtin_popcountll(mask)))
