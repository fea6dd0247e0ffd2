// The extension module lightkern._core; this folder is the only code that includes pybind11. It
// converts, checks dtype, shape and contiguity, and releases the GIL; every rule of the format
// lives in Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <utility>

#include "base/cpu.h"
#include "bindings/buffers.h"
#include "kernels/registry.h"
#include "runtime/plan.h"
#include "runtime/session.h"

namespace py = pybind11;

namespace lightkern {
namespace {

// Python's reference to a plan, which is immutable and shared.
struct PlanHandle {
  std::shared_ptr<const Plan> plan;
};

// What a plan or a run reads and writes, held until it is done; elements never move.
using HeldBuffers = std::deque<HeldBuffer>;

NodeDesc node_of(const py::dict& source, HeldBuffers& held) {
  NodeDesc node;
  node.op = py::cast<std::string>(source["op"]);
  node.name = py::cast<std::string>(source["name"]);
  node.inputs = py::cast<std::vector<int>>(source["inputs"]);
  node.output = py::cast<int>(source["output"]);
  node.ints = py::cast<std::map<std::string, std::vector<int64_t>>>(source["ints"]);
  for (const auto& item : py::cast<py::dict>(source["arrays"])) {
    const std::string key = py::cast<std::string>(item.first);
    held.emplace_back("node '" + node.name + "', " + key, py::cast<py::buffer>(item.second));
    node.arrays[key] = held.back().view();
  }
  return node;
}

PlanHandle plan_of(const py::list& tensors, const py::list& nodes, std::vector<int> inputs,
                   std::vector<int> outputs, const std::string& isa, const std::string& kernel,
                   bool guarded, bool fuse) {
  ModelDesc model;
  for (const py::handle& item : tensors) {
    const auto t = py::cast<std::tuple<std::string, int, int, int, float, int>>(item);
    model.tensors.push_back({std::get<0>(t), std::get<1>(t), std::get<2>(t), std::get<3>(t),
                             std::get<4>(t), std::get<5>(t)});
  }
  HeldBuffers held;
  for (const py::handle& item : nodes) {
    model.nodes.push_back(node_of(py::cast<py::dict>(item), held));
  }
  model.inputs = std::move(inputs);
  model.outputs = std::move(outputs);
  PlanOptions options;
  options.levels = allowed_levels(isa);
  options.kernel = kernel;
  options.guard = guarded ? Guard::kOn : Guard::kOff;
  options.fuse = fuse;
  py::gil_scoped_release release;
  return {make_plan(model, options)};
}

// Matches buffers against tensors: float32 or int8, C-contiguous, [n][h*w*c] elements.
std::vector<IoArray> io_arrays(const Plan& plan, const std::vector<int>& tensors,
                               const std::vector<py::buffer>& buffers,
                               const std::vector<bool>& channels_first, size_t batch, bool writable,
                               HeldBuffers& held) {
  if (buffers.size() != tensors.size() || channels_first.size() != tensors.size()) {
    throw py::value_error("expected " + std::to_string(tensors.size()) + " arrays");
  }
  std::vector<IoArray> out;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const TensorDesc& tensor = plan.tensors[static_cast<size_t>(tensors[i])];
    const std::string where = "array of tensor '" + tensor.name + "'";
    held.emplace_back(where, buffers[i]);
    const ArrayView& view = held.back().view();
    if (view.type == 'i') throw py::type_error(where + ": expected float32 or int8");
    if (static_cast<size_t>(view.elements()) != batch * tensor.elements()) {
      throw py::value_error(where + ": " + std::to_string(view.elements()) +
                            " elements, expected " + std::to_string(batch * tensor.elements()));
    }
    if (writable && !held.back().writable()) throw py::value_error(where + ": not writable");
    out.push_back({const_cast<void*>(view.data), view.type == 'f', channels_first[i]});
  }
  return out;
}

// An input that holds a NaN, and the index of its first one, counted in elements.
using FoundNan = std::optional<std::pair<int, size_t>>;

FoundNan run_session(Session& session, const std::vector<py::buffer>& inputs,
                     const std::vector<bool>& inputs_first, const std::vector<py::buffer>& outputs,
                     const std::vector<bool>& outputs_first, size_t batch) {
  const Plan& plan = session.plan();
  HeldBuffers held;
  const auto in = io_arrays(plan, plan.inputs, inputs, inputs_first, batch, false, held);
  const auto out = io_arrays(plan, plan.outputs, outputs, outputs_first, batch, true, held);
  py::gil_scoped_release release;
  const int bad = session.run(in, out, batch);
  if (bad < 0) return std::nullopt;
  const auto* values = static_cast<const float*>(in[static_cast<size_t>(bad)].data);
  const TensorDesc& tensor =
      plan.tensors[static_cast<size_t>(plan.inputs[static_cast<size_t>(bad)])];
  const float* end = values + batch * tensor.elements();
  const float* first = std::find_if(values, end, [](float x) { return std::isnan(x); });
  return {{bad, first == end ? 0 : static_cast<size_t>(first - values)}};  // somebody else wrote it
}

std::vector<double> time_session(Session& session, const std::vector<py::buffer>& inputs,
                                 const std::vector<bool>& inputs_first,
                                 const std::vector<py::buffer>& outputs,
                                 const std::vector<bool>& outputs_first) {
  const Plan& plan = session.plan();
  HeldBuffers held;
  const auto in = io_arrays(plan, plan.inputs, inputs, inputs_first, 1, false, held);
  const auto out = io_arrays(plan, plan.outputs, outputs, outputs_first, 1, true, held);
  std::vector<double> seconds;
  seconds.reserve(plan.steps.size() + 2);
  py::gil_scoped_release release;
  session.run(in, out, 1, &seconds);
  return seconds;
}

py::list describe_steps(const PlanHandle& handle) {
  const Plan& plan = *handle.plan;
  py::list out;
  for (const Step& step : plan.steps) {
    py::list rejected;
    for (const Rejection& r : step.rejected) {
      rejected.append(py::make_tuple(
          r.kernel, r.reason ? r.reason : "fits, but " + step.kernel + " is preferred"));
    }
    py::dict d;
    d["name"] = step.name;
    d["op"] = step.op;
    d["kernel"] = step.kernel;
    d["macs"] = step.macs;
    d["packed_nbytes"] = step.packed_bytes;
    d["units"] = step.units;
    d["shared"] = step.shared;
    d["output"] = plan.tensors[static_cast<size_t>(step.writes)].name;
    d["rejected"] = rejected;
    out.append(d);
  }
  return out;
}

py::list list_kernels() {
  py::list out;
  visit_kernels(
      [](void* context, const char* op, Isa isa, const char* name) {
        static_cast<py::list*>(context)->append(py::make_tuple(op, isa_name(isa), name));
      },
      &out);
  return out;
}

std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (Isa isa : isa_levels()) names.push_back(isa_name(isa));
  return names;
}

}  // namespace
}  // namespace lightkern

PYBIND11_MODULE(_core, m) {
  using namespace lightkern;
  m.doc() = "Kernels, plans and sessions of lightkern.";
  m.attr("__version__") = LIGHTKERN_VERSION;
  m.def("isa_levels", &level_names, "ISA levels that this CPU has, best first.");
  m.def("kernels", &list_kernels, "All compiled kernels: (op, isa, name).");
  m.def("extremes", &extremes, py::arg("buffer"),
        "(least, greatest) value of an int8, int32 or float32 buffer; NaN, NaN if it holds a NaN.");
  m.def("overlap", &overlap, py::arg("first"), py::arg("second"), "Whether two buffers overlap.");

  py::class_<PlanHandle>(m, "Plan")
      .def(py::init(&plan_of), py::kw_only(), py::arg("tensors"), py::arg("nodes"),
           py::arg("inputs"), py::arg("outputs"), py::arg("isa") = "", py::arg("kernel") = "",
           py::arg("guarded") = false, py::arg("fuse") = true)
      .def_property_readonly("steps", &describe_steps)
      .def_property_readonly("packed_nbytes",
                             [](const PlanHandle& h) { return h.plan->packed_bytes(); })
      .def_property_readonly("arena_nbytes",
                             [](const PlanHandle& h) { return h.plan->arena_bytes; })
      .def_property_readonly("least_arena_nbytes",
                             [](const PlanHandle& h) { return h.plan->least_arena_bytes; });

  py::class_<Session>(m, "Session")
      .def(py::init([](const PlanHandle& h, int threads) {
             return std::make_unique<Session>(h.plan, threads);
           }),
           py::arg("plan"), py::arg("threads"))
      .def_property_readonly("threads", &Session::threads)
      .def_property_readonly("arena_nbytes", &Session::arena_bytes)
      .def("run", &run_session, py::arg("inputs"), py::arg("inputs_channels_first"),
           py::arg("outputs"), py::arg("outputs_channels_first"), py::arg("batch"),
           "(input, element) of the first NaN of an input that holds one, or None.")
      .def("time", &time_session, py::arg("inputs"), py::arg("inputs_channels_first"),
           py::arg("outputs"), py::arg("outputs_channels_first"),
           "Seconds of each stage of one run: inputs, every step, outputs.");
}
