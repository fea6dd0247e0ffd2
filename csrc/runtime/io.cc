#include "runtime/io.h"

namespace lightkern {
namespace {

// The layout of one image in a user's array, strides in elements.
struct ArrayLayout {
  size_t image;  // elements
  ptrdiff_t pixel_stride, channel_stride;
};

ArrayLayout layout_of(const TensorView& view, const IoArray& array) {
  const size_t pixels = view.pixels(), channels = static_cast<size_t>(view.c);
  if (array.channels_first) return {pixels * channels, 1, static_cast<ptrdiff_t>(pixels)};
  return {pixels * channels, static_cast<ptrdiff_t>(channels), 1};
}

// Both sides of a copy of int8 elements are counted pixel by pixel, channels within.
reorder::Order pixel_order(const TensorView& view, ptrdiff_t pixel_stride,
                           ptrdiff_t channel_stride) {
  return {static_cast<size_t>(view.c), pixel_stride, channel_stride};
}

}  // namespace

InputStage make_input_stage(const Plan& plan, size_t tensor, const IoArray& array, size_t image,
                            Act* memory) {
  const TensorView& view = plan.views[tensor];
  const ArrayLayout layout = layout_of(view, array);
  const size_t offset = image * layout.image;
  const bool shared = plan.shares(kMacsPerElement * static_cast<double>(layout.image));
  InputStage stage{array.is_float, plan.quantize, {}, plan.reorder, {}, view.pixels(), shared};
  if (array.is_float) {
    stage.floats = {static_cast<const float*>(array.data) + offset,
                    layout.pixel_stride,
                    layout.channel_stride,
                    memory,
                    view.pixel_stride,
                    view.pixels(),
                    static_cast<size_t>(view.c),
                    view.scale,
                    full_clamp(view)};
  } else {
    stage.integers = {static_cast<const uint8_t*>(array.data) + offset,
                      pixel_order(view, layout.pixel_stride, layout.channel_stride),
                      reinterpret_cast<uint8_t*>(memory),
                      pixel_order(view, view.pixel_stride, 1),
                      0,
                      0,
                      static_cast<uint8_t>(kActOffset)};
  }
  return stage;
}

bool load_input(const InputStage& stage, size_t begin, size_t end) {
  if (stage.is_float) {
    quantize::Args args = stage.floats;
    args.x += static_cast<ptrdiff_t>(begin) * args.x_pixel_stride;
    args.y += static_cast<ptrdiff_t>(begin) * args.y_pixel_stride;
    args.pixels = end - begin;
    return stage.quantize->run(args);
  }
  reorder::Args args = stage.integers;
  args.begin = begin * args.x_order.inner;
  args.end = end * args.x_order.inner;
  stage.reorder->run(args);
  return false;
}

void store_output(const Plan& plan, size_t tensor, const IoArray& array, size_t image,
                  const Act* memory) {
  const TensorView& view = plan.views[tensor];
  const ArrayLayout layout = layout_of(view, array);
  const size_t offset = image * layout.image;
  if (array.is_float) {
    plan.dequantize->run({memory, view.pixel_stride, static_cast<float*>(array.data) + offset,
                          layout.pixel_stride, layout.channel_stride, view.pixels(),
                          static_cast<size_t>(view.c), view.scale, view.zero_point});
    return;
  }
  plan.reorder->run({reinterpret_cast<const uint8_t*>(memory),
                     pixel_order(view, view.pixel_stride, 1),
                     static_cast<uint8_t*>(array.data) + offset,
                     pixel_order(view, layout.pixel_stride, layout.channel_stride), 0, layout.image,
                     static_cast<uint8_t>(-kActOffset)});
}

}  // namespace lightkern
