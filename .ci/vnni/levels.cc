// Compares every ISA level of the CPU at hand with the scalar kernels, bit for bit, on convolutions
// of all kinds, between guard pages, as real machine code. One static program without Python: small
// enough for an emulated PC.
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "runtime/plan.h"
#include "runtime/session.h"

namespace lightkern {
namespace {

struct Shape {
  int h, w, c, oc, kernel, stride, groups;
};

// A convolution with random weights, up to `greatest` in size: small ones couple, great ones may
// overflow 16 bits. Those in between have a random table behind them.
struct Case {
  Case(const Shape& s, int greatest, std::mt19937& random) {
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    const int pad = s.kernel / 2, icg = s.c / s.groups;
    const int oh = (s.h + 2 * pad - s.kernel) / s.stride + 1;
    const int ow = (s.w + 2 * pad - s.kernel) / s.stride + 1;
    for (int i = 0; i < s.oc * s.kernel * s.kernel * icg; ++i) {
      weight.push_back(static_cast<int8_t>(draw(-greatest, greatest)));
    }
    for (int i = 0; i < s.oc; ++i) bias.push_back(draw(-20000, 20000));
    for (int i = 0; i < s.oc; ++i)
      scale.push_back(0.001f + 0.0001f * static_cast<float>(draw(0, 50)));
    for (int i = 0; i < s.h * s.w * s.c; ++i) input.push_back(static_cast<int8_t>(draw(-128, 127)));
    for (size_t i = 0; i < input.size(); i += 3) input[i] = i % 2 ? 127 : -128;
    output.resize(static_cast<size_t>(oh * ow * s.oc));
    model.tensors = {{"x", s.h, s.w, s.c, 0.02f, draw(-128, 127)}, {"y", oh, ow, s.oc, 0.05f, 3}};
    NodeDesc node;
    node.op = "conv2d", node.name = "conv", node.inputs = {0}, node.output = 1;
    node.ints = {{"kernel", {s.kernel, s.kernel}},
                 {"stride", {s.stride, s.stride}},
                 {"padding", {pad, pad, pad, pad}},
                 {"dilation", {1, 1}},
                 {"groups", {s.groups}},
                 {"clamp", {-128, 127}}};
    node.arrays = {{"weight", {'b', weight.data(), {s.oc, s.kernel, s.kernel, icg}}},
                   {"bias", {'i', bias.data(), {s.oc}}},
                   {"weight_scale", {'f', scale.data(), {s.oc}}}};
    model.nodes = {node};
    model.inputs = {0}, model.outputs = {1};
    if (greatest == 90) add_table(draw);
  }

  template <class Draw>
  void add_table(Draw draw) {
    for (int i = 0; i < 256; ++i) table.push_back(static_cast<int8_t>(draw(-128, 127)));
    model.tensors.push_back(model.tensors[1]);
    model.tensors[2].name = "z";
    NodeDesc node;
    node.op = "table", node.name = "table", node.inputs = {1}, node.output = 2;
    node.arrays = {{"table", {'b', table.data(), {256}}}};
    model.nodes.push_back(node);
    model.outputs = {2};
  }

  // Output of one level; `kernel` receives the name of the kernel that ran.
  std::vector<int8_t> run(const std::string& level, std::string& kernel) {
    PlanOptions options;
    options.levels = allowed_levels(level);
    options.guard = Guard::kOn;
    Session session(make_plan(model, options), 1);
    kernel = session.plan().steps[0].kernel;
    std::fill(output.begin(), output.end(), int8_t{0});
    session.run({{input.data(), false, false}}, {{output.data(), false, false}}, 1);
    return output;
  }

  std::vector<int8_t> weight, table, input, output;
  std::vector<int32_t> bias;
  std::vector<float> scale;
  ModelDesc model;
};

int compare() {
  const Shape shapes[] = {
      {1, 1, 7, 5, 1, 1, 1},     {5, 7, 33, 37, 1, 1, 1},  {6, 5, 96, 64, 1, 1, 1},
      {9, 8, 3, 24, 3, 2, 1},    {6, 6, 20, 17, 3, 1, 1},  {9, 10, 40, 40, 3, 1, 40},
      {9, 10, 40, 40, 3, 2, 40}, {8, 7, 65, 65, 5, 1, 65}, {8, 7, 33, 33, 5, 2, 33},
      {7, 9, 64, 64, 3, 1, 8},   {7, 9, 32, 32, 3, 2, 8},  {6, 6, 48, 48, 3, 1, 12},
      {6, 7, 32, 64, 1, 1, 2},   {5, 5, 12, 12, 7, 1, 12}};
  std::mt19937 random(1);
  int wrong = 0;
  for (Isa isa : isa_levels()) {
    int cases = 0, bad = 0;
    std::string ran;
    for (const Shape& shape : shapes) {
      for (int greatest : {30, 90, 127}) {
        Case c(shape, greatest, random);
        std::string kernel, plain;
        bad += c.run(isa_name(isa), kernel) != c.run("scalar", plain);
        ++cases;
        if (ran.find(kernel) == std::string::npos) ran += " " + kernel;
      }
    }
    std::printf("level %s: %d cases, %d wrong:%s\n", isa_name(isa), cases, bad, ran.c_str());
    wrong += bad;
  }
  return wrong;
}

}  // namespace
}  // namespace lightkern

int main() {
  const int wrong = lightkern::compare();
  std::printf(wrong ? "FAILED\n" : "all levels exact\n");
  return wrong != 0;
}
