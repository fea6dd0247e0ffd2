"""Every CPU gives the same bits: digests of outputs that each architecture, ISA level and number of threads must meet.

The other tests compare kernels with the reference on one machine; these digests were written on one machine and hold on
all. The models are files and the inputs integers, so that nothing depends on BLAS, libm or NumPy's random numbers
(data/make_models.py).
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import lightkern as lk
from lightkern import reference
from lightkern.demo import as_input, load_pictures
from lightkern.model import Model
from lightkern.opset import MODEL_OPS
from lightkern.packed import PackedModel
from lightkern.session import Session

PICTURES = 20
DIGESTS = {
    "demo": "e8820a85e1aa7b66c488d162988dc060eeeabbcadb3f15aef2bd64f10751546f",
    "random7": "ab930b221df0e1ce007fcc83ed5a5a8eec1464b87f0a851534ca7d0c4b5e7b1e",
    "random16": "8fad7893fab1464ad76f5b98257d73c0c86b90ec7bec301fc64ea9540c4a12c9",
    "random71": "473c435e222d34180dcf80537dc8cca79330a6dcfc3d99281eee542ae186f22a",
    "random101": "fa30c7e0df29118e869a79ce068534e6382f66a7d10db89fb6dbab25b29ce435",
}


def load(name: str, folder: Path) -> Model:
    """A model of the folder ``data``."""
    path = folder / f"{name}.lk"
    path.write_bytes(gzip.decompress((Path(__file__).parent / "data" / f"{name}.lk.gz").read_bytes()))
    return lk.load(path)


def int8_inputs(name: str, model: Model) -> Any:
    """Pictures for the demo network, a fixed pattern of all values for the others."""
    (port,) = model.inputs
    if name == "demo":
        return model.quants[port.tensor].quantize(as_input(load_pictures().test[:PICTURES]))
    i = np.arange(3 * np.prod(port.api_shape), dtype=np.uint64)
    values = (i * 2654435761 >> 24) & 255  # the golden ratio's hash
    return (values.astype(np.int16) - 128).astype(np.int8).reshape(3, *port.api_shape)


def digest(outputs: Any) -> str:
    """SHA-256 of all outputs' names, shapes and bytes."""
    state = hashlib.sha256()
    for name, value in (outputs if isinstance(outputs, dict) else {"": outputs}).items():
        assert value.dtype == np.int8
        state.update(f"{name}{value.shape}".encode())
        state.update(value.tobytes())
    return state.hexdigest()


@pytest.mark.parametrize("name", DIGESTS)
def test_digests(name, isa, tmp_path):
    model = load(name, tmp_path)
    x = int8_inputs(name, model)
    for fuse in (True, False):
        packed = PackedModel(model, isa=isa, fuse=fuse)
        for threads in (1, 2, 3):
            assert digest(Session(packed, threads=threads).run(x)) == DIGESTS[name], f"fuse={fuse}, {threads} threads"


@pytest.mark.parametrize("name", DIGESTS)
def test_reference_has_the_same_digests(name, tmp_path):
    model = load(name, tmp_path)
    assert digest(reference.run(model, int8_inputs(name, model))) == DIGESTS[name]


def test_float_pictures_take_the_same_way(isa, tmp_path):
    """Quantizing and dequantizing in the session is the model's own rule, so float32 outputs are as exact."""
    model = load("demo", tmp_path)
    session = Session(model, isa=isa, threads=2)
    logits = session.run(as_input(load_pictures().test[:PICTURES]))
    quant = model.quants[model.outputs[0].tensor]
    assert_array_equal(logits, quant.dequantize(session.run(int8_inputs("demo", model))))


def test_models_have_every_op_between_them(tmp_path):
    assert {node.op for name in DIGESTS for node in load(name, tmp_path).nodes} == set(MODEL_OPS)
