// interleave on NEON: the interleaving stores st2, st3 and st4; bound by them.
#include "kernels/simd/neon.h"

#include "kernels/interleave/interleave.h"

namespace lightkern::interleave {
namespace {

template <int parts>
inline void store_parts16(Act* y, const int8x16_t* v) {
  if constexpr (parts == 2) vst2q_s8(y, (int8x16x2_t{{v[0], v[1]}}));
  if constexpr (parts == 3) vst3q_s8(y, (int8x16x3_t{{v[0], v[1], v[2]}}));
  if constexpr (parts == 4) vst4q_s8(y, (int8x16x4_t{{v[0], v[1], v[2], v[3]}}));
}

template <int parts>
inline void store_parts8(Act* y, const int8x8_t* v) {
  if constexpr (parts == 2) vst2_s8(y, (int8x8x2_t{{v[0], v[1]}}));
  if constexpr (parts == 3) vst3_s8(y, (int8x8x3_t{{v[0], v[1], v[2]}}));
  if constexpr (parts == 4) vst4_s8(y, (int8x8x4_t{{v[0], v[1], v[2], v[3]}}));
}

template <int parts>
void run(const Args& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const Act* x[parts];
    for (int i = 0; i < parts; ++i) {
      x[i] = args.x[i] + static_cast<ptrdiff_t>(p) * args.x_pixel_strides[i];
    }
    Act* y = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    walk_row(
        args.channels, true,
        [&](size_t c) {
          int8x16_t v[parts];
          for (int i = 0; i < parts; ++i) v[i] = vld1q_s8(x[i] + c);
          store_parts16<parts>(y + parts * c, v);
        },
        [&](size_t c) {
          int8x8_t v[parts];
          for (int i = 0; i < parts; ++i) v[i] = vld1_s8(x[i] + c);
          store_parts8<parts>(y + parts * c, v);
        },
        [&](size_t c) {
          for (size_t i = 0; i < parts; ++i) y[parts * c + i] = x[i][c];
        });
  }
}

constexpr Kernel kKernels[] = {
    {"interleave_s8_2x16_neon", 2, run<2>},
    {"interleave_s8_3x16_neon", 3, run<3>},
    {"interleave_s8_4x16_neon", 4, run<4>},
};

}  // namespace

extern const Table neon;
constexpr Table neon = make_table(kKernels);

}  // namespace lightkern::interleave
