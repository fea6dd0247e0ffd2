"""The calibration pictures: checked, split into batches, and kept for as many passes as compression needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from ..graph import Array, Graph
from ..ports import named_inputs

__all__ = ["Calibration"]

SPOOL_BYTES = 512 << 20
"""Pictures beyond this many bytes wait in a temporary file rather than in memory."""

SAMPLED = 32
"""Pictures that passes use which hold the values of a tensor for all of their pictures at once."""


class Calibration:
    """Batches of canonical float32 inputs, iterable any number of times.

    Parameters
    ----------
    graph : Graph
        Its input ports define names, shapes and layout.
    source : ndarray, mapping or iterable
        An array [n, *api_shape]; a mapping of input names to such arrays; or an iterable (a generator too: it is
        consumed once) of either.
    batch_size : int
        Greatest number of pictures in a batch.

    Raises
    ------
    TypeError, ValueError
        If `source` is empty, or an item has a wrong type, name, dtype or shape, or contains NaN or infinity.
    """

    def __init__(self, graph: Graph, source: Any, batch_size: int) -> None:
        self.count = 0
        self._tensors = {port.name: port.tensor for port in graph.inputs}
        self._held: list[dict[str, Array] | dict[str, tuple[int, tuple[int, ...]]]] = []
        self._bytes = 0
        self._largest = 0
        self._file: IO[bytes] | None = None
        for position, item in enumerate(_items(source)):
            try:
                arrays = named_inputs(graph.inputs, item)
            except (TypeError, ValueError) as error:
                raise type(error)(f"calibration item {position}: {error}") from None
            for port in graph.inputs:
                _check_values(f"calibration item {position}, input {port.name!r}", arrays[port.name])
            size = len(next(iter(arrays.values())))
            self._largest = max(self._largest, min(size, batch_size))
            for begin in range(0, size, batch_size):
                batch = {
                    port.tensor: np.ascontiguousarray(
                        port.to_canonical(arrays[port.name][begin : begin + batch_size]), np.float32
                    )
                    for port in graph.inputs
                }
                self._keep(batch)
            self.count += size
        if not self.count:
            raise ValueError("calibration is empty: at least one picture is needed")

    def _keep(self, batch: dict[str, Array]) -> None:
        self._bytes += sum(x.nbytes for x in batch.values())
        if self._bytes <= SPOOL_BYTES:
            # An own copy: the caller's generator may reuse its buffer.
            self._held.append({name: x.copy() for name, x in batch.items()})
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="lightkern-calibration-")  # noqa: SIM115 (lives as long as self)
        places = {}
        for name, x in batch.items():
            places[name] = (self._file.tell(), x.shape)
            self._file.write(x.tobytes())
        self._held.append(places)

    @property
    def sampled(self) -> list[int]:
        """Indices of evenly spread batches of `SAMPLED` pictures together (at least one batch)."""
        count = min(len(self._held), max(SAMPLED // self._largest, 1))
        return [i * len(self._held) // count for i in range(count)]

    def batch(self, index: int) -> dict[str, Array]:
        """One batch: canonical float32 arrays by tensor."""
        held = self._held[index]
        return {name: x if isinstance(x, np.ndarray) else self._read(*x) for name, x in held.items()}

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return map(self.batch, range(len(self._held)))

    def _read(self, offset: int, shape: tuple[int, ...]) -> Array:
        assert self._file is not None
        self._file.seek(offset)
        raw = self._file.read(4 * int(np.prod(shape)))
        return np.frombuffer(raw, np.float32).reshape(shape)


def _items(source: Any) -> Iterable[Any]:
    if isinstance(source, (np.ndarray, Mapping)):
        return [source]
    if isinstance(source, (str, bytes)) or not isinstance(source, Iterable):
        raise TypeError(
            "calibration must be an array, a mapping of names to arrays, or an iterable of those, "
            f"got {type(source).__name__}"
        )
    return source


def _check_values(where: str, x: Array) -> None:
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{where}: expected real numbers, got dtype {x.dtype}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError(f"{where}: contains NaN or infinity")
