"""Writes the models of test_same_bits.py: ``PYTHONPATH=tests python tests/data/make_models.py``.

They are files because compression is floating point, whose last bits depend on the BLAS of the machine, and because
NumPy may change its random numbers from version to version. New files need new digests: the failing test shows them.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
from random_network import random_model

import lightkern as lk
from lightkern.demo import as_input, load_network, load_pictures

FOLDER = Path(__file__).resolve().parent
SEEDS = (7, 16, 71, 101)
"""Random networks that have every op of the model between them."""


def write(name: str, model: lk.Model) -> None:
    """Save a model as ``<name>.lk.gz``, the same bytes each time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.lk"
        model.save(path)
        (FOLDER / f"{name}.lk.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


if __name__ == "__main__":
    write("demo", lk.compress(load_network(), as_input(load_pictures().calibration)))
    for seed in SEEDS:
        write(f"random{seed}", random_model(np.random.default_rng(seed), blocks=5))
