"""Read the tensors of a legacy ``torch.save`` file, and nothing else that a pickle could do.

The format (torch < 1.6) is five pickles in a row (magic number, protocol version, facts about the writer's machine, the
object, the list of storage keys), then for each key an int64 element count and the raw little-endian elements. A pickle
can name any importable callable; this unpickler admits exactly three names, all replaced by functions of this file.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_tensors"]

Array = npt.NDArray[Any]

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage:
    """Typed memory that tensors view; filled in after the object has been unpickled."""

    def __init__(self, dtype: np.dtype[Any], size: int) -> None:
        self.dtype, self.size = dtype, size
        self.values: Array | None = None


class _Tensor:
    """A view of a storage: offset, shape and stride in elements."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> None:
        if not isinstance(storage, _Storage) or len(shape) != len(stride):
            raise pickle.UnpicklingError("a tensor does not refer to a storage, or shape and stride disagree")
        if not all(isinstance(v, int) and v >= 0 for v in (offset, *shape, *stride)):
            raise pickle.UnpicklingError(f"tensor with offset {offset}, shape {shape}, stride {stride}")
        last = offset + sum((d - 1) * step for d, step in zip(shape, stride, strict=True))
        if last >= storage.size or 0 in shape:
            raise pickle.UnpicklingError(
                f"tensor of shape {shape}, stride {stride} does not fit {storage.size} elements"
            )
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def array(self) -> Array:
        if self.storage.values is None:
            raise pickle.UnpicklingError("the file has no elements for a storage")
        step = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :], self.shape, [s * step for s in self.stride], writeable=False
        )
        return np.array(view, order="C")


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return name
        allowed = {("torch._utils", "_rebuild_tensor_v2"): _Tensor, ("collections", "OrderedDict"): OrderedDict}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}; only tensors are admitted")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, size, view = pid
        if kind != "storage" or storage_type not in STORAGES or view is not None or not isinstance(size, int):
            raise pickle.UnpicklingError(f"unknown persistent object {pid!r}")
        return self.storages.setdefault(str(key), _Storage(STORAGES[storage_type], size))


def read_tensors(content: bytes) -> dict[str, Array]:
    """Tensors of a state dict.

    Parameters
    ----------
    content : bytes
        A whole legacy ``torch.save`` file.

    Returns
    -------
    dict of str to ndarray
        float32 or int64 arrays in the file's order.

    Raises
    ------
    pickle.UnpicklingError
        If the file is of another format, is truncated, or holds anything but tensors.
    """
    file = io.BytesIO(content)
    header = [_TensorUnpickler(file).load() for _ in range(3)]
    if header[0] != MAGIC or header[1] != PROTOCOL or not header[2].get("little_endian"):
        raise pickle.UnpicklingError(f"not a little-endian legacy torch file: {header}")
    unpickler = _TensorUnpickler(file)
    state = unpickler.load()
    for key in _TensorUnpickler(file).load():
        storage = unpickler.storages[str(key)]
        count = int.from_bytes(file.read(8), "little")
        raw = file.read(count * storage.dtype.itemsize)
        if count != storage.size or len(raw) != count * storage.dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} has {count} elements, {storage.size} are declared")
        storage.values = np.frombuffer(raw, storage.dtype)
    if not isinstance(state, dict) or not all(isinstance(v, _Tensor) for v in state.values()):
        raise pickle.UnpicklingError("the file does not hold a mapping from names to tensors")
    return {str(name): tensor.array() for name, tensor in state.items()}
