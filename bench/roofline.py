"""Attained against possible: the multiply-accumulate rate of every layer beside the ceilings of this CPU.

    python bench/roofline.py --models mobilenet_v2 --picture roofline.png

The ceilings come from ``ceilings.cc``, loops that touch registers only, compiled and run here. The layers come from
``Session.profile``, one thread. In the picture a layer is a box: its width is its time, its height its rate, so its
area is its work; the area above it, up to the ceiling of its arithmetic, is what remains to be gained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cases import ZOO, zoo_case, zoo_input
from packages import cached

from lightkern.compare.affinity import pin
from lightkern.compare.case import UnavailableError
from lightkern.compare.contenders import compressed_model

__all__ = ["LayerRate", "ceilings", "draw", "minor_shares", "rates", "shares", "table"]

SOURCE = Path(__file__).parent / "ceilings.cc"
TARGET_FLAGS = {"x86_64": ["-mavx2", "-mfma"], "amd64": ["-mavx2", "-mfma"], "aarch64": [], "arm64": []}
GROUPS = {"gemm": "#3b6ea5", "dwconv": "#d9822b", "gconv": "#7a4fa3", "other": "#8a8a8a"}
"""Colours by what the kernel is; "other" does no multiply-accumulate worth counting."""


@dataclass(frozen=True)
class LayerRate:
    """One step of a network.

    Attributes
    ----------
    group : {"gemm", "dwconv", "gconv", "other"}
        First part of the kernel's name; winograd is the matrix kernel that multiplies less than it is counted for, so
        that it may exceed its ceiling.
    seconds : float
        Median time of the step.
    gmacs : float
        Rate, 1e9 multiply-accumulates per second.
    ceiling : float
        Rate of the register-only loop that the step is held against: int8 products (those of VNNI for its kernels) for
        matrix kernels, float FMA for depthwise and group kernels; 0 for steps without products.
    single_row : bool
        Every weight meets one input: linear layers at batch 1, squeeze-and-excitation. Reading weights bounds these.
    """

    name: str
    op: str
    kernel: str
    group: str
    macs: float
    seconds: float
    gmacs: float
    ceiling: float
    single_row: bool = False

    @property
    def attained(self) -> float:
        """Share of the ceiling."""
        return self.gmacs / self.ceiling if self.ceiling else 0.0


def ceilings() -> dict[str, float]:
    """Measure the ceilings of one core, 1e9 MAC/s: "f32", "int16", "int8", on x86 "int8_small_weights".

    Where the CPU has VNNI, "int8_dot" is that of its dot products.

    Raises
    ------
    UnavailableError
        If there is no C++ compiler (``CXX``, ``c++``), or no loop for this CPU.
    """
    flags = TARGET_FLAGS.get(platform.machine().lower())
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if flags is None or compiler is None:
        raise UnavailableError(f"no ceilings: compiler {compiler}, machine {platform.machine()}")

    def build(path: Path) -> None:
        command = [compiler, "-O3", "-std=c++17", *flags, str(SOURCE), "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[:1]}")

    digest = hashlib.sha256(SOURCE.read_bytes() + compiler.encode()).hexdigest()[:8]
    program = cached(f"ceilings-{platform.machine()}-{digest}", build)
    found: dict[str, float] = json.loads(subprocess.run([program], capture_output=True, text=True, check=True).stdout)
    return found


def rates(model: Any, x: Any, limits: dict[str, float], repeat: int = 40) -> list[LayerRate]:
    """Profile a model on one thread and set each step against its ceiling."""
    import lightkern as lk

    pin(1)
    session = lk.Session(model, threads=1)
    rows = []
    for step in session.profile(x, repeat=repeat):
        first = step["kernel"].split("_")[0]
        group = {"winograd": "gemm"}.get(first, first)
        group = group if group in GROUPS and step["macs"] else "other"
        products = "int8_dot" if step["kernel"].endswith("vnni") else "int8"
        ceiling = {"gemm": limits[products], "other": 0.0}.get(group, limits["f32"])
        gmacs = step["macs"] / max(step["seconds"], 1e-9) / 1e9
        facts = (step["name"], step["op"], step["kernel"], group, step["macs"])
        single_row = 0 < step["macs"] <= step["packed_nbytes"]
        rows.append(LayerRate(*facts, step["seconds"], gmacs, ceiling, single_row))
    return rows


def table(name: str, rows: list[LayerRate], least_share: float = 0.01) -> str:
    """Steps for people, those below a share of the time summed up."""
    total = sum(r.seconds for r in rows)
    lines = [
        f"{name}: {total * 1e3:.2f} ms",
        f"{'step':40} {'kernel':30} {'time':>9} {'share':>6} {'GMAC/s':>7} {'of ceiling':>10}",
    ]
    for r in rows:
        if r.seconds >= least_share * total:
            attained = f"{r.attained:>10.0%}" if r.ceiling else ""
            step = r.name if len(r.name) <= 40 else "..." + r.name[-37:]
            lines.append(
                f"{step:40} {r.kernel or r.op:30} {r.seconds * 1e6:>6.0f} us {r.seconds / total:>6.1%}"
                f" {r.gmacs:>7.1f} {attained}".rstrip()
            )
    lines += [f"{group:8} {share:>6.1%} of the time" for group, share in shares(rows).items()]
    lines += ["  of these: " + ", ".join(f"{kind} {share:.1%}" for kind, share in minor_shares(rows).items())]
    return "\n".join(lines)


def shares(rows: list[LayerRate]) -> dict[str, float]:
    """Share of the time by group; what `minor_shares` counts is "other", whatever its kernel."""
    total = sum(r.seconds for r in rows)
    found = dict.fromkeys(GROUPS, 0.0)
    for r in rows:
        if r is not first_layer(rows) and not r.single_row:
            found[r.group] += r.seconds / total
    return {**found, "other": sum(minor_shares(rows).values())}


def first_layer(rows: list[LayerRate]) -> LayerRate | None:
    """The first step with products: that of the three input channels."""
    return next((r for r in rows if r.macs), None)


def minor_shares(rows: list[LayerRate]) -> dict[str, float]:
    """Share of the time of what is no convolution of many channels: by kind."""
    total = sum(r.seconds for r in rows)
    found = dict.fromkeys(("first layer", "linear, squeeze-excite", "pool, add, mul, shuffle", "quantize"), 0.0)
    for r in rows:
        if r is first_layer(rows):
            kind = "first layer"
        elif r.single_row:
            kind = "linear, squeeze-excite"
        elif r.op in ("quantize", "dequantize"):
            kind = "quantize"
        elif r.group == "other":
            kind = "pool, add, mul, shuffle"
        else:
            continue
        found[kind] += r.seconds / total
    return found


def draw(networks: dict[str, list[LayerRate]], limits: dict[str, float], path: Path) -> None:
    """Write the picture: a row per network."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UnavailableError(f"the picture needs matplotlib: {error}") from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    figure, axes = plt.subplots(
        len(networks), 1, figsize=(11, 2.6 * len(networks)), squeeze=False, layout="constrained"
    )
    for axis, (name, rows) in zip(axes[:, 0], networks.items(), strict=True):
        begin = 0.0
        for r in rows:
            width, height = r.seconds * 1e3, r.gmacs if r.group != "other" else 2.0
            axis.bar(begin, height, width, align="edge", color=GROUPS[r.group], edgecolor="white", linewidth=0.3)
            begin += width
        most = max(r.ceiling for r in rows)
        for limit, label in ((most, "int8 products"), (limits["f32"], "float FMA")):
            axis.axhline(limit, color="black", linewidth=0.8, linestyle="--")
            axis.text(begin, limit, f" {label}", va="center", fontsize=8)
        axis.set(xlim=(0, begin), ylim=(0, most * 1.1), ylabel="GMAC/s", title=f"{name}, {begin:.2f} ms")
    axes[-1, 0].set_xlabel("time, ms (one thread; steps in order of execution)")
    names = {"gemm": "pointwise, dense, linear", "dwconv": "depthwise", "gconv": "group", "other": "no products"}
    figure.legend(
        handles=[Patch(color=GROUPS[k], label=v) for k, v in names.items()], ncols=4, loc="outside lower center"
    )
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(ZOO), help="comma-separated (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=40, help="runs per network (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="write a picture to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    pin(1)
    try:
        limits = ceilings()
        print("ceilings, GMAC/s:", ", ".join(f"{key} {value:.1f}" for key, value in limits.items()), end="\n\n")
        networks = {}
        for name in arguments.models.split(","):
            networks[name] = rates(compressed_model(zoo_case(name)), zoo_input(), limits, arguments.repeat)
            print(table(name, networks[name]), end="\n\n", flush=True)
        if arguments.picture:
            draw(networks, limits, arguments.picture)
    except (UnavailableError, ValueError) as error:
        sys.exit(str(error))
    if arguments.json:
        content = {name: [asdict(r) for r in rows] for name, rows in networks.items()}
        arguments.json.write_text(json.dumps({"ceilings": limits, "networks": content}, indent=1) + "\n")


if __name__ == "__main__":
    main()
