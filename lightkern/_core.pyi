from collections.abc import Sequence
from typing import Any

from .graph import Array

__version__: str

def isa_levels() -> list[str]: ...
def kernels() -> list[tuple[str, str, str]]: ...

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
        inputs: Sequence[Array],
        inputs_channels_first: Sequence[bool],
        outputs: Sequence[Array],
        outputs_channels_first: Sequence[bool],
        batch: int,
    ) -> int: ...
    def time(
        self,
        inputs: Sequence[Array],
        inputs_channels_first: Sequence[bool],
        outputs: Sequence[Array],
        outputs_channels_first: Sequence[bool],
    ) -> list[float]: ...
