"""Accuracy of every contender on the two networks that know ImageNet.

Top-1 on the 20 labelled pictures; on the 512 crops, how often the best class is the float model's, and the
signal-to-quantization-noise ratio of the logits, ``10 log10(sum(f^2) / sum((f - q)^2))`` with f the float logits.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cases import imagenet_case
from pictures import network_inputs, picture_set
from zoo.imagenet import IMAGENET

from lightkern.compare.case import UnavailableError
from lightkern.compare.contenders import CONTENDERS, UNFUSED, Contender, contenders, prepared
from lightkern.compare.race import closeness, outputs

__all__ = ["Accuracy", "judge", "logits", "table"]

Array = npt.NDArray[Any]

WITHOUT_FILES = ("litert float", "litert int8", "onnxruntime given int8", "openvino given int8")
"""The TFLite files have other weights, and no int8 file is given."""

FLOAT = next(c for c in CONTENDERS if c.name == "onnxruntime float")


@dataclass(frozen=True)
class Accuracy:
    """How a contender does on one network.

    Attributes
    ----------
    top1, pictures : int
        Right answers, labelled pictures.
    agreement : float
        Share of the crops with the float model's best class.
    unseen_agreement : float
        The same, only crops of photos that have no part in the calibration.
    sqnr : float
        Signal-to-quantization-noise ratio of the logits over all crops, dB.
    """

    model: str
    contender: str
    exactness: str
    top1: int
    pictures: int
    agreement: float
    unseen_agreement: float
    sqnr: float


def logits(contender: Contender, name: str, inputs: Array, threads: int) -> Array:
    """Outputs of a contender, one picture at a time: float32 [n, 1000]."""
    return outputs(prepared(contender, imagenet_case(name), threads), inputs)


def judge(name: str, contender: Contender, wanted: Array, got: Array) -> Accuracy:
    """Compare logits [20 + 512, 1000] with the float model's."""
    pictures = picture_set()
    count = len(pictures.labels)
    same = wanted[count:].argmax(1) == got[count:].argmax(1)
    return Accuracy(
        name,
        contender.name,
        contender.exactness,
        top1=int((got[:count].argmax(1) == pictures.labels).sum()),
        pictures=count,
        agreement=float(same.mean()),
        unseen_agreement=float(same[pictures.unseen].mean()),
        sqnr=closeness(wanted[count:], got[count:]).sqnr,
    )


def table(rows: list[Accuracy]) -> str:
    """Rows for people."""
    lines = [f"{'model':28} {'contender':22} {'products':10} {'top-1':>6} {'agreement':>10} {'unseen':>8} {'SQNR':>8}"]
    for r in rows:
        lines.append(
            f"{r.model:28} {r.contender:22} {r.exactness:10} {r.top1:>3}/{r.pictures} {r.agreement:>10.1%}"
            f" {r.unseen_agreement:>8.1%} {r.sqnr:>5.1f} dB"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(IMAGENET), help="comma-separated (default: %(default)s)")
    parser.add_argument("--contenders", default="", help="comma-separated parts of names (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    arguments = parser.parse_args()
    rows: list[Accuracy] = []
    for name in arguments.models.split(","):
        labelled, crops, _ = network_inputs(name)
        inputs = np.concatenate([labelled, crops])
        wanted = logits(FLOAT, name, inputs, arguments.threads)
        others = [c for c in contenders(arguments.contenders) if c is not FLOAT and c.name not in WITHOUT_FILES]
        others += [UNFUSED] if not arguments.contenders else []
        rows.append(judge(name, FLOAT, wanted, wanted))
        for contender in others:
            try:
                rows.append(judge(name, contender, wanted, logits(contender, name, inputs, arguments.threads)))
            except UnavailableError as error:
                print(f"{name}: {contender.name} skipped: {error}", file=sys.stderr)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
