"""``lightkern inspect`` and ``lightkern cpu``: what is in a model, and what this CPU offers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import click

from ..graph import Node, NodeList
from ..model import Model
from ..opset import GRAPH_OPS, MODEL_OPS, Shape, elements
from .files import load_either
from .options import EXISTING_FILE
from .output import bytes_text, count_text, output_options, print_facts, print_json, print_table, shape_text


def node_macs(node: Node, output: Shape) -> int:
    """Multiply-accumulates of a node for one example."""
    if node.op not in ("conv2d", "linear"):
        return 0
    return elements(output) * elements(node.params["weight"].shape[1:])


def _describe_nodes(model: NodeList) -> list[dict[str, Any]]:
    shapes = model.shapes(MODEL_OPS if isinstance(model, Model) else GRAPH_OPS)
    nodes = []
    for node in model.nodes:
        facts: dict[str, Any] = {
            "name": node.name,
            "op": node.op,
            "inputs": node.inputs,
            "output": node.output,
            "shape": shapes[node.output],
            "attrs": node.attrs,
            "macs": node_macs(node, shapes[node.output]),
            "bytes": sum(value.nbytes for value in node.params.values()),
        }
        if isinstance(model, Model):
            quant = model.quants[node.output]
            facts |= {"scale": quant.scale, "zero_point": quant.zero_point}
        nodes.append(facts)
    return nodes


def _attrs_text(node: Node) -> str:
    """The attributes that tell layers of one op apart."""
    a = node.attrs
    words = []
    if "kernel" in a:
        words.append(f"{a['kernel'][0]}x{a['kernel'][1]}")
        words.append(f"s{a['stride'][0]}" if a["stride"][0] != 1 else "")
        words.append(f"d{a['dilation'][0]}" if a.get("dilation", [1])[0] != 1 else "")
    words.append(f"g{a['groups']}" if a.get("groups", 1) != 1 else "")
    return " ".join(filter(None, words))


@click.command()
@click.argument("model", type=EXISTING_FILE)
@click.option("--worst", type=click.IntRange(1), default=10, show_default=True, help="Layers in the table of noise.")
@output_options
def inspect(model: Path, worst: int, as_json: bool) -> None:
    """Show the nodes, shapes, sizes and quantization of MODEL: .lk or .onnx."""
    loaded = load_either(model)
    nodes = _describe_nodes(loaded)
    report = loaded.metadata.get("report") if isinstance(loaded, Model) else None
    document = {
        "name": loaded.name,
        "type": "int8" if isinstance(loaded, Model) else "float32",
        "file_bytes": model.stat().st_size,
        "parameter_bytes": sum(node["bytes"] for node in nodes),
        "macs": sum(node["macs"] for node in nodes),
        "inputs": [{"name": p.name, "shape": p.api_shape, "layout": p.layout} for p in loaded.inputs],
        "outputs": [{"name": p.name, "shape": p.api_shape, "layout": p.layout} for p in loaded.outputs],
        "nodes": nodes,
        "metadata": loaded.metadata if isinstance(loaded, Model) else {},
    }
    if as_json:
        print_json(document)
        return
    ports = [
        (kind, f"{p.name} [n, {', '.join(map(str, p.api_shape))}]")
        for kind, group in (("input", loaded.inputs), ("output", loaded.outputs))
        for p in group
    ]
    facts = [
        ("type", str(document["type"])),
        *ports,
        ("nodes", str(len(nodes))),
        ("MAC", count_text(int(document["macs"]))),
        ("parameters", bytes_text(int(document["parameter_bytes"]))),
        ("file", bytes_text(int(document["file_bytes"]))),
    ]
    print_facts(model.name, facts)
    columns = ["node", "op", "window", ">output", ">MAC", ">bytes"]
    columns += [">scale", ">zero point"] if isinstance(loaded, Model) else []
    rows = []
    for node, facts_of in zip(loaded.nodes, nodes, strict=True):
        row = [node.name, node.op, _attrs_text(node), shape_text(facts_of["shape"])]
        row += [count_text(facts_of["macs"]) if facts_of["macs"] else "", bytes_text(facts_of["bytes"])]
        if "scale" in facts_of:
            row += [f"{facts_of['scale']:.4g}", str(facts_of["zero_point"])]
        rows.append(row)
    print_table("Nodes", columns, rows)
    if report:
        print_report(report, worst)


def print_report(report: list[dict[str, Any]], worst: int) -> None:
    """The layers with the most quantization noise, as `compress` measured it."""
    rows = [
        (str(row["name"]), str(row["op"]), f"{row['sqnr_db']:.1f} dB", f"{row['low']:.4g} .. {row['high']:.4g}")
        for row in report[:worst]
    ]
    print_table("Most quantization noise", ("node", "op", ">signal / noise", "range"), rows)


@click.command()
@output_options
def cpu(as_json: bool) -> None:
    """List the instruction-set levels: compiled, available on this CPU, and in use."""
    from .. import _core
    from ..packed import allowed_isa, isa_levels

    available, kernels = isa_levels(), _core.kernels()
    cap = os.environ.get("LIGHTKERN_ISA") or None
    used = allowed_isa(None) or available[0]
    levels = [
        {"level": level, "available": level in available, "kernels": sum(isa == level for _, isa, _ in kernels)}
        for level in _best_first([*((op, isa) for op, isa, _ in kernels), *(("", isa) for isa in available)])
    ]
    if as_json:
        print_json({"machine": platform.machine(), "levels": levels, "used": used, "LIGHTKERN_ISA": cap})
        return
    rows = [
        (
            str(row["level"]),
            "yes" if row["available"] else "no",
            str(row["kernels"]),
            "<- best one used" if row["level"] == used else "",
        )
        for row in levels
    ]
    print_table(
        f"Instruction-set levels of {platform.machine()}, best first", ("level", "this CPU", ">kernels", ""), rows
    )
    click.echo(f"LIGHTKERN_ISA={cap} caps them" if cap else "LIGHTKERN_ISA is not set: nothing caps them")


def _best_first(kernels: list[tuple[str, str]]) -> list[str]:
    """All levels in one order, from pairs (op, level) that are best first within each op; an op may lack some."""
    position: dict[str, int] = {}
    for op in dict.fromkeys(op for op, _ in kernels):
        for i, level in enumerate(dict.fromkeys(isa for other, isa in kernels if other == op)):
            position[level] = max(i, position.get(level, 0))
    return sorted(position, key=lambda level: position[level])
