"""The innermost loops of the 64-bit Arm kernels that multiply, as the compiler makes them: for cycles.py."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions"]
FLAGS += ["-fno-rtti", "-fno-asynchronous-unwind-tables", "-fno-threadsafe-statics"]
FLAGS += ["-fno-inline-functions-called-once"]  # a hot tile is a function of its own then, and has a name
MULTIPLY = re.compile(r"(sdot|udot|smmla|smull2?|smlal2?|smlsl2?|umull2?|umlal2?|mul|mla|mls|sqdmulh)\s+v")
BRANCH = re.compile(r"(?:b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+([0-9a-f]+)")
LEAVE = re.compile(r"(bl|blr|br|ret)\b")


@dataclass(frozen=True)
class Loop:
    """An innermost loop of an object file."""

    op: str
    isa: str
    function: str
    body: tuple[str, ...]  # instructions of one turn, the branch back last

    @property
    def multiplies(self) -> list[str]:
        """Mnemonics of its multiplies."""
        return [m[1] for m in map(MULTIPLY.match, self.body) if m]

    @property
    def on_stack(self) -> int:
        """Instructions that touch the stack: spilled registers."""
        return sum("[sp" in line for line in self.body)


def isa_flags() -> dict[str, list[str]]:
    """Compiler flags of the Arm rows of isa.inc."""
    text = (ROOT / "csrc/base/isa.inc").read_text()
    rows = re.findall(r'^LIGHTKERN_ISA\((\w+), arm, "([^"]*)"\)', text, re.MULTILINE)
    return {name: flags.split() for name, flags in rows}


def disassemble(compiler: str, objdump: str, source: Path, flags: list[str]) -> str:
    """Compile one kernel file and return its disassembly."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.o"
        command = [compiler, *FLAGS, *flags, "-I", str(ROOT / "csrc"), "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        command = [objdump, "-d", "-C", "--no-show-raw-insn", str(target)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def turn(lines: list[tuple[int, str]], targets: list[int | None], start: int, end: int) -> tuple[int, ...]:
    """The instructions of one turn of the loop from `start` to the branch back at `end`; empty if it must call.

    Of the ways through, the one with most multiplies, and among those the shortest: rarer cases store in more steps.
    """
    best: dict[int, tuple[int, int]] = {end: (0, 1)}  # of the way from here: multiplies, instructions
    following: dict[int, int] = {}
    for i in range(end - 1, start - 1, -1):
        text, target = lines[i][1], targets[i]
        ways = [] if LEAVE.match(text) or re.match(r"b\s", text) else [i + 1]
        if target is not None and i < target <= end:
            ways.append(target)
        ways = [way for way in ways if way in best]
        if ways:
            following[i] = max(ways, key=lambda way: (best[way][0], -best[way][1]))
            multiplies, length = best[following[i]]
            best[i] = (multiplies + bool(MULTIPLY.match(text)), length + 1)
    if start not in best:
        return ()
    path = [start]
    while path[-1] != end:
        path.append(following[path[-1]])
    return tuple(path)


def innermost_loops(lines: list[tuple[int, str]]) -> Iterator[tuple[str, ...]]:
    """One turn of each loop that multiplies and has no other such loop inside."""
    index = {address: i for i, (address, _) in enumerate(lines)}
    branches = [BRANCH.match(text) for _, text in lines]
    targets = [index.get(int(branch[1], 16)) if branch else None for branch in branches]
    loops = []
    for end, start in enumerate(targets):
        if start is not None and start < end:
            path = turn(lines, targets, start, end)
            if any(MULTIPLY.match(lines[i][1]) for i in path):
                loops.append((start, end, path))
    for start, end, path in loops:
        inside = [other for other in loops if start <= other[0] and other[1] <= end and other[:2] != (start, end)]
        if not inside:
            yield tuple(lines[i][1] for i in path)


def loops_of(op: str, isa: str, disassembly: str, least: int) -> list[Loop]:
    """Innermost loops with at least `least` multiplies; of each function the one with most, and then the shortest."""
    found: list[Loop] = []
    for part in re.split(r"\n(?=[0-9a-f]+ <)", disassembly):
        head = re.match(r"[0-9a-f]+ <(.*)>:", part)
        if not head:
            continue
        lines = [
            (int(a, 16), re.split(r"\s*(?://|;|<)", t)[0])
            for a, t in re.findall(r"^\s+([0-9a-f]+):\s+(.*)$", part, re.M)
        ]
        name = re.sub(r"lightkern::|\(anonymous namespace\)::|^void | \[clone.*|\(lightkern::Last\)", "", head[1])
        loops = [Loop(op, isa, re.sub(r"\(.*", "", name), body) for body in innermost_loops(lines)]
        loops = [loop for loop in loops if len(loop.multiplies) >= least]
        if loops:
            found.append(max(loops, key=lambda loop: (len(loop.multiplies), -len(loop.body))))
    return found
