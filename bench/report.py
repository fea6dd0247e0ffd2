"""Everything that the project's README shows, by one command: figures, tables, pictures.

    python bench/report.py            # about 12 minutes on an idle machine; continues where an earlier run stopped
    python bench/report.py --fresh    # measures everything anew
    python bench/report.py --render   # only writes the documents from the figures that are there

Every stage is one of the scripts beside this file, in a process of its own; its figures stay as JSON in the cache
folder, under ``report/``. What one machine says is kept in ``docs/figures/LEVEL/``, by the best ISA level that it has:
all tables, the pictures, and a summary. README.md shows the summaries of all levels between its two markers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from cases import ZOO
from latency import versions
from packages import cache_folder

from lightkern import _core
from lightkern.compare.race import EXACT, OURS

__all__ = ["stages", "write_level", "write_readme"]

HERE = Path(__file__).parent
ROOT = HERE.parent
BEGIN, END = "<!-- figures: written by bench/report.py -->", "<!-- end of figures -->"
TITLES = {
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3-Large",
    "shufflenet_v2": "ShuffleNetV2 x1",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
THREADS = (1, 2)


def stages(rounds: int) -> dict[str, list[str]]:
    """Command by name of the JSON file that it writes."""
    found = {"accuracy": ["accuracy.py"]}
    for name in ZOO:
        for threads in THREADS:
            options = ["--models", name, "--threads", str(threads), "--rounds", str(rounds)]
            found[f"latency-{name}-{threads}"] = ["latency.py", *options]
        found[f"roofline-{name}"] = ["roofline.py", "--models", name]
    found["startup"] = ["startup.py"]
    found["footprint"] = ["footprint.py"]
    return found


def measure(folder: Path, rounds: int) -> None:
    """Run the stages whose figures are missing; one that fails is named and left out."""
    for name, command in stages(rounds).items():
        path = folder / f"{name}.json"
        if path.exists():
            continue
        print(f"{name} ...", flush=True)
        partial = path.with_suffix(".partial")
        script = [sys.executable, str(HERE / command[0]), *command[1:], "--json", str(partial)]
        done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            continue
        partial.replace(path)


def collect(folder: Path) -> dict[str, Any]:
    """The figures of every stage that has run."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def races_of(figures: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Races by network and number of threads."""
    keys = [(name, threads) for name in ZOO for threads in THREADS]
    return {
        key: figures[f"latency-{key[0]}-{key[1]}"]["races"][0]
        for key in keys
        if f"latency-{key[0]}-{key[1]}" in figures
    }


def best(race: dict[str, Any], exact: bool) -> str:
    """``0.71 (openvino u8s8)``: lightkern's time over that of the best peer."""
    peers = {n: r for n, r in race["contenders"].items() if n != OURS and (not exact or r["products"] in EXACT)}
    if not peers:
        return "-"
    name = min(peers, key=lambda n: float(peers[n]["median"]))
    return f"{peers[name]['lightkern_ratio']:.2f} ({name})"


def spread(race: dict[str, Any]) -> str:
    """Of lightkern's own times: how busy the machine was."""
    return f"{race['contenders'][OURS]['spread']:.0%}" if OURS in race["contenders"] else "-"


def decibels(row: dict[str, Any]) -> str:
    """Signal-to-noise ratio of the median picture against the float network, where one was taken."""
    value = row.get("median_sqnr")
    return "" if value is None or value > 60 else f"{value:.0f} dB"


def summary_of(figures: dict[str, Any], machine: str) -> dict[str, Any]:
    """What README.md shows of a machine: ratios by network and threads, accuracy by network and contender."""
    ratios = {
        f"{TITLES[name]}, {threads}": {"any": best(race, False), "exact": best(race, True), "spread": spread(race)}
        for (name, threads), race in races_of(figures).items()
    }
    accuracy = {
        f"{title_of(r)}, {r['contender']}": f"{r['agreement']:.1%}, {r['sqnr']:.1f} dB ({r['exactness']})"
        for r in figures.get("accuracy", [])
        if not r["contender"].endswith("float")
    }
    return {"machine": machine, "ratios": ratios, "accuracy": accuracy}


def title_of(row: dict[str, Any]) -> str:
    """Of a row of accuracy.py."""
    return TITLES[row["model"].removesuffix("_imagenet")]


def summary_accuracy(summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Agreement with the float network, and noise, a column per level."""
    lines = ["| int8 | " + " | ".join(f"`{level}`" for level in summaries) + " |", "|---" * (len(summaries) + 1) + "|"]
    rows = dict.fromkeys(row for summary in summaries.values() for row in summary["accuracy"])
    for row in rows:
        lines.append(f"| {row} | " + " | ".join(s["accuracy"].get(row, "-") for s in summaries.values()) + " |")
    return lines


def summary_table(summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Ratios to the best peer, a pair of columns per level."""
    columns = [f"`{level}`: {kind}" for level in summaries for kind in ("best peer", "best exact", "spread")]
    lines = ["| lightkern int8 / peer, threads | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in next(iter(summaries.values()))["ratios"]:
        found = [summary["ratios"].get(row, {}) for summary in summaries.values()]
        cells = [cell.get(key, "-") for cell in found for key in ("any", "exact", "spread")]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def latency_table(races: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    """Times beside accuracy."""
    lines = []
    order = list(dict.fromkeys(n for race in races.values() for n in race["contenders"]))
    names = [name for name in ZOO if any((name, threads) in races for threads in THREADS)]
    lines += ["| ms, 1 / 2 threads, noise | " + " | ".join(TITLES[n] for n in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for contender in order:
        cells = []
        for name in names:
            rows = [races.get((name, threads), {}).get("contenders", {}).get(contender) for threads in THREADS]
            times = " / ".join("-" if r is None else f"{r['median'] * 1e3:.2f}" for r in rows)
            cells.append(f"{times} {decibels(next((r for r in rows if r), {}))}".strip())
        lines.append(f"| {contender} | " + " | ".join(cells) + " |")
    return lines


def accuracy_table(rows: list[dict[str, Any]]) -> list[str]:
    """Networks with ImageNet weights."""
    lines = ["| network | contender | products | right of 20 | agrees | SQNR |", "|---|---|---|---|---|---|"]
    for r in rows:
        noise = "" if r["contender"].endswith("float") else f"{r['sqnr']:.1f} dB"
        lines.append(
            f"| {title_of(r)} | {r['contender']} | {r['exactness']} | {r['top1']} | {r['agreement']:.1%} | {noise} |"
        )
    return lines


def other_tables(figures: dict[str, Any]) -> list[str]:
    """Start-up and memory."""
    import numpy as np

    lines = []
    for name, seconds in figures.get("startup", {}).items():
        lines += [f"Process start to first result of {TITLES[name]}, `python bench/startup.py`:", ""]
        medians = sorted((float(np.median(taken)), contender) for contender, taken in seconds.items())
        lines += ["| " + " | ".join(c for _, c in medians) + " |", "|---" * len(medians) + "|"]
        lines += ["| " + " | ".join(f"{s * 1e3:.0f} ms" for s, _ in medians) + " |", ""]
        lines += ["Every peer imports NumPy; an app that has no other use for it starts without.", ""]
    if "footprint" in figures:
        lines += ["Memory in MB, `python bench/footprint.py`:", ""]
        columns = ("weights", "arena", "arena / least possible", "growth: first load", "first by path, without NumPy")
        lines += ["| | " + " | ".join((*columns, "from the third on")) + " |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for name, r in figures["footprint"].items():
            lines.append(
                f"| {TITLES[name]} | {r['weights'] / 1e6:.2f} | {r['arena'] / 1e6:.2f} |"
                f" {r['arena'] / r['least_arena']:.3f} |"
                f" {r['first_growth'] / 1e6:.2f} | {r['path_first_growth'] / 1e6:.2f} | {r['later_growth'] / 1e6:.2f} |"
            )
    return lines


def minor_table(figures: dict[str, Any]) -> list[str]:
    """Shares of the time of what is no convolution of many channels."""
    from roofline import LayerRate, minor_shares

    lines: list[str] = []
    for name in ZOO:
        content = figures.get(f"roofline-{name}")
        if content is None:
            continue
        found = minor_shares([LayerRate(**row) for row in content["networks"][name]])
        if not lines:
            lines += ["| share of the time | " + " | ".join(found) + " | together |", "|---" * (len(found) + 2) + "|"]
        cells = [f"{share:.1%}" for share in (*found.values(), sum(found.values()))]
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    return lines


def draw_latency(races: dict[tuple[str, int], dict[str, Any]], path: Path) -> None:
    """A panel per network: a pair of bars per contender, with its noise."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in ZOO if (name, THREADS[0]) in races]
    figure, axes = plt.subplots(1, len(names), figsize=(3.4 * len(names), 4.2), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        rows = races[name, THREADS[0]]["contenders"]
        order = sorted(rows, key=lambda n: -float(rows[n]["median"]))
        for y, contender in enumerate(order):
            colour = "#3b6ea5" if contender == OURS else "#9a9a9a"
            for threads, offset, alpha in ((1, 0.2, 1.0), (2, -0.2, 0.55)):
                row = races.get((name, threads), {"contenders": {}})["contenders"].get(contender)
                if row:
                    axis.barh(y + offset, row["median"] * 1e3, 0.38, color=colour, alpha=alpha)
            label = f" {rows[contender]['products']} {decibels(rows[contender])}"
            axis.text(float(rows[contender]["median"]) * 1e3, y + 0.2, label, va="center", fontsize=6)
        axis.set_yticks(range(len(order)), order, fontsize=7)
        axis.set_xlim(0, max(float(r["median"]) for r in rows.values()) * 1.35e3)
        axis.set_title(TITLES[name], fontsize=9)
        axis.set_xlabel("ms; pale: 2 threads", fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_layers(figures: dict[str, Any], path: Path) -> None:
    """Attained against ceiling, per layer."""
    from roofline import LayerRate, draw

    found = {name: figures[f"roofline-{name}"] for name in ZOO if f"roofline-{name}" in figures}
    networks = {
        TITLES[name]: [LayerRate(**row) for row in content["networks"][name]] for name, content in found.items()
    }
    draw(networks, next(iter(found.values()))["ceilings"], path)


def write_level(figures: dict[str, Any], folder: Path) -> None:
    """All tables of this machine, its pictures and its summary."""
    folder.mkdir(parents=True, exist_ok=True)
    races = races_of(figures)
    known = versions()
    runtimes = ", ".join(f"{name} {known[name]}" for name in ("onnxruntime", "openvino", "ai-edge-litert"))
    machine = (
        f"{known.get('cpu', known['machine'])}, level `{folder.name}`, {date.today():%d %B %Y}, batch 1; {runtimes}."
    )
    lines = [f"# Figures: `{folder.name}`", "", "Written by `python bench/report.py`.", "", machine, ""]
    if races:
        draw_latency(races, folder / "latency.png")
        summary = summary_of(figures, machine)
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        lines += ["`python bench/latency.py --threads 1,2`, 224x224, medians of interleaved rounds, pinned threads;"]
        lines += [
            "noise is that of the median picture's outputs against the float network (none: float, or other weights):",
            "",
        ]
        lines += [*summary_table({folder.name: summary}), "", *latency_table(races), ""]
        lines += ["![time of every contender](latency.png)", ""]
    if "accuracy" in figures:
        lines += ["`python bench/accuracy.py`, published ImageNet weights, 512 crops of photos:", ""]
        lines += [*accuracy_table(figures["accuracy"]), ""]
    if any(key.startswith("roofline") for key in figures):
        draw_layers(figures, folder / "layers.png")
        lines += ["`python bench/roofline.py`: every layer against what one core can multiply; width is time:", ""]
        lines += ["![rate of every layer](layers.png)", "", *minor_table(figures), ""]
    lines += other_tables(figures)
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def write_readme(readme: Path, folder: Path) -> None:
    """The summaries of all levels that were ever measured, between the markers of the README."""
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{readme}: needs the lines {BEGIN!r} and {END!r} once each")
    paths = sorted(folder.glob("*/summary.json"), reverse=True)
    summaries = {path.parent.name: json.loads(path.read_text()) for path in paths}
    place = folder.relative_to(readme.parent)
    lines = [*summary_table(summaries), ""]
    lines += [
        "*Best peer*: lightkern's time over that of the fastest peer, which is named, right or wrong. *Best exact*:",
        "over that of the fastest whose sums do not saturate. *Spread* is that of lightkern's own times: how busy the",
        "machine was.",
        "",
        "Agreement with the float network on 512 crops of photos, published ImageNet weights, and the noise of the",
        "logits; in brackets what the products do on that CPU. *u8s8 file, exact sums* is the file of ONNX Runtime's",
        "u8s8 without saturation. lightkern was compressed on each machine, by the version of that day:",
    ]
    lines += ["", *summary_accuracy(summaries)]
    for level, summary in summaries.items():
        lines += ["", f"**`{level}`**: {summary['machine']} [All tables]({place}/{level}/README.md).", ""]
        lines += [f"![time of every contender, {level}]({place}/{level}/latency.png)", ""]
        lines += [f"![rate of every layer, {level}]({place}/{level}/layers.png)"]
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    readme.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="forget earlier figures")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--rounds", type=int, default=11)
    arguments = parser.parse_args()
    folder = cache_folder() / "report"
    folder.mkdir(exist_ok=True)
    if arguments.fresh:
        for path in folder.glob("*.json"):
            path.unlink()
    if not arguments.render:
        measure(folder, arguments.rounds)
    documents = ROOT / "docs" / "figures"
    write_level(collect(folder), documents / _core.isa_levels()[0])
    write_readme(ROOT / "README.md", documents)


if __name__ == "__main__":
    main()
