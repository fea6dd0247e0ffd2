// Intrinsics of the VNNI levels for CPUs without them, from SIMDe: LIGHTKERN_EMULATE_VNNI puts this
// header before the files of those levels (cmake/kernels.cmake), which know nothing of it.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <immintrin.h>
#include <simde/x86/avx512.h>

// AVX-VNNI's name of the same function.
#define _mm256_dpbusd_avx_epi32(acc, x, w) simde_mm256_dpbusd_epi32(acc, x, w)
