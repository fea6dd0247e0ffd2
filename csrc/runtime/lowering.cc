#include "runtime/lowering.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/add/add.h"

namespace lightkern {

Clamp make_clamp(const NodeDesc& node, const TensorView& out) {
  const std::vector<int64_t>& clamp = node.attr("clamp", 2);
  const int32_t lo = static_cast<int32_t>(std::clamp<int64_t>(clamp[0], -128, 127)) + kActOffset;
  const int32_t hi = static_cast<int32_t>(std::clamp<int64_t>(clamp[1], -128, 127)) + kActOffset;
  return {static_cast<float>(lo - out.zero_point), static_cast<float>(hi - out.zero_point),
          out.zero_point};
}

Clamp full_clamp(const TensorView& out) {
  return {static_cast<float>(kActMin - out.zero_point),
          static_cast<float>(kActMax - out.zero_point), out.zero_point};
}

MemoryTable::MemoryTable(const NodeDesc& table_node) {
  const int8_t* table = table_node.array<int8_t>("table", 256);
  for (int q = -128; q < 128; ++q) {
    const Act at = static_cast<Act>(q + kActOffset);
    values[static_cast<uint8_t>(at)] = static_cast<Act>(table[q + 128] + kActOffset);
  }
  fits = kActOffset != 0 && fit_table(values, &fit);  // no kernel on Arm has use for it
}

AddParams make_add(const NodeDesc& add_node, const TensorView& a, const TensorView& b,
                   const TensorView& out) {
  const float ma = a.scale / out.scale, mb = b.scale / out.scale;
  AddParams params = {ma,           add_node.op == "sub" ? -mb : mb, a.zero_point,
                      b.zero_point, make_clamp(add_node, out),       {}};
  if (kActOffset != 0) add::fit(params);  // no kernel on Arm has use for it
  return params;
}

int final_output(const Fused& fused) {
  if (fused.shuffle) return fused.shuffle->output;
  if (fused.add) return fused.add->output;
  if (fused.table) return fused.table->output;
  return fused.node->output;
}

Step start_step(const Fused& fused) {
  Step step;
  step.name = fused.node->name;
  step.op = fused.node->op;
  step.reads = fused.node->inputs;
  for (const NodeDesc* next : {fused.table, fused.add, fused.shuffle}) {
    if (!next) continue;
    step.name += " + " + next->name;
    step.op += " + " + next->op;
  }
  if (fused.add) step.reads.push_back(fused.residual);
  step.writes = final_output(fused);
  return step;
}

Split split_work(size_t total, double work_per_item, double min_work, size_t multiple) {
  const double items = std::ceil(min_work / std::max(work_per_item, 1.0));
  size_t per_unit = items >= static_cast<double>(total) ? total : static_cast<size_t>(items);
  per_unit = std::max<size_t>((per_unit + multiple - 1) / multiple * multiple, 1);
  return {total, per_unit, (total + per_unit - 1) / per_unit};
}

RowWork split_rows(const TensorView& y, bool flat, double work_per_byte) {
  const size_t channels = static_cast<size_t>(y.c);
  const double min_work =
      32768;  // bytes: some microseconds, which handing them to a thread is worth
  return {flat, channels,
          flat ? split_work(y.pixels() * channels, work_per_byte, min_work, 64)
               : split_work(y.pixels(), work_per_byte * y.c, min_work)};
}

Lower find_lowering(const std::string& op) {
  static const std::map<std::string, Lower> lowerings = {
      {"add", lower_binary},    {"avg_pool", lower_pool}, {"channel_shuffle", lower_shuffle},
      {"concat", lower_concat}, {"conv2d", lower_conv2d}, {"global_avg_pool", lower_pool},
      {"linear", lower_linear}, {"max_pool", lower_pool}, {"mul", lower_binary},
      {"pad", lower_pad},       {"prelu", lower_prelu},   {"reshape", lower_reshape},
      {"resize", lower_resize}, {"slice", lower_slice},   {"softmax", lower_softmax},
      {"sub", lower_binary},    {"table", lower_table},
  };
  const auto found = lowerings.find(op);
  return found == lowerings.end() ? nullptr : found->second;
}

}  // namespace lightkern
