"""Modelled cycles of the hot loops of the 64-bit Arm kernels, against what their multiplies alone would take.

Compiles every kernel file for its ISA level, finds the innermost loops that multiply, and lets llvm-mca run them on
models of the cores that would choose them. A model knows issue ports and latencies, but no cache miss: these are not
times. Cortex-A53 and A55 are modelled by in_order.py; their figures by llvm-mca are in the full tables alone.
See README.md, whose table of hot loops `--readme` writes anew.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import in_order

ROOT = Path(__file__).resolve().parent.parent.parent
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions"]
FLAGS += ["-fno-rtti", "-fno-asynchronous-unwind-tables", "-fno-threadsafe-statics"]
FLAGS += ["-fno-inline-functions-called-once"]  # a hot tile is a function of its own then, and has a name
MULTIPLY = re.compile(r"(sdot|udot|smmla|smull2?|smlal2?|smlsl2?|umull2?|umlal2?|mul|mla|mls|sqdmulh)\s+v")
BRANCH = re.compile(r"(?:b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+([0-9a-f]+)")
LEAVE = re.compile(r"(bl|blr|br|ret)\b")
ITERATIONS = 200
MARKS = ("<!-- loops: begin -->", "<!-- loops: end -->")  # in README.md
VECTOR = re.compile(r"(?!ld|st)\S+\s+[vqdsbh]\d(?!.*, [wx]\d+$)")  # arithmetic on vectors
# The loops that inference spends its time in: what they do, and where to find them.
HOT = (
    ("gemm, 2 rows x 8 channels", "gemm", "neon", "gemm::run_2x8<false>"),
    ("gemm, 2 x 8, in order", "gemm", "neon", "gemm::run_2x8<true>"),
    ("dwconv 3x3 stride 1", "dwconv", "neon", "dwconv::run_3x3s1"),
    ("dwconv 3x3 stride 2", "dwconv", "neon", "dwconv::run_3x3s2"),
    ("dwconv 5x5 stride 1", "dwconv", "neon", "dwconv::run_5x5s1"),
    ("dwconv 5x5 stride 2", "dwconv", "neon", "dwconv::run_5x5s2"),
    ("gconv", "gconv", "neon", "gconv::run_block<gconv::Pair, gconv::run_chunks<gconv::Pair, 4>"),
    ("gemm, 4 x 24, rows in bundles", "gemm", "neondot", "gemm::run_4x24<true, false>"),
    ("gemm, 4 x 24, rows apart", "gemm", "neondot", "gemm::run_4x24<false, false>"),
    ("gemm, 4 x 16, rows in bundles", "gemm", "neondot", "gemm::run_4x16<true, false>"),
    ("gemm, 4 x 16, rows apart", "gemm", "neondot", "gemm::run_4x16<false, false>"),
    ("gemm, 8 x 8, rows in bundles", "gemm", "neondot", "gemm::run_8x8<true, false>"),
    ("gemm, 8 x 8, rows apart", "gemm", "neondot", "gemm::run_8x8<false, false>"),
    ("gemm, 4 x 24, in order, bundles", "gemm", "neondot", "gemm::run_4x24<true, true>"),
    ("gemm, 4 x 24, in order, rows apart", "gemm", "neondot", "gemm::run_4x24<false, true>"),
    ("gemm, 4 x 16, in order, bundles", "gemm", "neondot", "gemm::run_4x16<true, true>"),
    ("gemm, 4 x 16, in order, rows apart", "gemm", "neondot", "gemm::run_4x16<false, true>"),
    ("gemm, 8 x 8, in order, bundles", "gemm", "neondot", "gemm::run_8x8<true, true>"),
    ("gemm, 8 x 8, in order, rows apart", "gemm", "neondot", "gemm::run_8x8<false, true>"),
    ("dwconv 3x3 stride 1", "dwconv", "neondot", "dwconv::run_rows<3, 1, 2, 4>"),
    ("dwconv 3x3 stride 2", "dwconv", "neondot", "dwconv::run_rows<3, 2, 1, 4>"),
    ("dwconv 5x5 stride 1", "dwconv", "neondot", "dwconv::run_5x5s1"),
    ("dwconv 5x5 stride 2", "dwconv", "neondot", "dwconv::run_5x5s2"),
    ("dwconv 3x3 stride 1, in order", "dwconv", "neondot", "dwconv::run_3x3s1_half"),
    ("dwconv 3x3 stride 2, in order", "dwconv", "neondot", "dwconv::run_3x3s2_half"),
    ("dwconv 5x5 stride 1, in order", "dwconv", "neondot", "dwconv::run_5x5s1_half"),
    ("gconv", "gconv", "neondot", "gconv::run_block<gconv::Quad, gconv::run_chunks<gconv::Quad, 4>"),
)


@dataclass(frozen=True)
class Core:
    """A core, the model that stands for it, and how many multiplies of each kind it starts per cycle."""

    name: str
    model: str
    multiplies: int
    dots: int  # dot products; 0: it has none
    matrices: int  # matrix multiplies; 0: it has none
    since: int  # the first LLVM whose model of that name is the core's own
    pipes: int  # of vectors
    ordered: bool = False  # it issues in order, two instructions at once

    @property
    def levels(self) -> list[str]:
        """The ISA levels that it has, best first."""
        return ["i8mm"] * (self.matrices > 0) + ["neondot"] * (self.dots > 0) + ["neon"]


# Multiplies per cycle: Arm's software optimization guides of the cores.
CORES = (
    Core("Cortex-A53", "cortex-a53", 1, 0, 0, 4, 1, True),
    Core("Cortex-A72", "cortex-a72", 1, 0, 0, 10, 2),
    Core("Cortex-A55", "cortex-a55", 1, 1, 0, 12, 1, True),
    Core("Cortex-A76", "neoverse-n1", 1, 2, 0, 16, 2),
    Core("Neoverse-N2", "neoverse-n2", 1, 2, 2, 16, 2),
)


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


@dataclass(frozen=True)
class Estimate:
    """One loop on one core; cycles per iteration."""

    core: str
    op: str
    isa: str
    function: str
    instructions: int
    on_stack: int
    cycles: float
    ports: float  # what the model's ports need, if nothing waited
    bound: float  # what the multiplies need
    vectors: float  # what all arithmetic on vectors needs
    mca: float  # cycles by llvm-mca, which are the same unless the core issues in order

    @property
    def share(self) -> float:
        """How much of the modelled time the multiplies need by themselves."""
        return self.bound / self.cycles


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


def model(mca: str, core: Core, loop: Loop) -> Estimate:
    """Run llvm-mca on a loop, and the other model if the core issues in order."""
    kinds = loop.multiplies
    dots, matrices = sum(kind in ("sdot", "udot") for kind in kinds), kinds.count("smmla")
    bound = (len(kinds) - dots - matrices) / core.multiplies
    bound += (dots / core.dots if dots else 0.0) + (matrices / core.matrices if matrices else 0.0)
    body = [BRANCH.sub(lambda m: m[0][: m.start(1) - m.start()] + "0b", line) for line in loop.body]
    command = [mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={core.model}", "-mattr=+dotprod,+i8mm"]
    command += ["-json", f"-iterations={ITERATIONS}", "-"]
    done = subprocess.run(command, input="\n".join(["0:", *body, ""]), capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(f"{loop.op}/{loop.isa}.cc {loop.function} on {core.model}: {done.stderr.strip()[:300]}")
    report = json.loads(done.stdout)
    summary = report["CodeRegions"][0]["SummaryView"]
    size = (len(loop.body), loop.on_stack)
    vectors = sum(bool(VECTOR.match(line)) for line in loop.body) / core.pipes
    mca_cycles = summary["TotalCycles"] / ITERATIONS
    cycles = in_order.cycles(core.name, loop.body) if core.ordered else mca_cycles
    ports = summary["BlockRThroughput"]
    return Estimate(core.name, loop.op, loop.isa, loop.function, *size, cycles, ports, bound, vectors, mca_cycles)


def version_of(mca: str) -> int:
    """The major version of llvm-mca."""
    text = subprocess.run([mca, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"LLVM version (\d+)", text)
    if not found:
        raise RuntimeError(f"{mca} --version names no version: {text[:200]}")
    return int(found[1])


def compiler_version(compiler: str) -> str:
    """Its first line."""
    return subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout.split("\n", 1)[0]


def chosen(core: Core, loops: list[Loop]) -> list[Loop]:
    """Loops of the best level that both the core and the op have."""
    levels = {op: {loop.isa for loop in loops if loop.op == op} for op in {loop.op for loop in loops}}
    best = {op: next((level for level in core.levels if level in found), None) for op, found in levels.items()}
    return [loop for loop in loops if loop.isa == best[loop.op]]


def show(core: Core, rows: list[Estimate]) -> None:
    """A Markdown table of the loops on one core."""
    print(f"| {core.name} | instructions | on the stack | cycles | llvm-mca | ports alone | multiplies alone | share |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        cells = f"{r.instructions} | {r.on_stack} | {r.cycles:.1f} | {r.mca:.1f} | {r.ports:.1f} | {r.bound:.1f}"
        print(f"| {r.op}/{r.isa}.cc `{r.function}` | {cells} | {r.share:.0%} |")
    print()


def hot_table(isa: str, ops: list[str], cores: list[Core], rows: list[Estimate]) -> str:
    """A Markdown table of the hot loops of a level: on each core the cycles, and what they would be at best."""
    head, rule = "loop | instructions", "---|---"
    for core in cores:
        head += f" | {core.name}: multiplies | vectors | cycles | share"
        rule += "|---" * 4
    lines = [f"| {head} |", f"|{rule}|"]
    for label, op, level, function in HOT:
        if level != isa or op not in ops:
            continue
        cells = ""
        for core in cores:
            found = [r for r in rows if (r.core, r.op, r.isa, r.function) == (core.name, op, isa, function)]
            if not found:
                raise RuntimeError(f"no loop of {op}/{isa}.cc is in a function {function}")
            r = found[0]
            cells = cells or f"{label} | {r.instructions}"
            best = max(r.vectors, r.bound)
            cells += f" | {r.bound:.0f} | {best:.0f} | {r.cycles:.0f} | {r.share:.0%}, {best / r.cycles:.0%}"
        lines.append(f"| {cells} |")
    return "\n".join(lines) + "\n"


def hot_tables(ops: list[str], cores: list[Core], rows: list[Estimate]) -> str:
    """Of the levels that have hot loops, on the cores whose best level they are."""
    of = {isa: [core for core in cores if core.levels[0] == isa] for isa in dict.fromkeys(hot[2] for hot in HOT)}
    return "\n".join(hot_table(isa, ops, found, rows) for isa, found in of.items() if found)


def write_readme(text: str) -> None:
    """Replace what stands between the marks."""
    path = Path(__file__).resolve().parent / "README.md"
    before, rest = path.read_text().split(MARKS[0])
    path.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{rest.split(MARKS[1])[1]}")


def main() -> int:
    """Compile, model, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default="aarch64-linux-gnu-g++")
    parser.add_argument("--objdump", default="aarch64-linux-gnu-objdump")
    parser.add_argument("--mca", help="llvm-mca to use (default: the newest on the path)")
    parser.add_argument("--ops", nargs="+", default=["dwconv", "gconv", "gemm"], help="kernel folders")
    parser.add_argument("--least", type=int, default=8, help="multiplies that make a loop hot")
    parser.add_argument("--hot", action="store_true", help="print the hot loops alone")
    parser.add_argument("--readme", action="store_true", help="write the hot loops into README.md")
    parser.add_argument("--json", type=Path, help="write the estimates here too")
    args = parser.parse_args()
    newest = [f"llvm-mca-{version}" for version in range(30, 13, -1)]
    mca = args.mca or next((name for name in [*newest, "llvm-mca"] if shutil.which(name)), None)
    missing = [name for name in (args.compiler, args.objdump, mca or "llvm-mca") if not shutil.which(name)]
    if missing or mca is None:
        print(f"skipped: not installed: {', '.join(missing)}")
        return 0
    version = version_of(mca)
    cores = [core for core in CORES if core.since <= version]
    for core in CORES:
        if core not in cores:
            print(
                f"skipped: {core.name}: {mca} is LLVM {version}; its model {core.model} is its own since {core.since}"
            )
    work = []
    for isa, flags in isa_flags().items():
        work += [(op, isa, path, flags) for op in args.ops if (path := ROOT / f"csrc/kernels/{op}/{isa}.cc").exists()]
    with ThreadPoolExecutor(2) as pool:
        texts = pool.map(lambda item: disassemble(args.compiler, args.objdump, item[2], item[3]), work)
        loops = [
            loop
            for item, text in zip(work, texts, strict=True)
            for loop in loops_of(item[0], item[1], text, args.least)
        ]
        wanted = {hot[1:] for hot in HOT}
        work_of = [
            (core, loop)
            for core in cores
            for loop in chosen(core, loops)
            if not args.hot or (loop.op, loop.isa, loop.function) in wanted
        ]
        rows = list(pool.map(lambda pair: model(mca, *pair), work_of))
    for core in cores:
        if not args.hot:
            show(core, [row for row in rows if row.core == core.name])
    if args.hot:
        print(hot_tables(args.ops, cores, rows))
    if args.readme:
        write_readme(f"LLVM {version}, {compiler_version(args.compiler)}.\n\n{hot_tables(args.ops, cores, rows)}")
    if args.json:
        args.json.write_text(json.dumps([{**asdict(r), "share": r.share} for r in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
