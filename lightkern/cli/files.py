"""Files that commands read and write: models, arrays, folders of pictures; outputs appear whole or not at all."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..atomic_file import replace_file
from ..errors import FormatError
from ..graph import Array, Graph, Port, load_graph
from ..model import Model, load
from .pictures import Preprocess, picture_files, read_picture, spatial_shape

Batch = dict[str, Array]


def load_model(path: Path) -> Model:
    """An int8 model from a ``.lk`` file; explains what to do with a float one."""
    if path.suffix.lower() == ".onnx":
        raise ValueError(f"{path}: is a float model; compress it first: lightkern compress {path} -o MODEL.lk ...")
    return load(path)


def load_float(path: Path) -> Graph:
    """A float network from an ``.onnx`` file, or a ``.lk`` file that holds one."""
    if path.suffix.lower() == ".lk":
        return load_graph(path)
    import lightkern as lk

    return lk.load_onnx(path)


def load_either(path: Path) -> Model | Graph:
    """An int8 or a float network from any file."""
    if path.suffix.lower() == ".onnx":
        return load_float(path)
    try:
        return load(path)
    except FormatError as error:
        try:
            return load_graph(path)
        except FormatError:
            raise error from None


def read_arrays(path: Path) -> dict[str, Array]:
    """Arrays of a ``.npy`` file (under the name "") or a ``.npz`` file (by name)."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise FormatError(f"{path}: not a readable .npy or .npz file ({error})") from None


class Inputs:
    """The examples of a file or folder, as batches for a model; can be iterated any number of times.

    Parameters
    ----------
    path : Path
        ``.npy``, ``.npz``, a picture, or a folder of pictures.
    ports : sequence of Port
        Inputs of the model.
    preprocess : Preprocess or None
        For pictures, also those stored as uint8 arrays [n, h, w] or [n, h, w, c].
    limit : int or None
        Use no more than this many examples.
    """

    def __init__(
        self, path: Path, ports: Sequence[Port], preprocess: Preprocess | None = None, limit: int | None = None
    ) -> None:
        self.ports, self.preprocess = ports, preprocess
        self.arrays: dict[str, Array] = {}
        self.files: list[Path] = []
        if path.suffix.lower() in (".npy", ".npz") and not path.is_dir():
            self.arrays = {name: x[:limit] for name, x in _match(path, read_arrays(path), ports).items()}
            if preprocess is not None and not self._are_pictures():
                kinds = ", ".join(str(x.dtype) for x in self.arrays.values())
                raise ValueError(f"{path}: --preprocess applies to pictures (uint8), the file holds {kinds}")
            if preprocess is None and any(x.dtype == np.uint8 for x in self.arrays.values()):
                raise ValueError(f"{path}: holds uint8 pictures: say --preprocess (for example imagenet, tf or unit)")
        else:
            self.files = (picture_files(path) if path.is_dir() else [path])[:limit]
            if len(ports) != 1:
                raise ValueError(f"{path}: pictures fit models of one input, this one has {len(ports)}: use .npz")
            if preprocess is None:
                raise ValueError(f"{path}: pictures need --preprocess (for example imagenet, tf or unit)")

    def _are_pictures(self) -> bool:
        return len(self.ports) == 1 and all(x.dtype == np.uint8 for x in self.arrays.values())

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.files) if self.files else len(next(iter(self.arrays.values())))

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of at most `size` examples, by input name."""
        for begin in range(0, len(self), size):
            if self.files:
                channels = spatial_shape(self.ports[0])[2]
                pictures = [read_picture(path, channels) for path in self.files[begin : begin + size]]
                yield self._prepare(pictures)
            elif self.preprocess is not None:
                pixels = next(iter(self.arrays.values()))[begin : begin + size]
                yield self._prepare([x if x.ndim == 3 else x[:, :, None] for x in pixels])
            else:
                yield {name: x[begin : begin + size] for name, x in self.arrays.items()}

    def _prepare(self, pictures: Sequence[Array]) -> Batch:
        assert self.preprocess is not None
        port = self.ports[0]
        return {port.name: np.stack([self.preprocess.apply(x, port) for x in pictures])}


def _match(path: Path, arrays: dict[str, Array], ports: Sequence[Port]) -> dict[str, Array]:
    """Name the arrays of a file after the inputs of the model, and check what can be checked before work starts."""
    names = [port.name for port in ports]
    if len(arrays) == 1 and len(names) == 1:
        arrays = {names[0]: next(iter(arrays.values()))}
    if set(arrays) != set(names):
        raise ValueError(f"{path}: holds {', '.join(map(repr, arrays)) or 'nothing'}, the model takes {names}")
    for name, x in arrays.items():
        if (x.dtype.kind != "f" and x.dtype not in (np.int8, np.uint8)) or x.ndim < 1:
            raise ValueError(
                f"{path}: array {name!r} is {x.dtype} of shape {x.shape}, expected [n, ...] of a float type, int8 "
                "(quantized) or uint8 (pictures)"
            )
        arrays[name] = np.ascontiguousarray(x, np.float32 if x.dtype.kind == "f" else x.dtype)
    lengths = {len(x) for x in arrays.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{path}: all arrays need one number of examples, at least 1, got {sorted(lengths)}")
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write one array to ``.npy``, or any number by name to ``.npz``; the file appears whole or not at all."""
    file = io.BytesIO()
    if path.suffix.lower() == ".npz":
        # Not numpy.savez: it cannot store an array named "file".
        with zipfile.ZipFile(file, "w") as archive:
            for name, x in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(x), allow_pickle=False)
    elif len(arrays) == 1:
        np.save(file, next(iter(arrays.values())))
    else:
        raise ValueError(f"{path}: the model has {len(arrays)} outputs ({', '.join(arrays)}): use a .npz file")
    replace_file(path, file.getvalue())
