"""Sessions on files and on buffers: without NumPy, with the bits of every other way, and with an error for all else."""

from __future__ import annotations

import array
import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Net, inputs
from forge import reseal, small_model
from random_network import random_model

import lightkern as lk
from lightkern import reference
from lightkern.model import Model
from lightkern.opset import MODEL_OPS
from lightkern.packed import PackedModel, _quantized
from lightkern.session import Session

WITHOUT_NUMPY = """
import math, mmap, sys
import lightkern as lk

ITEM = {"f": 4, "b": 1}
for folder in sys.argv[1:]:
    session = lk.Session(folder + "/model.lk", threads=2)
    for format in ITEM:
        def empty(port):  # alternating kinds of memory
            shape = (3, *port.api_shape)
            pages = mmap.mmap(-1, math.prod(shape) * ITEM[format])
            return memoryview(pages).cast(format, shape)
        x = {}
        for port in session.packed.inputs:
            x[port.name] = empty(port)
            with open(f"{folder}/{port.name}.{format}", "rb") as file:
                file.readinto(x[port.name].cast("B"))
        out = {port.name: empty(port) for port in session.packed.outputs}
        assert session.run(x, out=out) is out
        for name, y in out.items():
            with open(f"{folder}/{name}.{format}", "wb") as file:
                file.write(y)
assert "numpy" not in sys.modules, [name for name in sys.modules if name.startswith("numpy")][:5]
assert "lightkern.file_format" in sys.modules
"""


def two_inputs() -> Model:
    net = Net(np.random.default_rng(0))
    a, b = net.input((6, 5, 4), "NCHW"), net.input((6, 5, 1), "NCHW")
    y = net.binary("mul", net.conv2d(a, 4), b)
    return net.model(
        y, net.softmax(net.linear(net.move("reshape", [y], {"shape": [120], "order": "CHW"}), 10)), layout="NCHW"
    )


def named(ports: Any, values: Any) -> dict[str, np.ndarray]:
    return values if isinstance(values, dict) else {ports[0].name: values}


def test_no_numpy_and_the_same_bits(tmp_path: Path) -> None:
    """A process that loads files and runs them has not imported NumPy at its end; every op is among them."""
    rng = np.random.default_rng(1)
    models = [two_inputs(), *(random_model(rng, blocks=6) for _ in range(8))]
    assert {node.op for model in models for node in model.nodes} == MODEL_OPS.keys()
    wanted = {}
    for i, model in enumerate(models):
        folder = tmp_path / str(i)
        folder.mkdir()
        model.save(folder / "model.lk")
        for kind, code in (("float32", "f"), ("int8", "b")):
            x = named(model.inputs, inputs(model, rng, n=3))
            if kind == "float32":
                x = {p.name: reference.dequantize(x[p.name], model.quants[p.tensor]) for p in model.inputs}
            for name, value in x.items():
                (folder / f"{name}.{code}").write_bytes(value.tobytes())
            for name, value in named(model.outputs, Session(model).run(x)).items():
                assert value.dtype == kind
                wanted[folder / f"{name}.{code}"] = value.tobytes()
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        WITHOUT_NUMPY,
        *(str(tmp_path / str(i)) for i in range(len(models))),
    ]
    subprocess.run(command, check=True)
    assert len(wanted) > 2 * len(models)
    for path, content in wanted.items():
        assert path.read_bytes() == content, path


def test_the_value_of_a_pad_is_quantized_as_defined() -> None:
    """Without NumPy, and as `reference.quantize` does it: halves to even, beyond the range, infinite in float32."""
    for scale in (0.5, 0.1, 3e-38, 3e38):
        for zero_point in (-128, -3, 0, 127):
            quant = lk.Quant(float(np.float32(scale)), zero_point)
            steps = np.concatenate([np.arange(-300, 300, 0.25), [1e-45, 1e6, 1e300 / scale if scale < 1 else 1]])
            for value in (steps * quant.scale).clip(-3.4028234e38, 3.4028234e38).tolist():
                assert _quantized(value, quant) == int(reference.quantize(np.array(value), quant)), (value, quant)


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()  # one input, one output, and an op of nearly every kind


@pytest.fixture(scope="module")
def file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "model.lk"
    model.save(path)
    return path


def test_a_path_stands_for_its_model(model: Model, file: Path) -> None:
    x = inputs(model, np.random.default_rng(2), n=2)
    wanted = reference.run(model, x)
    for path in (file, str(file)):
        np.testing.assert_array_equal(Session(path, threads=2, fuse=False).run(x), wanted)
        packed = PackedModel(path, isa="scalar", guarded=True)
        assert packed.inputs == tuple(model.inputs)
        assert packed.quants == PackedModel(model).quants
        np.testing.assert_array_equal(Session(packed).run(x), wanted)


def test_errors_of_paths(model: Model, file: Path, tmp_path: Path) -> None:
    """Those of `lightkern.load`, and none of a damaged file gets any further."""
    with pytest.raises(FileNotFoundError):
        Session(tmp_path / "missing.lk")
    with pytest.raises(IsADirectoryError):
        PackedModel(tmp_path)
    with pytest.raises(ValueError, match="null byte"):
        Session("a\0b")
    damaged = tmp_path / "damaged.lk"
    content = file.read_bytes()
    for wrong, match in (
        (content[:-1], "crc32"),
        (reseal(content[:-1]), "must end within"),
        (reseal(content.replace(b"softmax", b"softmin")), "unknown op, got 'softmin'"),
    ):
        damaged.write_bytes(wrong)
        for reader in (lk.load, Session, PackedModel):
            with pytest.raises(lk.FormatError, match=match) as caught:
                reader(damaged)
            assert str(caught.value).startswith(f"{damaged}: ")
    for no_model in (None, 3, file.read_bytes(), [file], lk.Graph("g", [], [], [])):
        for reader in (Session, PackedModel):
            with pytest.raises(TypeError, match=r"expected a lightkern.Model or the path of a .lk file, got"):
                reader(no_model)  # type: ignore[arg-type]


def test_every_rule_holds_for_memoryviews_too(model: Model, file: Path) -> None:
    """A model whose parameters are memoryviews is checked, saved, run and defined as one of arrays is."""
    views = small_model()
    for node in views.nodes:
        node.params = {key: memoryview(value) for key, value in node.params.items()}  # type: ignore[misc]
    assert views.validate() == model.validate()
    assert views.nbytes == model.nbytes
    views.save(file.with_name("views.lk"))
    assert file.with_name("views.lk").read_bytes() == file.read_bytes()
    x = inputs(model, np.random.default_rng(3))
    np.testing.assert_array_equal(reference.run(views, x), reference.run(model, x))
    np.testing.assert_array_equal(Session(views).run(x), reference.run(model, x))
    views.nodes[0].params["weight"] = memoryview(views.nodes[0].params["weight"].tobytes())
    with pytest.raises(ValueError, match=r"'weight' has shape .* expected 4 dimensions"):
        views.validate()
    views.nodes[0].params["weight"] = memoryview(np.zeros((4, 3, 3, 3), np.uint8))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="weight has dtype B, expected int8"):
        views.validate()


def test_an_array_of_any_layout_is_packed(model: Model) -> None:
    odd = small_model()
    for node in odd.nodes:
        for key, value in node.params.items():
            unaligned = np.frombuffer(b"\0" + value.tobytes(), np.uint8)[1:].view(value.dtype).reshape(value.shape)
            node.params[key] = unaligned if key != "weight" else np.asfortranarray(value)
    x = inputs(model, np.random.default_rng(4))
    np.testing.assert_array_equal(Session(odd).run(x), reference.run(model, x))


# Buffers -------------------------------------------------------------------------------------------------------------

SHAPE = (2, 3, 4)


@pytest.fixture(scope="module")
def session() -> Session:
    """x: (n, 3, 4), y: (n, 3, 2)."""
    net = Net(np.random.default_rng(5))
    return Session(net.model(net.linear(net.input((3, 4)), 2)))


def zeros(shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(("dtype", "code"), [(np.float32, "f"), (np.int8, "b")])
def test_any_kind_of_buffer(session: Session, dtype: Any, code: str) -> None:
    x = np.random.default_rng(6).normal(0, 40, SHAPE).astype(dtype)
    wanted = session.run(x)
    assert wanted.shape == (2, 3, 2)
    assert wanted.dtype == dtype
    pages = mmap.mmap(-1, x.nbytes)
    pages[:] = x.tobytes()
    plain = array.array(code, x.ravel().tolist())
    element = {"f": ctypes.c_float, "b": ctypes.c_int8}[code]
    foreign = (((element * 4) * 3) * 2).from_buffer_copy(x.tobytes())
    for source in (
        x,
        memoryview(x),
        memoryview(x.tobytes()).cast(code, SHAPE),  # read-only
        memoryview(plain).cast("B").cast(code, SHAPE),
        memoryview(pages).cast(code, SHAPE),
        foreign,
        x.view(np.recarray),
    ):
        y = np.zeros((2, 3, 2), dtype)
        view = memoryview(bytearray(y.nbytes)).cast(code, y.shape)
        target = (((element * 2) * 3) * 2)()
        assert session.run(source, out=y) is y
        assert session.run(source, out=view) is view
        assert session.run(source, out=target) is target
        np.testing.assert_array_equal(y, wanted)
        assert view.tobytes() == bytes(target) == wanted.tobytes()
        assert session(source).tobytes() == wanted.tobytes()
        by_name = {"output0": y}
        assert session.run({"input0": source}, out=by_name) is by_name


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        ([[1.0]], TypeError, "input 'input0': expected a NumPy array or another buffer, got list"),
        (None, TypeError, "got NoneType"),
        (1.5, TypeError, "got float"),
        ("text", TypeError, "got str"),
        (zeros(dtype=np.float64), TypeError, "input 'input0': expected dtype float32 or int8, got float64"),
        (zeros(dtype=np.uint8), TypeError, "got uint8"),
        (zeros(dtype=">f4"), TypeError, "got >f4"),
        (zeros(dtype="M8[s]"), TypeError, r"got datetime64\[s\]"),
        (zeros(dtype=object), TypeError, "got object"),
        (zeros().tobytes(), TypeError, r"got format 'B'; memoryview\(x\).cast\('f', shape\)"),
        (memoryview(bytes(24)).cast("B", SHAPE), TypeError, "got format 'B'"),
        (memoryview(array.array("d", [0] * 24)), TypeError, "got format 'd'"),
        (array.array("f", [0] * 24), ValueError, r"expected shape \(n, 3, 4\) with n >= 1, got \(24,\)"),
        (memoryview(bytes(4)).cast("f", []), ValueError, r"expected shape .*, got \(\)"),
        (zeros((2, 4, 3)), ValueError, r"expected shape \(n, 3, 4\) with n >= 1, got \(2, 4, 3\)"),
        (zeros((0, 3, 4)), ValueError, "with n >= 1"),
        (zeros((2, 3, 8))[:, :, ::2], ValueError, r"not C-contiguous \(strides \(96, 32, 8\)\)"),
        (np.broadcast_to(np.float32(0), SHAPE), ValueError, "not C-contiguous"),
        (memoryview(zeros())[::-1], ValueError, "not C-contiguous"),
        ({"x": zeros()}, ValueError, r"expected inputs \['input0'\], got \['x'\]"),
        ({}, ValueError, r"expected inputs \['input0'\], got \[\]"),
        ({"input0": [0.0]}, TypeError, "input 'input0': expected a NumPy array or another buffer, got list"),
    ],
)
def test_inputs_that_do_not_fit(session: Session, x: Any, error: type[Exception], match: str) -> None:
    for out in (None, zeros((2, 3, 2))):
        with pytest.raises(error, match=match):
            session.run(x, out=out)
    if x is not None:  # of which `profile` makes zeros
        with pytest.raises(error, match=match):
            session.profile(x)


@pytest.mark.parametrize(
    ("out", "error", "match"),
    [
        ([0.0] * 12, TypeError, "output 'output0': expected a NumPy array or another buffer, got list"),
        (
            zeros((2, 3, 2), np.int8),
            TypeError,
            "output 'output0': expected dtype float32, as that of the inputs, got int8",
        ),
        (zeros((2, 3, 2), np.int32), TypeError, "expected dtype float32 or int8, got int32"),
        (bytearray(48), TypeError, "got format 'B'"),
        (zeros((3, 3, 2)), ValueError, r"output 'output0': expected shape \(2, 3, 2\), got \(3, 3, 2\)"),
        (zeros((12,)), ValueError, r"expected shape \(2, 3, 2\), got \(12,\)"),
        (zeros((0, 3, 2)), ValueError, r"expected shape \(2, 3, 2\), got \(0, 3, 2\)"),
        (memoryview(bytes(48)).cast("f", (2, 3, 2)), ValueError, "output 'output0': is read-only"),
        (zeros((2, 3, 4))[:, :, :2], ValueError, "output 'output0': not C-contiguous"),
        (
            np.zeros(49, np.uint8)[1:].view(np.float32).reshape(2, 3, 2),
            ValueError,
            "no multiple of its elements' 4 bytes",
        ),
        ({"y": zeros((2, 3, 2))}, ValueError, r"expected outputs \['output0'\], got \['y'\]"),
        ({}, ValueError, r"expected outputs \['output0'\], got \[\]"),
    ],
)
def test_outputs_that_do_not_fit(session: Session, out: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        session.run(zeros(), out=out)


def test_an_unaligned_buffer_is_refused(session: Session) -> None:
    x = np.zeros(97, np.uint8)[1:].view(np.float32).reshape(SHAPE)
    assert not x.flags.aligned
    with pytest.raises(ValueError, match="no multiple of its elements' 4 bytes"):
        session.run(x)
    with pytest.raises(ValueError, match="no multiple of its elements' 4 bytes"):
        session.profile(x[:1])


def test_shared_memory(session: Session) -> None:
    """An output may lie beside an input, and not on a byte of it: a later image might be read from there."""
    memory = np.zeros(24 + 12, np.float32)
    x = memory[:24].reshape(SHAPE)
    wanted = session.run(x)
    np.testing.assert_array_equal(session.run(x, out=memory[24:].reshape(2, 3, 2)), wanted)
    for begin in (0, 11, 23):
        with pytest.raises(ValueError, match="output 'output0': shares memory with an input"):
            session.run(x, out=memory[begin : begin + 12].reshape(2, 3, 2))
    two = Session(two_inputs())
    a, b = zeros((1, 4, 6, 5)), zeros((1, 1, 6, 5))
    outputs = {port.name: zeros((1, *port.api_shape)) for port in two.packed.outputs}
    assert two.run({"input0": a, "input1": b}, out=outputs) is outputs
    with pytest.raises(ValueError, match="output 'output0': shares memory with an input"):
        two.run({"input0": a, "input1": b}, out={**outputs, "output0": a})
    shared = {**outputs, "output1": outputs["output0"].reshape(-1)[:10].reshape(1, 10)}
    with pytest.raises(ValueError, match="output 'output1': shares memory with output 'output0'"):
        two.run({"input0": a, "input1": b}, out=shared)
    with pytest.raises(TypeError, match=r"the model has 2 outputs \(output0, output1\): pass a dict"):
        two.run({"input0": a, "input1": b}, out=outputs["output0"])
    with pytest.raises(TypeError, match="inputs mix float32 and int8"):
        two.run({"input0": a, "input1": b.astype(np.int8)})
    with pytest.raises(ValueError, match="one batch size"):
        two.run({"input0": a, "input1": np.concatenate([b, b])}, out=outputs)


@pytest.mark.parametrize("index", [(0, 0, 0), (1, 2, 3), (1, 0, 2)])
def test_the_index_of_a_nan(session: Session, index: tuple[int, int, int]) -> None:
    x = zeros()
    x[index] = np.nan
    x[1, 2, 3] = np.nan
    for source in (x, memoryview(x)):
        with pytest.raises(ValueError, match=rf"input 'input0': NaN at index \[{index[0]}, {index[1]}, {index[2]}\]"):
            session.run(source, out=zeros((2, 3, 2)))


def test_buffers_that_are_gone(session: Session) -> None:
    released = memoryview(zeros())
    released.release()
    with pytest.raises(ValueError, match=r"input 'input0': .*released"):
        session.run(released)
    pages = mmap.mmap(-1, 96)
    pages.close()
    with pytest.raises(ValueError, match=r"input 'input0': .*closed"):
        session.run(pages)
