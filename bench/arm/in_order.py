"""Cortex-A53 and A55, which issue in order, by rules that others measured on them or that Arm published.

llvm-mca cannot be believed for these two: see README.md, which also names the sources. `python in_order.py` compares
the model with sequences of instructions that were measured on a Cortex-A53.

Both cores start up to two neighbours per cycle. A vector unit has two halves of 64 bits: arithmetic on 128 bits takes
both and must come first in its cycle. One load may start per cycle, of 64 bits; longer ones start nothing else for as
many cycles as they need. Where the cores differ, `Core` says how. Caches and mispredicted branches are not modelled.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass

WARM_UP, TURNS = 10, 30
REGISTER = re.compile(r"\b([xwvqdshb])(\d+)\b|\b(sp)\b")
RANGE = re.compile(r"v(\d+)\.\w+\s*-\s*v(\d+)\.\w+")
# They read what they write: sums, and registers of which a part stays.
ACCUMULATE = re.compile(r"(sdot|udot|[su]ml[as]l2?|ml[as]|fml[as]|[su]adalp|\w*xtn2|tbx|bsl|bit|bif|movk)\b")
SETS_FLAGS = re.compile(r"(subs|adds|ands|cmp|cmn|tst|ccmp)\b")
READS_FLAGS = re.compile(r"(b\.\w+|csel|csinc|cset|ccmp)\b")
NO_RESULT = re.compile(r"(st\w*|cmp|cmn|tst|ccmp|b|b\.\w+|cbn?z|tbn?z|prfm|nop)$")
HALF = re.compile(r"\.(8b|4h|2s|1d)\b")
INSERT = re.compile(r"v\d+\.\w+\[\d+\], [wx]\d+$")  # ins, of a general register; also written mov


@dataclass(frozen=True)
class Core:
    """What differs between the two."""

    load_takes_half: bool  # a load of 64 bits to a vector register takes one half of the unit
    insert_takes_half: bool  # so does ins
    insert_waits: bool  # ins waits until the other half of its register is there
    forwards: bool  # a multiply adds to the sum of the one before it at once
    multiplies: int  # cycles until the result of a multiply, a sum of pairs, or any float operation
    other: int  # of other integer arithmetic
    permutes: int  # of what moves bytes
    general: int  # of a load to a general register, to ins
    vector: int  # of a load of 64 bits to a vector register; of 128 bits one more
    inserts: int  # of ins
    address: int  # of arithmetic, until it is an address


A53 = Core(True, True, False, False, 4, 4, 4, 3, 3, 2, 3)
A55 = Core(False, False, True, True, 4, 3, 3, 3, 3, 2, 2)
CORES = {"Cortex-A53": A53, "Cortex-A55": A55}


@dataclass(frozen=True)
class Cost:
    """What an instruction needs to start, and when its results are there."""

    halves: int = 0  # of the vector unit
    alone: int = 0  # cycles in which nothing else starts; 0: it may have a neighbour
    loads: bool = False
    latency: int = 1
    more: int = 0  # every further register comes so much later


def names(text: str) -> set[str]:
    """Registers in a piece of an instruction; halves of registers count as the whole."""
    spread = RANGE.sub(lambda m: ", ".join(f"v{i}" for i in range(int(m[1]), int(m[2]) + 1)), text)
    return {m[3] or ("x" if m[1] in "xw" else "v") + m[2] for m in REGISTER.finditer(spread)}


def ordered(text: str) -> list[str]:
    """The registers of a list, in its order."""
    spread = RANGE.sub(lambda m: ", ".join(f"v{i}" for i in range(int(m[1]), int(m[2]) + 1)), text)
    return [m[3] or ("x" if m[1] in "xw" else "v") + m[2] for m in REGISTER.finditer(spread)]


def split(line: str) -> tuple[str, str]:
    """Mnemonic and operands."""
    found = line.strip().split(None, 1)
    return found[0], found[1] if len(found) > 1 else ""


@dataclass(frozen=True)
class Effects:
    """What an instruction reads and writes."""

    reads: frozenset[str]
    address: frozenset[str]  # of what it reads
    writes: tuple[str, ...]  # in the order in which a load has them
    moves: frozenset[str]  # the address that it moves
    keeps: bool = False  # one half of what it writes stays


def effects(line: str) -> Effects:
    """Of one instruction."""
    mnemonic, operands = split(line)
    reads, address, moves, writes, keeps = names(operands), set[str](), set[str](), list[str](), False
    if "[" in operands and re.match(r"ld|st|prfm", mnemonic):
        first, _, behind = operands.partition("[")
        lane = re.search(r"\}\[\d+\], \[", operands)
        if lane:
            first, behind = operands[: lane.start()], operands[lane.end() :]
        address = names(behind)
        if re.search(r"\](!|,)", behind):
            moves = names(behind.partition("]")[0].partition(",")[0])
        reads = set(address)
        if mnemonic.startswith("ld"):
            writes, keeps = ordered(first), bool(lane)
        else:
            reads |= names(first)
    elif not NO_RESULT.match(mnemonic):
        target = operands.partition(",")[0]
        writes, keeps = ordered(target), bool(re.search(r"\[\d+\]$", target.strip()))
        if not ACCUMULATE.match(mnemonic):
            reads = names(operands.partition(",")[2])
    if SETS_FLAGS.match(mnemonic):
        writes.append("flags")
    if READS_FLAGS.match(mnemonic):
        reads.add("flags")
    return Effects(frozenset(reads), frozenset(address), tuple(writes), frozenset(moves), keeps)


def memory_cost(core: Core, mnemonic: str, operands: str) -> Cost:
    """Of a load or store."""
    registers = operands.partition("[")[0]
    count = max(1, len(ordered(registers)))
    if not re.search(r"\b[vqdshb]\d", registers):
        if mnemonic.startswith("ld"):
            return Cost(loads=True, latency=core.general, alone=0 if count == 1 else 2, more=1)
        return Cost(loads=True, alone=0 if count == 1 else 1)
    short = bool(re.search(r"\b[dshb]\d", registers) or HALF.search(registers) or "}[" in operands)
    if mnemonic.startswith("st"):  # 128 bits per cycle; st2 .. st4 interleave
        if mnemonic in ("st2", "st3", "st4"):
            return Cost(halves=2, alone=count + 1)
        return Cost(halves=1 if short else 2, alone=0 if count == 1 else count, loads=True)
    if mnemonic == "ld1r" or "}[" in operands:  # a neighbour of neither was seen
        return Cost(halves=2, alone=1, loads=True, latency=core.vector + 1)
    if short and count == 1:
        return Cost(halves=int(core.load_takes_half), loads=True, latency=core.vector)
    if short:
        return Cost(halves=2, alone=count, loads=True, latency=core.vector, more=1)
    return Cost(halves=2, alone=2 * count, loads=True, latency=core.vector + 1, more=2)


def cost(core: Core, line: str) -> Cost:
    """Of one instruction."""
    mnemonic, operands = split(line)
    if re.match(r"(ld|st)", mnemonic):
        return memory_cost(core, mnemonic, operands)
    if not re.search(r"\b[vqdshb]\d", operands):
        return Cost()
    if INSERT.search(operands):
        return Cost(halves=int(core.insert_takes_half), latency=core.inserts)
    if re.match(r"f|scvtf|ucvtf|[su]ml[as]l|[su]mull|ml[as]|mul|sdot|udot|[su]adalp|sq", mnemonic):
        latency = core.multiplies
    elif re.match(r"uzp|zip|trn|ext|tbl|rev|dup|movi|mov", mnemonic):
        latency = core.permutes
    else:
        latency = core.other
    widens = re.match(r"[su](mull|ml[as]l|addl|addw|shll|adalp)|[su]?xtl|\w*xtn", mnemonic)
    return Cost(halves=1 if HALF.search(operands.partition(",")[0]) and not widens else 2, latency=latency)


def adds_up(mnemonic: str) -> bool:
    """Whether it is a multiply that adds to what it writes."""
    return bool(re.match(r"[su]ml[as]l|ml[as]|sdot|udot", mnemonic))


def simulate(core: Core, body: tuple[str, ...], turns: int) -> list[int]:
    """The cycle in which each turn ends, that is, in which the next one could start."""
    costs, parts = [cost(core, line) for line in body], [effects(line) for line in body]
    ready: dict[str, int] = defaultdict(int)  # the cycle in which a register may be read
    summed: dict[str, int] = defaultdict(int)  # the same for sums, by the next multiply
    based: dict[str, int] = defaultdict(int)  # the same for addresses
    now = slots = halves = 0
    loading, written, ends = False, set[str](), list[int]()
    for _ in range(turns):
        for line, price, part in zip(body, costs, parts, strict=True):
            mnemonic = split(line)[0]
            at = now
            for name in part.reads:
                sum_only = adds_up(mnemonic) and name in part.writes
                at = max(at, summed[name] if sum_only else ready[name])
            for name in part.address:
                at = max(at, based[name])
            if part.keeps and core.insert_waits:
                at = max([at, *(ready[name] for name in part.writes)])
            first = price.halves == 2 or price.alone > 0
            full = slots == 2 or (first and slots > 0) or (price.loads and loading) or halves + price.halves > 2
            if at == now and (full or any(name in written for name in part.writes)):
                at = now + 1
            if at > now:
                now, slots, halves, loading, written = at, 0, 0, False, set()
            slots, halves, loading = slots + 1, halves + price.halves, loading or price.loads
            for i, name in enumerate(part.writes):
                kept = ready[name] if part.keeps else 0
                ready[name] = max(kept, now + price.latency + i * price.more)
                product = re.match(r"[su]mull", mnemonic) or adds_up(mnemonic)
                summed[name] = now + 1 if core.forwards and product else ready[name]
                based[name] = now + max(price.latency + i * price.more, core.address)
                written.add(name)
            for name in part.moves:
                ready[name] = based[name] = now + 1
            if price.alone:
                now, slots, halves, loading, written = now + price.alone, 0, 0, False, set()
        ends.append(now + (slots > 0))
    return ends


def cycles(name: str, body: tuple[str, ...]) -> float:
    """Cycles of one turn of a loop on a core."""
    ends = simulate(CORES[name], body, WARM_UP + TURNS)
    return (ends[-1] - ends[WARM_UP - 1]) / TURNS


# Cycles on a Cortex-A53, from daniestevez/qsdr: its sequences of vector instructions, but for some that repeat others.
# Two things there are not modelled: two additions start together even if one needs the other's result; and a loop that
# stores what arithmetic has just made, its kernel of rustc, takes 19 cycles here and 16 there.
MEASURED = (
    (2, "ldr d0, [x9]; fadd v1.4s, v1.4s, v1.4s"),
    (2, "ldr x0, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (1, "fadd v0.4s, v0.4s, v0.4s; ldr x0, [x9]"),
    (1, "ldr d0, [x9]; mov v1.d[1], x0"),
    (2, "ldr d0, [x9]; mov v0.d[1], x0"),
    (2, "ld1 {v0.d}[0], [x9]; mov v1.d[1], x0"),
    (2, "fadd v0.4s, v0.4s, v0.4s; str q1, [x9]"),
    (2, "mov v0.d[1], x0; str q1, [x9]"),
    (2, "ldr d0, [x9]; str d1, [x9, #64]"),
    (1, "fadd v0.4s, v0.4s, v0.4s; str x0, [x9]"),
    (2, "str x0, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (1, "fadd v0.2s, v0.2s, v0.2s; ldr d1, [x9]"),
    (1, "mov v0.d[1], x0; mov v1.d[1], x1"),
    (2, "mov v0.d[0], x0; mov v0.d[1], x1"),
    (3, "mov v0.d[1], x0; fadd v0.4s, v0.4s, v0.4s"),
    (2, "ldr q0, [x9]"),
    (5, "ldr q0, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (7, "ldr q0, [x9]; ldr q1, [x9]; fadd v1.4s, v1.4s, v1.4s"),
    (4, "ldr d0, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (4, "ldp q0, q1, [x9]"),
    (5, "ldp q0, q1, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (11, "ldp q0, q1, [x9]; ldp q2, q3, [x9]; fadd v3.4s, v3.4s, v3.4s"),
    (8, "ld1 {v0.4s-v3.4s}, [x9]"),
    (9, "ld1 {v0.4s-v3.4s}, [x9]; fadd v2.4s, v2.4s, v2.4s"),
    (11, "ld1 {v0.4s-v3.4s}, [x9]; fadd v3.4s, v3.4s, v3.4s"),
    (2, "ldp d0, d1, [x9]"),
    (4, "ldp d0, d1, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (4, "ldp d0, d1, [x9]; ldp d2, d3, [x9]"),
    (5, "ldp d0, d1, [x9]; ldp d2, d3, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (5, "ldp d0, d1, [x9]; ldp d2, d3, [x9]; fadd v1.4s, v1.4s, v1.4s"),
    (6, "ldp d0, d1, [x9]; ldp d2, d3, [x9]; fadd v2.4s, v2.4s, v2.4s"),
    (7, "ldp d0, d1, [x9]; ldp d2, d3, [x9]; fadd v3.4s, v3.4s, v3.4s"),
    (4, "ldr d0, [x9]; ldr d1, [x9]; ldr d2, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (5, "ldr d0, [x9]; ldr d1, [x9]; fadd v1.4s, v1.4s, v1.4s"),
    (4, "ldr d0, [x9]; ldr d1, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (2, "ldr d0, [x9]; ldr d0, [x9]"),
    (2, "fadd v0.4s, v0.4s, v0.4s; mov x0, v1.d[0]"),
    (2, "mov x0, v1.d[0]; fadd v0.4s, v0.4s, v0.4s"),
    (3, "mov v0.d[1], x0; mov v1.d[1], x1; mov v2.d[1], x2; mov v3.d[1], x3; fadd v0.4s, v0.4s, v0.4s"),
    (2, "str q1, [x9]; ldr d0, [x9, #16]"),
    (2, "ldr d0, [x9]; str q1, [x9]"),
    (2, "str q1, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (2, "str q1, [x9]; mov v0.d[1], x0"),
    (2, "str d1, [x9, #64]; ldr d0, [x9]"),
    (1, "ldr d1, [x9]; fadd v0.2s, v0.2s, v0.2s"),
    (2, "mov v1.d[1], x0; ld1 {v0.d}[0], [x9]"),
    (1, "mov v1.d[1], x0; ldr d0, [x9]"),
    (1, "str q0, [x9]"),
    (2, "str q0, [x9]; str q1, [x9]"),
    (2, "fadd v0.4s, v0.4s, v31.4s; fadd v1.4s, v1.4s, v31.4s"),
    (1, "add x0, x0, x0; add x1, x1, x1"),
    (1, "mov v0.d[1], x0"),
    (2, "fadd v1.4s, v1.4s, v1.4s; ldr d0, [x9]"),
    (5, "ld1 {v0.4s}, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (4, "ld1 {v0.4s-v1.4s}, [x9]"),
    (7, "ld1 {v0.4s-v1.4s}, [x9]; fadd v1.4s, v1.4s, v1.4s"),
    (9, "ldp q0, q1, [x9]; ldp q2, q3, [x9]; fadd v0.4s, v0.4s, v0.4s"),
    (9, "ldp q0, q1, [x9]; ldp q2, q3, [x9]; fadd v2.4s, v2.4s, v2.4s"),
    (
        16,
        "fmul v0.4s, v0.4s, v31.4s; ldr x0, [x9, #136]; fmul v1.4s, v1.4s, v31.4s; fmul v2.4s, v2.4s, v31.4s; "
        "ldr x1, [x9, #152]; fmul v3.4s, v3.4s, v31.4s; ldr x2, [x9, #168]; fadd v0.4s, v0.4s, v30.4s; "
        "ldr x3, [x9, #184]; fadd v1.4s, v1.4s, v30.4s; ldr x4, [x9, #176]; st1 {v4.4s-v7.4s}, [x9]; "
        "ldr d5, [x9, #144]; mov v7.d[1], x3; ldr d6, [x9, #160]; mov v5.d[1], x1; ldr d4, [x9, #128]!; "
        "mov v6.d[1], x2; mov v7.d[0], x4; mov v4.d[1], x0; fadd v2.4s, v2.4s, v30.4s; fadd v3.4s, v3.4s, v30.4s",
    ),
)


def main() -> int:
    """Print where model and measurement differ."""
    wrong = 0
    for expected, text in MEASURED:
        found = simulate(A53, tuple(text.split("; ")), 1)[0]
        wrong += found != expected
        print(f"{'' if found == expected else 'DIFFERS: '}{found} modelled, {expected} measured: {text}")
    print(f"{len(MEASURED) - wrong} of {len(MEASURED)} agree")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
