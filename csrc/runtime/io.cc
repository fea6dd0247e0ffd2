#include "runtime/io.h"

namespace lightkern {

InputStage make_input_stage(const Plan& plan, size_t tensor, const IoArray& array, size_t image,
                            Act* memory) {
  const TensorView& view = plan.views[tensor];
  const size_t pixels = view.pixels(), channels = static_cast<size_t>(view.c);
  InputStage stage{};
  quantize::Args& args = stage.args;
  args.x_pixel_stride = array.channels_first ? 1 : static_cast<ptrdiff_t>(channels);
  args.x_channel_stride = array.channels_first ? static_cast<ptrdiff_t>(pixels) : 1;
  args.y = memory;
  args.y_pixel_stride = view.pixel_stride;
  args.pixels = pixels;
  args.channels = channels;
  args.scale = view.scale;
  args.clamp = full_clamp(view);
  const size_t offset = image * pixels * channels;
  if (array.is_float) {
    args.x = static_cast<const float*>(array.data) + offset;
  } else {
    stage.integers = static_cast<const int8_t*>(array.data) + offset;
  }
  stage.kernel = plan.quantize;
  stage.units = pixels;
  return stage;
}

bool load_input(const InputStage& stage, size_t begin, size_t end) {
  quantize::Args args = stage.args;
  args.y += static_cast<ptrdiff_t>(begin) * args.y_pixel_stride;
  args.pixels = end - begin;
  const ptrdiff_t start = static_cast<ptrdiff_t>(begin) * args.x_pixel_stride;
  if (!stage.integers) {
    args.x += start;
    return stage.kernel->run(args);
  }
  const int8_t* x = stage.integers + start;
  for (size_t p = 0; p < args.pixels; ++p) {
    const int8_t* from = x + static_cast<ptrdiff_t>(p) * args.x_pixel_stride;
    Act* to = args.y + static_cast<ptrdiff_t>(p) * args.y_pixel_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      to[c] = static_cast<Act>(from[static_cast<ptrdiff_t>(c) * args.x_channel_stride] + kActOffset);
    }
  }
  return false;
}

void store_output(const Plan& plan, size_t tensor, const IoArray& array, size_t image,
                  const Act* memory) {
  const TensorView& view = plan.views[tensor];
  const size_t pixels = view.pixels(), channels = static_cast<size_t>(view.c);
  const ptrdiff_t pixel_stride = array.channels_first ? 1 : static_cast<ptrdiff_t>(channels);
  const ptrdiff_t channel_stride = array.channels_first ? static_cast<ptrdiff_t>(pixels) : 1;
  const size_t offset = image * pixels * channels;
  if (array.is_float) {
    plan.dequantize->run({memory, view.pixel_stride, static_cast<float*>(array.data) + offset,
                          pixel_stride, channel_stride, pixels, channels, view.scale,
                          view.zero_point});
    return;
  }
  int8_t* out = static_cast<int8_t*>(array.data) + offset;
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t c = 0; c < channels; ++c) {
      out[static_cast<ptrdiff_t>(p) * pixel_stride + static_cast<ptrdiff_t>(c) * channel_stride] =
          static_cast<int8_t>(memory[static_cast<ptrdiff_t>(p) * view.pixel_stride +
                                     static_cast<ptrdiff_t>(c)] -
                              kActOffset);
    }
  }
}

}  // namespace lightkern
