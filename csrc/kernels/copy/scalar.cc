// memcpy and memset of the C library pick their own vector code.
#include <cstring>

#include "kernels/copy/copy.h"

namespace lightkern::copy {
namespace {

void run(const Args& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    Act* y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    if (args.x) {
      std::memcpy(y, args.x + static_cast<ptrdiff_t>(row) * args.x_stride, args.cols);
    } else {
      std::memset(y, args.value, args.cols);
    }
  }
}

constexpr Kernel kKernels[] = {{"copy_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::copy
