"""Executed instructions per inference on 64-bit Arm, under emulation: lightkern beside LiteRT and ONNX Runtime.

One process per network and runtime infers several times and marks where each inference ends; the median of all but the
first ones counts. They are not times. See README.md, whose table `--readme` writes anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARM = HERE.parent.parent / ".cache" / "arm"
NETWORKS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2", "efficientnet_lite0")
WARM_UP, COUNTED = 2, 5  # inferences of a process
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")  # in README.md
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
DOT_FEATURES = f"{FEATURES} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Core:
    """What a program sees of a core: its part number and features, and the CPU of qemu that executes for it."""

    part: str
    features: str
    cpu: str


CORES = {
    "cortex-a53": Core("0xd03", FEATURES, "cortex-a53"),
    "cortex-a72": Core("0xd08", FEATURES, "cortex-a72"),
    "cortex-a76": Core("0xd0b", DOT_FEATURES, "cortex-a76"),
    # qemu 7.2 has no core with i8mm but max. LiteRT crashes there if it takes it for a Cortex-A710.
    "neoverse-n2": Core("0xd49", f"{DOT_FEATURES} i8mm", "max,sve=off,pauth-impdef=on"),
}


@dataclass(frozen=True)
class Contender:
    """One runtime on one file."""

    label: str
    runtime: str
    path: Path


def contenders(args: argparse.Namespace, network: str) -> list[Contender]:
    """All runtimes that have a file for this network."""
    found = [Contender("lightkern", "lightkern", args.models / f"{network}.lk")]
    if args.tflite:
        found.append(Contender("LiteRT s8", "litert", args.tflite / f"{network}.tflite"))
    if args.onnx:
        found.append(Contender("ORT f32", "onnxruntime", args.onnx / f"{network}.onnx"))
        for kind in ("u8s8", "s8s8"):
            files = args.onnx.glob(f"qdq/{network}-*.{kind}.onnx")
            found += [Contender(f"ORT {kind}", "onnxruntime", path) for path in files]
    return [c for c in found if c.path.exists() and c.label not in args.without]


def pretend(root: Path, core: str) -> None:
    """Write a /proc/cpuinfo of this core into the target's root: the peers choose their kernels by it."""
    fields = {
        "processor": "0",
        "BogoMIPS": "100.00",
        "Features": CORES[core].features,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x3",
        "CPU part": CORES[core].part,
        "CPU revision": "1",
    }
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text("".join(f"{name}\t: {value}\n" for name, value in fields.items()) + "\n")


def count(args: argparse.Namespace, plugin: Path, core: str, contender: Contender) -> list[int]:
    """Instructions of each inference that counts, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "count"
        python = args.root / "usr/bin/python3.11"
        command = ["qemu-aarch64", "-plugin", f"{plugin},out={result}", str(python), str(HERE / "infer.py")]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OPENBLAS"))},
            "QEMU_LD_PREFIX": str(args.root),
            "QEMU_CPU": CORES[core].cpu,
            "PYTHONPATH": os.pathsep.join(str(p) for p in args.packages),
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",  # as little chance as possible in what Python does
        }
        command += [contender.runtime, str(contender.path), str(WARM_UP + COUNTED)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{contender.label} on {core}: {done.stderr.strip().splitlines()[-1:]}")
        parts = [int(part) for part in result.read_text().split("\n", 2)[1].split()]
        if len(parts) != WARM_UP + COUNTED:
            raise RuntimeError(f"{contender.label} on {core}: {len(parts)} marks arrived")
        return parts[WARM_UP:]


def count_all(
    args: argparse.Namespace, plugin: Path, core: str, network: str, spread: dict[str, float]
) -> dict[str, int]:
    """Of one network on one core, the median of every contender; `spread` keeps the widest range, relative to it."""

    def one(contender: Contender) -> int | None:
        try:
            parts = count(args, plugin, core, contender)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return None
        middle = int(statistics.median(parts))
        spread[contender.label] = max(spread.get(contender.label, 0.0), (max(parts) - min(parts)) / middle)
        return middle

    found = contenders(args, network)
    with ThreadPoolExecutor(2) as pool:
        counts = pool.map(one, found)
        return {c.label: n for c, n in zip(found, counts, strict=True) if n is not None}


def table(core: str, rows: dict[str, dict[str, int]]) -> str:
    """Markdown: networks down, contenders across, million instructions; the ratio to the best peer last."""
    labels = sorted({label for row in rows.values() for label in row}, key=lambda label: (label != "lightkern", label))
    lines = [f"| {core}, million instructions | {' | '.join(labels)} | lightkern / best peer |"]
    lines.append(f"|---|{'---|' * len(labels)}---|")
    for network, row in rows.items():
        cells = [f"{row[label] / 1e6:.1f}" if label in row else "-" for label in labels]
        peers = [value for label, value in row.items() if label != "lightkern"]
        ratio = f"{row['lightkern'] / min(peers):.2f}" if peers and "lightkern" in row else "-"
        lines.append(f"| {network} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines) + "\n"


def versions(packages: list[Path]) -> str:
    """Of what was counted, and of the emulator, as a sentence."""
    wanted = ("lightkern", "ai_edge_litert", "onnxruntime", "numpy")
    found = sorted({p.name for folder in packages for p in folder.glob("*.dist-info")})
    names = [name.removesuffix(".dist-info").replace("-", " ") for name in found if name.split("-")[0] in wanted]
    qemu = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    names.append(qemu.split("\n", 1)[0].split(" (")[0])
    return f"{datetime.date.today()}: {', '.join(names)}."


def write_readme(text: str) -> None:
    """Replace what stands between the marks."""
    path = HERE / "README.md"
    before, rest = path.read_text().split(MARKS[0])
    path.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{rest.split(MARKS[1])[1]}")


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with <network>.lk")
    parser.add_argument("--tflite", type=Path, help="folder with <network>.tflite, int8")
    parser.add_argument("--onnx", type=Path, help="folder with <network>.onnx and qdq/<network>-*.u8s8.onnx")
    parser.add_argument("--root", type=Path, default=ARM / "root", help="the target's root file system")
    parser.add_argument(
        "--packages",
        type=Path,
        nargs="+",
        default=[ARM / "installed", ARM / "site", ARM / "peers"],
        help="folders with the target's Python packages",
    )
    parser.add_argument(
        "--cores", nargs="+", choices=sorted(CORES), default=["cortex-a72", "cortex-a76", "neoverse-n2"]
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--without", nargs="+", default=[], metavar="LABEL", help='contenders to skip: "ORT f32"')
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    args = parser.parse_args()
    args.packages = [p.resolve() for p in args.packages]

    results: dict[str, dict[str, dict[str, int]]] = {}
    spread: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "count_instructions.so"
        source = HERE / "count_instructions.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(plugin), str(source)], check=True)
        for core in args.cores:
            pretend(args.root, core)
            results[core] = {network: count_all(args, plugin, core, network, spread) for network in args.networks}
            print(table(core, results[core]), flush=True)
    widest = ", ".join(f"{label} {value:.2%}" for label, value in spread.items())
    note = f"Widest range of the {COUNTED} counted inferences of a process: {widest}.\n"
    print(note)
    if args.readme:
        tables = "\n".join(table(core, rows) for core, rows in results.items())
        write_readme(f"{versions(args.packages)}\n\n{tables}\n{note}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
