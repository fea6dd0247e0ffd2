"""Seed the networks, give their batch norms statistics, and write ONNX files with a free batch dimension."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from packages import cached
from torch import nn

from .networks import NETWORKS

__all__ = ["INPUT_SHAPE", "export_onnx", "onnx_path", "seeded"]

INPUT_SHAPE = (3, 224, 224)
OPSET = 18


def seeded(name: str, seed: int = 0) -> nn.Module:
    """A network of the zoo with random weights under which activations neither vanish nor explode.

    Kaiming-normal weights (fan out), random batch-norm gains and offsets, and batch-norm statistics averaged over eight
    batches of smooth random pictures in training mode.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.3, generator=generator)
            module.momentum = None  # a plain average over the batches
    network.train()
    with torch.no_grad():
        for _ in range(8):
            network(smooth_pictures(8, generator))
    return network.eval()


def smooth_pictures(count: int, generator: torch.Generator) -> torch.Tensor:
    """Normalized random pictures with structure at several scales, [count, 3, 224, 224]."""
    total = torch.zeros(count, *INPUT_SHAPE)
    for size in (2, 7, 28, 112):
        noise = torch.randn(count, 3, size, size, generator=generator)
        total += nn.functional.interpolate(noise, INPUT_SHAPE[1:], mode="bilinear")
    return total / total.std()


def export_onnx(network: nn.Module, path: Path) -> None:
    """Write an ONNX file: input "input" [n, 3, 224, 224], output "logits" [n, 1000]."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # and its notes about packages it does not need
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, *INPUT_SHAPE),),
            str(path),
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(path)
    fold_pads(model.graph)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def fold_pads(graph: onnx.GraphProto) -> None:
    """Move zero padding into the convolution behind it, as every runtime expects of TensorFlow's SAME padding."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    for node in graph.node:
        if node.op_type != "Conv" or node.input[0] not in pads:
            continue
        pad = pads[node.input[0]]
        amounts = constants[pad.input[1]]
        attributes = {a.name: a for a in node.attribute}
        mode = next((a.s.decode() for a in pad.attribute if a.name == "mode"), "constant")
        if mode != "constant" or len(amounts) != 8 or np.any(amounts[[0, 1, 4, 5]]):
            raise ValueError(f"cannot fold {pad.name}: mode {mode}, amounts {amounts}")
        before = list(attributes["pads"].ints) if "pads" in attributes else [0, 0, 0, 0]
        total = [int(b + a) for b, a in zip(before, amounts[[2, 3, 6, 7]], strict=True)]
        kept = [a for a in node.attribute if a.name not in ("pads", "auto_pad")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", total)])
        node.input[0] = pad.input[0]
        graph.node.remove(pad)
        del pads[pad.output[0]]


def onnx_path(name: str) -> Path:
    """ONNX file of a zoo network with seeded weights, exported on first use.

    Parameters
    ----------
    name : str
        A key of `zoo.networks.NETWORKS`.
    """
    return cached(f"{name}.onnx", lambda path: export_onnx(seeded(name), path))


def main() -> None:
    """Export all networks and say where they are."""
    for name in NETWORKS:
        print(onnx_path(name))


if __name__ == "__main__":
    main()
