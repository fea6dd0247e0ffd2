"""ONNX files with one defect each: the exception that names it; external data, and the extra that is missing."""

from __future__ import annotations

import builtins
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import ints, model, node, single, small_network, weights

import lightkern as lk


@pytest.mark.parametrize(
    ("source", "message"),
    [(b"", "no graph"), (b"not a model", "not an ONNX model"), (onnx.ModelProto(), "no graph")],
)
def test_not_a_model(source, message):
    with pytest.raises(lk.FormatError, match=message):
        lk.load_onnx(source)


@pytest.mark.parametrize("source", [None, 3, ["x"]])
def test_wrong_type_of_source(source):
    with pytest.raises(TypeError, match="load_onnx takes"):
        lk.load_onnx(source)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        lk.load_onnx(tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Relu", "b", "a"), node("Relu", "a", "b"), node("Add", "x b", "y")], "cycle"),
        ([node("Relu", "x", "y"), node("Neg", "x", "y")], "'y' is defined twice"),
        ([node("Relu", "x", "x"), node("Neg", "x", "y")], "'x' is defined twice"),
        ([node("Relu", "nowhere", "y")], "'nowhere' is not defined"),
        ([node("Relu", "x", "z")], "output 'y' is not defined"),
        ([node("Relu", "x x", "y")], "takes 1 to 1 inputs, has 2"),
        ([node("Relu", "-", "y")], "input 0 is missing"),
        ([node("Conv", "x", "y")], "inputs, has 1"),
        ([node("Relu", "x", "y", slope=1.0)], "unknown attribute 'slope'"),
        ([node("Concat", "x x", "y")], "'axis' is missing"),
        ([node("Concat", "x x", "y", axis=9)], "axis 9 is outside"),
        ([node("Concat", "x x", "y", axis=1.0)], "'axis' has type"),
        ([node("Transpose", "x", "y", perm=[0, 1, 1, 2])], "not a permutation"),
        ([node("MaxPool", "x", "y", kernel_shape=[2])], "two positive numbers"),
        ([node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[0, 1])], "two positive numbers"),
        ([node("MaxPool", "x", "y", kernel_shape=[2, 2], auto_pad="SAME")], "unknown auto_pad"),
    ],
)
def test_malformed_nodes(nodes, message):
    with pytest.raises(lk.FormatError, match=message):
        lk.load_onnx(model(nodes, {"x": (3, 4, 4)}))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("LRN", "x", "y", size=3)], r"node 'the_LRN' \(LRN\): this operator is not supported"),
        ([node("NoSuchOp", "x", "y")], "no such operator"),
        ([helper.make_node("Conv", ["x"], ["y"], domain="com.example")], "com.example.Conv.*standard ONNX domain"),
    ],
)
def test_unsupported_nodes_are_named(nodes, message):
    with pytest.raises(lk.UnsupportedError, match=message):
        lk.load_onnx(model(nodes, {"x": (3, 4, 4)}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["w0", "b0", "s", "var", "w2"])
def test_weights_that_are_not_finite_name_the_tensor(value, name):
    proto = small_network()
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[array.size // 2] = value
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    with pytest.raises(ValueError, match=rf"'{name}'\[.*\] is (nan|-?inf), must be finite"):
        lk.load_onnx(proto)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_attributes_must_be_finite(value):
    with pytest.raises(ValueError, match=r"'alpha' is (nan|inf), must be finite"):
        lk.load_onnx(single("Elu", {"x": (3,)}, alpha=value))


def test_negative_variance_names_the_tensor():
    proto = small_network()
    tensor = next(t for t in proto.graph.initializer if t.name == "var")
    tensor.CopyFrom(numpy_helper.from_array(np.full(8, -1, np.float32), "var"))
    with pytest.raises(ValueError, match=r"'var'.*is nan"):
        lk.load_onnx(proto)


@pytest.mark.parametrize("opset", [1, 5, 1000])
def test_other_opsets_are_refused(opset):
    proto = single("Relu", {"x": (3, 4, 4)})
    proto.opset_import[0].version = opset
    with pytest.raises(lk.UnsupportedError, match=f"opset {opset}"):
        lk.load_onnx(proto)


def test_no_opset():
    proto = single("Relu", {"x": (3, 4, 4)})
    del proto.opset_import[:]
    with pytest.raises(lk.FormatError, match="versions"):
        lk.load_onnx(proto)


@pytest.mark.parametrize("shape", [(3, 0, 4), (3, 2**40, 4), (2**15, 2**15, 2**15), (1, 2, 3, 4), ()])
def test_impossible_inputs(shape):
    with pytest.raises(lk.UnsupportedError, match="input 'x'"):
        lk.load_onnx(single("Relu", {"x": shape}))


def test_integer_inputs_are_refused():
    proto = single("Relu", {"x": (3, 4, 4)})
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(lk.UnsupportedError, match="uint8"):
        lk.load_onnx(proto)


@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("ConstantOfShape", {"s": ints(2**20, 2**20, 2**20)}, {}),
        ("ConstantOfShape", {"s": ints(-1)}, {}),
        ("Expand", {"a": np.float32([1]), "s": ints(2**31, 2**31)}, {}),
        ("Range", {"a": np.int64(0), "b": np.int64(2**62), "c": np.int64(1)}, {}),
        ("Range", {"a": np.float32(0), "b": np.float32(1), "c": np.float32(0)}, {}),
        ("Add", {"a": np.zeros((1, 20000), np.float32), "b": np.zeros((20000, 1), np.float32)}, {}),
        ("Div", {"a": ints(1), "b": ints(0)}, {}),
        ("Reshape", {"a": weights(6), "b": ints(4, -1)}, {}),
        ("Concat", {"a": weights(2, 2), "b": weights(3, 3)}, {"axis": 0}),
        ("Gather", {"a": weights(2), "b": ints(5)}, {}),
        ("Squeeze", {"a": weights(2, 2), "b": ints(0)}, {}),
        ("Transpose", {"a": weights(2, 2)}, {"perm": [0, 0]}),
    ],
)
def test_impossible_constants(op, constants, attributes):
    nodes = [node(op, " ".join(constants), "c", **attributes), node("Add", "x c", "y")]
    with pytest.raises(lk.FormatError, match=op):
        lk.load_onnx(model(nodes, {"x": (3, 4, 4)}, constants=constants))


def test_very_long_graphs_take_linear_time():
    count = 5_000
    nodes = [helper.make_node(("Neg", "Relu")[i % 2], [f"t{i}"], [f"t{i + 1}"]) for i in range(count)]
    start = time.process_time()
    lk.load_onnx(model(nodes, {"t0": (3,)}, [f"t{count}"]))
    assert time.process_time() - start < 15


# -- external data --------------------------------------------------------------------------------------------------


def external(tmp_path, **entries):
    """A model in tmp_path/model whose weight lies in tmp_path/model/w.bin; `entries` replace the reference."""
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    w = weights(4, 3, 1, 1)
    (folder / "w.bin").write_bytes(b"head" + w.tobytes())
    (tmp_path / "secret.bin").write_bytes(b"head" + w.tobytes())
    proto = single("Conv", {"x": (3, 4, 4)}, {"w": w})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    values = {"location": "w.bin", "offset": "4", "length": str(w.nbytes)} | entries
    for key, value in values.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    return folder / "m.onnx", w


def test_external_data(tmp_path):
    path, w = external(tmp_path)
    for source in (path, str(path)):
        np.testing.assert_array_equal(lk.load_onnx(source).nodes[0].params["weight"], w.transpose(0, 2, 3, 1))


def test_external_data_needs_a_path(tmp_path):
    path, _ = external(tmp_path)
    with pytest.raises(lk.FormatError, match=r"'w'.*loaded from a path"):
        lk.load_onnx(path.read_bytes())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../secret.bin"}, "inside"),
        ({"location": "sub/../../secret.bin"}, "inside"),
        ({"location": "/etc/passwd"}, "inside"),
        ({"location": ""}, "inside"),
        ({"location": "."}, "inside"),
        ({"location": "w.bin\0"}, "inside"),
        ({"location": "absent.bin"}, "fewer than"),
        ({"offset": "5"}, "fewer than"),
        ({"offset": "-4"}, "offset"),
        ({"offset": "many"}, "must be numbers"),
        ({"length": "4"}, "needs 48 bytes"),
        ({"offset": str(2**70)}, "fewer than"),
    ],
)
def test_external_data_stays_in_its_folder_and_size(tmp_path, entries, message):
    path, _ = external(tmp_path, **entries)
    with pytest.raises(lk.FormatError, match=rf"initializer 'w'.*{message}"):
        lk.load_onnx(path)


def test_external_data_behind_a_link_is_refused(tmp_path):
    path, _ = external(tmp_path, location="link.bin")
    (path.parent / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(lk.FormatError, match="inside"):
        lk.load_onnx(path)


# -- the extra ------------------------------------------------------------------------------------------------------


def test_importing_lightkern_does_not_import_onnx():
    code = "import lightkern, sys; sys.exit('onnx' in sys.modules or 'google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **named):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(lk.MissingExtraError, match=r"pip install 'lightkern\[onnx\]'"):
        lk.load_onnx("model.onnx")
