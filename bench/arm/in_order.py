"""A core that issues in order and waits for nothing but operands and units, with the latencies that llvm-mca reports.

llvm-mca's own model of such cores also lets results arrive in order only: an instruction whose result would be ready
before that of an earlier one waits. See README.md for why both are worth a look.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import Any

WIDTH = 2  # micro-operations per cycle
WARM_UP, TURNS = 10, 30
REGISTER = re.compile(r"\b([xwvqdshb])(\d+)\b|\b(sp)\b")
RANGE = re.compile(r"v(\d+)\.\w+-v(\d+)\.\w+")
# They read what they write: sums, and registers of which a part stays.
ACCUMULATE = re.compile(r"(sdot|udot|smmla|[su]ml[as]l2?|ml[as]|fml[as]|[su]adalp|\w*xtn2|ins|tbx|bsl|bit|bif|movk)\b")
SETS_FLAGS = re.compile(r"(subs|adds|ands|cmp|cmn|tst|ccmp)\b")
READS_FLAGS = re.compile(r"(b\.\w+|csel|csinc|cset|ccmp)\b")
NO_RESULT = re.compile(r"(st\w*|cmp|cmn|tst|ccmp|b|b\.\w+|cbn?z|tbn?z|prfm|nop)$")


def names(text: str) -> set[str]:
    """Registers in a piece of an instruction; halves of registers count as the whole."""
    spread = RANGE.sub(lambda m: ", ".join(f"v{i}" for i in range(int(m[1]), int(m[2]) + 1)), text)
    return {m[3] or ("x" if m[1] in "xw" else "v") + m[2] for m in REGISTER.finditer(spread)}


def effects(line: str) -> tuple[set[str], set[str], set[str]]:
    """What an instruction reads, what it writes, and the address that it moves."""
    mnemonic, _, operands = line.strip().partition("\t") if "\t" in line.strip() else line.strip().partition(" ")
    reads, writes, moves = names(operands), set[str](), set[str]()
    if "[" in operands and re.match(r"ld|st", mnemonic):
        first, _, address = operands.partition("[")
        if re.search(r"\](!|,)", address):
            moves = names(address.partition("]")[0].partition(",")[0])
        if mnemonic.startswith("ld"):
            writes, reads = names(first), names(address)
    elif not NO_RESULT.match(mnemonic):
        target = operands.partition(",")[0]
        writes = names(target)
        if not ACCUMULATE.match(mnemonic) and not re.search(r"\[\d+\]$", target.strip()):
            reads = names(operands.partition(",")[2])
    if SETS_FLAGS.match(mnemonic):
        writes.add("flags")
    if READS_FLAGS.match(mnemonic):
        reads.add("flags")
    return reads, writes, moves


def demands(region: dict[str, Any], resources: list[str], count: int) -> list[dict[str, list[float]]]:
    """Per instruction and kind of unit, cycles of each unit of that kind."""
    found: list[dict[str, list[float]]] = [defaultdict(list) for _ in range(count)]
    for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if entry["InstructionIndex"] < count:
            kind = resources[entry["ResourceIndex"]].partition(".")[0]
            found[entry["InstructionIndex"]][kind].append(entry["ResourceUsage"])
    return found


def cycles(body: tuple[str, ...], region: dict[str, Any], resources: list[str]) -> float:
    """Cycles of one turn of a loop, from llvm-mca's report on it."""
    information = region["InstructionInfoView"]["InstructionList"]
    units = demands(region, resources, len(body))
    parts = [effects(line) for line in body]
    free: dict[str, list[float]] = defaultdict(list)
    for name in resources:  # units of one kind differ behind a dot
        free[name.partition(".")[0]].append(0.0)
    ready: dict[str, float] = defaultdict(float)
    now, slots, ends = 0.0, WIDTH, []
    for _ in range(WARM_UP + TURNS):
        for i, (reads, writes, moves) in enumerate(parts):
            uops = min(information[i]["NumMicroOpcodes"], WIDTH)
            at = max([now, *(ready[name] for name in reads)])
            for kind, usage in units[i].items():
                taken = sorted(free[kind])
                at = max(at, taken[0] if sum(usage) <= 1 else taken[len(usage) - 1])
            if at > now:
                now, slots = at, WIDTH
            if slots < uops:
                now, slots = now + 1, WIDTH
            slots -= uops
            for kind, usage in units[i].items():
                busy = 1.0 if sum(usage) <= 1 else float(math.ceil(max(usage)))
                free[kind].sort()
                for unit in range(1 if sum(usage) <= 1 else len(usage)):
                    free[kind][unit] = now + busy
            for name in writes:
                ready[name] = now + information[i]["Latency"]
            for name in moves:
                ready[name] = now + 1
        ends.append(now)
    return (ends[-1] - ends[WARM_UP - 1]) / TURNS
