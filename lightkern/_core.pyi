from collections.abc import Sequence
from typing import Any

Buffer = Any
"""Whatever has the buffer protocol: a memoryview, a NumPy array, ..."""

__version__: str

def isa_levels() -> list[str]: ...
def kernels() -> list[tuple[str, str, str]]: ...
def extremes(buffer: Buffer) -> tuple[Any, Any]: ...
def overlap(first: Buffer, second: Buffer) -> bool: ...

class Plan:
    def __init__(
        self,
        *,
        tensors: Sequence[tuple[str, int, int, int, float, int]],
        nodes: Sequence[dict[str, Any]],
        inputs: Sequence[int],
        outputs: Sequence[int],
        isa: str = "",
        kernel: str = "",
        guarded: bool = False,
        fuse: bool = True,
    ) -> None: ...
    @property
    def steps(self) -> list[dict[str, Any]]: ...
    @property
    def packed_nbytes(self) -> int: ...
    @property
    def arena_nbytes(self) -> int: ...
    @property
    def least_arena_nbytes(self) -> int: ...

class Session:
    def __init__(self, plan: Plan, threads: int) -> None: ...
    @property
    def threads(self) -> int: ...
    @property
    def arena_nbytes(self) -> int: ...
    def run(
        self,
        inputs: Sequence[Buffer],
        inputs_channels_first: Sequence[bool],
        outputs: Sequence[Buffer],
        outputs_channels_first: Sequence[bool],
        batch: int,
    ) -> tuple[int, int] | None: ...
    def time(
        self,
        inputs: Sequence[Buffer],
        inputs_channels_first: Sequence[bool],
        outputs: Sequence[Buffer],
        outputs_channels_first: Sequence[bool],
    ) -> list[float]: ...
