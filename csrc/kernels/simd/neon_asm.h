// Requantization in the words of the machine, for tiles whose registers have fixed places: strings
// for inline assembly. Arguments are numbers of registers.
//
// Real values become bytes as kernels/simd/neon.h has it for Last::kEven and kOdd: rounding adds
// 1.5 * 2^23 and an even zero point, the lower halves are the results, ADD_ODD adds the last 1 of
// an odd zero point, narrowing clamps.
#pragma once

// clang-format off
#define REAL(a) "scvtf v" #a ".4s, v" #a ".4s\n"
#define SCALE(a, m) "fmul v" #a ".4s, v" #a ".4s, v" #m ".4s\n"
#define ROUND(a, rounding) "fadd v" #a ".4s, v" #a ".4s, v" #rounding ".4s\n"
#define HALVE(a, b) "uzp1 v" #a ".8h, v" #a ".8h, v" #b ".8h\n"
#define ADD_ODD(a, odd) "add v" #a ".8h, v" #a ".8h, v" #odd ".8h\n"
#define NARROW(a) "sqxtn v" #a ".8b, v" #a ".8h\n"
#define NARROW2(a, b) NARROW(a) "sqxtn2 v" #a ".16b, v" #b ".8h\n"

// The same for v16 .. v31, four vectors to 16 bytes, whose multipliers are m0 .. m3.
#define REAL_4(a, b, c, d) REAL(a) REAL(b) REAL(c) REAL(d)
#define REAL_16                                                          \
  REAL_4(16, 17, 18, 19) REAL_4(20, 21, 22, 23)                          \
  REAL_4(24, 25, 26, 27) REAL_4(28, 29, 30, 31)
#define SCALE_4(a, b, c, d, m0, m1, m2, m3) SCALE(a, m0) SCALE(b, m1) SCALE(c, m2) SCALE(d, m3)
#define SCALE_16(m0, m1, m2, m3)                                         \
  SCALE_4(16, 17, 18, 19, m0, m1, m2, m3)                                \
  SCALE_4(20, 21, 22, 23, m0, m1, m2, m3)                                \
  SCALE_4(24, 25, 26, 27, m0, m1, m2, m3)                                \
  SCALE_4(28, 29, 30, 31, m0, m1, m2, m3)
#define ROUND_4(a, b, c, d, r) ROUND(a, r) ROUND(b, r) ROUND(c, r) ROUND(d, r)
#define ROUND_16(r)                                                      \
  ROUND_4(16, 17, 18, 19, r) ROUND_4(20, 21, 22, 23, r)                  \
  ROUND_4(24, 25, 26, 27, r) ROUND_4(28, 29, 30, 31, r)
#define HALVE_16                                                         \
  HALVE(16, 17) HALVE(18, 19) HALVE(20, 21) HALVE(22, 23)                \
  HALVE(24, 25) HALVE(26, 27) HALVE(28, 29) HALVE(30, 31)
#define ADD_ODD_16(o)                                                    \
  ADD_ODD(16, o) ADD_ODD(18, o) ADD_ODD(20, o) ADD_ODD(22, o)            \
  ADD_ODD(24, o) ADD_ODD(26, o) ADD_ODD(28, o) ADD_ODD(30, o)
// clang-format on

#define ALL_VECTORS                                                                              \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", \
      "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", \
      "v28", "v29", "v30", "v31"
