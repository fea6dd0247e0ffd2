"""ONNX's own cases: node tests, networks converted from PyTorch, and the light_* networks with real-looking weights."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx_models import Array, compare, feeds_for, onnxruntime_session

import lightkern as lk

CASES = Path(onnx.__file__).parent / "backend" / "test" / "data"

# -- converted from PyTorch -----------------------------------------------------------------------------------------

CONVERTED = [
    "AvgPool1d",
    "AvgPool1d_stride",
    "AvgPool2d",
    "AvgPool2d_stride",
    "BatchNorm1d_3d_input_eval",
    "BatchNorm2d_eval",
    "BatchNorm2d_momentum_eval",
    "ConstantPad2d",
    "Conv2d",
    "Conv2d_depthwise",
    "Conv2d_depthwise_padded",
    "Conv2d_depthwise_strided",
    "Conv2d_depthwise_with_multiplier",
    "Conv2d_dilated",
    "Conv2d_groups",
    "Conv2d_groups_thnn",
    "Conv2d_no_bias",
    "Conv2d_padding",
    "Conv2d_strided",
    "ELU",
    "GLU",
    "GLU_dim",
    "LeakyReLU",
    "LeakyReLU_with_negval",
    "Linear",
    "Linear_no_bias",
    "MaxPool2d",
    "MaxPool2d_stride_padding_dilation",
    "PReLU_1d",
    "PReLU_1d_multiparam",
    "PReLU_2d",
    "PReLU_2d_multiparam",
    "PixelShuffle",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Tanh",
    "ZeroPad2d",
    "softmax_functional_dim3",
    "softmax_lastdim",
]


def tensor(path: Path) -> Array:
    return numpy_helper.to_array(TensorProto.FromString(path.read_bytes()))


def folder_case(folder: Path) -> tuple[onnx.ModelProto, list[Array], list[Array]]:
    """Model, inputs and expected outputs of a case that ONNX keeps in a folder."""
    inputs, outputs = (
        [tensor(p) for p in sorted(folder.glob(f"test_data_set_0/{n}_*.pb"))] for n in ("input", "output")
    )
    return onnx.load(folder / "model.onnx"), inputs, outputs


@pytest.mark.parametrize("name", CONVERTED)
def test_converted_from_pytorch(name):
    proto, inputs, outputs = folder_case(CASES / "pytorch-converted" / f"test_{name}")
    graph = lk.load_onnx(proto)
    assert len(inputs) == len(graph.inputs)
    feeds = dict(zip([p.name for p in graph.inputs], inputs, strict=True))
    compare(graph, feeds, dict(zip([p.name for p in graph.outputs], outputs, strict=True)), 1e-5)


def test_every_other_case_is_refused_by_name():
    others = [p for p in sorted((CASES / "pytorch-converted").iterdir()) if p.name[len("test_") :] not in CONVERTED]
    assert others
    for folder in others:
        with pytest.raises(lk.UnsupportedError, match=r"^(node|input)"):
            lk.load_onnx(folder / "model.onnx")


# -- node cases -----------------------------------------------------------------------------------------------------

MODULES = {
    "abs": 1,
    "averagepool": 11,
    "batch_normalization": 2,
    "clip": 3,
    "concat": 6,
    "conv": 3,
    "depthtospace": 2,
    "div": 1,
    "elu": 2,
    "flatten": 1,
    "gelu": 1,
    "gemm": 6,
    "globalaveragepool": 2,
    "globalmaxpool": 2,
    "hardsigmoid": 2,
    "hardswish": 1,
    "identity": 1,
    "leakyrelu": 2,
    "maxpool": 8,
    "neg": 1,
    "pad": 3,
    "prelu": 1,
    "reducemean": 2,
    "relu": 1,
    "reshape": 4,
    "resize": 18,
    "sigmoid": 1,
    "slice": 4,
    "softmax": 5,
    "softplus": 1,
    "spacetodepth": 4,
    "split": 3,
    "sub": 1,
    "tanh": 1,
    "transpose": 2,
    "unsqueeze": 2,
}
"""How many of ONNX's cases of these operators import, at least; the others are 1-D or 3-D, or mix the batch."""

ELSEWHERE = {
    "test_gelu_tanh_2": "the tanh form becomes the exact one",
    "test_resize_downsample_scales_linear_align_corners": "ONNX Runtime, and we, use the size rounded down",
    "test_averagepool_2d_ceil_last_window_starts_on_pad": "its expected values have four digits",
}


def node_cases(module: str) -> Iterator[tuple[str, onnx.ModelProto, list[Array], list[Array]]]:
    """ONNX's cases for one operator; inputs that are parameters become constants."""
    from onnx.backend.test.case.node import _NodeTestCases

    importlib.import_module(f"onnx.backend.test.case.node.{module}")
    for case in _NodeTestCases:
        if case.model is None or [n.op_type.lower() for n in case.model.graph.node] != [module.replace("_", "")]:
            continue
        inputs, outputs = case.data_sets[0]
        if not all(isinstance(v, (np.ndarray, np.generic)) for v in (*inputs, *outputs)):
            continue
        proto = onnx.ModelProto()
        proto.CopyFrom(case.model)
        fed = [inputs[0]]
        for info, value in zip(proto.graph.input[1:], inputs[1:], strict=True):
            if module in ("concat", "sub"):
                fed.append(value)
            else:
                proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
        yield case.name, proto, fed, outputs


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx")
def test_node_cases(module):
    imported = []
    for name, proto, inputs, outputs in node_cases(module):
        try:
            graph = lk.load_onnx(proto)
        except lk.UnsupportedError:
            continue
        if name in ELSEWHERE:
            continue
        feeds = dict(zip([p.name for p in graph.inputs], inputs, strict=True))
        tolerance = 1e-3 if "linear" in name else 1e-5  # fractions of a pixel are rounded to 1/2048
        compare(graph, feeds, dict(zip([p.name for p in graph.outputs], outputs, strict=True)), tolerance)
        imported.append(name)
    assert len(imported) >= MODULES[module], imported


# -- light networks -------------------------------------------------------------------------------------------------


def with_random_weights(path: Path, size: int) -> onnx.ModelProto:
    """The network with seeded weights in place of the constants it is filled with, which would hide every mix-up.

    Pictures shrink to `size`, and the last 7x7 pool becomes a global one, to save time.
    """
    proto = onnx.load(path)
    initialized = {t.name for t in proto.graph.initializer}
    (picture,) = (i for i in proto.graph.input if i.name not in initialized)
    for d in picture.type.tensor_type.shape.dim[2:]:
        d.dim_value = size
    for n in proto.graph.node:
        if n.op_type == "AveragePool" and any(list(a.ints) == [7, 7] for a in n.attribute):
            n.op_type = "GlobalAveragePool"
            del n.attribute[:]
    rng = np.random.default_rng(0)
    known = {t.name: t for t in proto.graph.initializer}
    fillers = {n.output[0]: n for n in proto.graph.node if n.op_type == "ConstantOfShape"}
    roles = {}
    for n in proto.graph.node:
        if n.op_type in ("Conv", "Gemm", "BatchNormalization"):
            roles |= {name: (n.op_type, i) for i, name in enumerate(n.input)}
    for name, filler in fillers.items():
        shape = numpy_helper.to_array(known[filler.input[0]])
        op, index = roles.get(name, ("", 0))
        if op in ("Conv", "Gemm") and index == 1:
            # fan-in scaling keeps the activations alive through all layers
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif op == "BatchNormalization" and index == 4:
            value = rng.uniform(0.5, 1.5, shape)
        elif op in ("Conv", "Gemm", "BatchNormalization") and index > 1:
            value = rng.standard_normal(shape) * 0.1
        else:
            value = rng.uniform(0.5, 1.5, shape)
        proto.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    kept = [n for n in proto.graph.node if n.op_type != "ConstantOfShape"]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto


LIGHT = {
    "squeezenet": {"conv2d": 26, "concat": 8, "max_pool": 3},
    "shufflenet": {"conv2d": 49, "channel_shuffle": 16, "add": 13},
    "resnet50": {"conv2d": 53, "add": 16, "linear": 1},
    "inception_v2": {"conv2d": 69, "concat": 10, "linear": 1},
    "densenet121": {"conv2d": 121, "concat": 58},
}


@pytest.mark.parametrize("name", LIGHT)
def test_light_networks(name):
    proto = with_random_weights(CASES / "light" / f"light_{name}.onnx", 224 if name == "shufflenet" else 96)
    graph = lk.load_onnx(proto)
    counts = [n.op for n in graph.nodes]
    assert {op: counts.count(op) for op in LIGHT[name]} == LIGHT[name]
    feeds = feeds_for(graph, 1, -1, 1)
    (expected,) = onnxruntime_session(proto.SerializeToString()).run(None, feeds)
    assert np.ptp(expected) > 0.3 * expected.max()
    compare(graph, feeds, {graph.outputs[0].name: expected}, 1e-4)


def test_vgg19_as_it_is():
    """Its 140 million weights come from ConstantOfShape; not run, only imported."""
    path = CASES / "light" / "light_vgg19.onnx"
    proto = onnx.load(path)
    for t in proto.graph.initializer:  # a smaller classifier
        if t.name and numpy_helper.to_array(t).tolist() in ([4096, 25088], [4096, 4096], [1000, 4096]):
            shape = {25088: [16, 25088], 4096: [16, 16]}[int(numpy_helper.to_array(t)[1])]
            t.CopyFrom(numpy_helper.from_array(np.array(shape, np.int64), t.name))
        elif numpy_helper.to_array(t).tolist() in ([4096], [1000]):
            t.CopyFrom(numpy_helper.from_array(np.array([16], np.int64), t.name))
    graph = lk.load_onnx(proto)
    assert [n.op for n in graph.nodes].count("conv2d") == 16
    assert graph.outputs[0].shape == (16,)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "inception_v1", "zfnet512"])
def test_networks_with_local_response_normalization_are_refused(name):
    with pytest.raises(lk.UnsupportedError, match=r"\(LRN\): this operator is not supported"):
        lk.load_onnx(CASES / "light" / f"light_{name}.onnx")
