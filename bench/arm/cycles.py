"""Modelled cycles of the hot loops of the 64-bit Arm kernels, against what their multiplies alone would take.

Takes the innermost loops that multiply from every kernel file (loops.py), and lets llvm-mca run them on models of the
cores that would choose them. A model knows issue ports and latencies, but no cache miss: these are not times.
Cortex-A53 and A55 are modelled by in_order.py; their figures by llvm-mca are in the full tables alone. See README.md,
whose table of hot loops `--readme` writes anew.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import in_order
from loops import BRANCH, ROOT, Loop, disassemble, isa_flags, loops_of

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
