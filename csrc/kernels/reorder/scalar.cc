#include "kernels/reorder/reorder.h"

namespace lightkern::reorder {
namespace {

// Walks an order without dividing at every element.
struct Cursor {
  const Order& order;
  size_t rest;  // elements left in the inner run
  ptrdiff_t outer, at;

  Cursor(const Order& o, size_t element)
      : order(o),
        rest(o.inner - element % o.inner),
        outer(static_cast<ptrdiff_t>(element / o.inner) * o.outer_stride),
        at(outer + static_cast<ptrdiff_t>(element % o.inner) * o.inner_stride) {}

  void next() {
    at += order.inner_stride;
    if (--rest == 0) {
      rest = order.inner;
      outer += order.outer_stride;
      at = outer;
    }
  }
};

void run(const Args& args) {
  Cursor from(args.x_order, args.begin), to(args.y_order, args.begin);
  for (size_t i = args.begin; i < args.end; ++i, from.next(), to.next()) {
    args.y[to.at] = static_cast<uint8_t>(args.x[from.at] + args.offset);
  }
}

constexpr Kernel kKernels[] = {{"reorder_s8_1_scalar", run}};

}  // namespace

extern const Table scalar;
constexpr Table scalar = make_table(kKernels);

}  // namespace lightkern::reorder
