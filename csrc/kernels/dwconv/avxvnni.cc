// Dot products down the columns, eight channels per register: quads.inc says how.
#include "kernels/dwconv/quads.inc"

namespace lightkern::dwconv {
namespace {

inline __m256i dot(__m256i acc, __m256i x, __m256i w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }

constexpr Kernel kKernels[] = {
    quad_kernel<3, 1>("dwconv_s8_3x3s1_2x2_avxvnni"),
    quad_kernel<3, 2>("dwconv_s8_3x3s2_1x2_avxvnni"),
    quad_kernel<5, 1>("dwconv_s8_5x5s1_2x2_avxvnni"),
    quad_kernel<5, 2>("dwconv_s8_5x5s2_1x2_avxvnni"),
};

}  // namespace

extern const Table avxvnni;
constexpr Table avxvnni = make_table(kKernels);

}  // namespace lightkern::dwconv
