"""Files of the command line: arrays by name, damaged files, outputs that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lightkern import FormatError, Port
from lightkern.cli.files import Inputs, read_arrays, write_arrays

A, B = Port("a", "a", (3,)), Port("b", "b", (2, 2, 1))


def test_npy_and_single_npz_go_to_the_only_input(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", anything=x)
    for name in ("x.npy", "x.npz"):
        inputs = Inputs(tmp_path / name, [A])
        assert len(inputs) == 4
        batches = list(inputs.batches(3))
        assert [len(batch["a"]) for batch in batches] == [3, 1]
        np.testing.assert_array_equal(np.concatenate([batch["a"] for batch in batches]), x)
        assert len(list(inputs.batches(3))) == 2, "a second pass sees the same batches"


def test_npz_arrays_are_matched_by_name(tmp_path: Path) -> None:
    a, b = np.zeros((2, 3), np.float32), np.ones((2, 1, 2, 2), np.float32)
    np.savez(tmp_path / "x.npz", b=b, a=a)
    (batch,) = Inputs(tmp_path / "x.npz", [A, B]).batches(2)
    np.testing.assert_array_equal(batch["a"], a)
    np.testing.assert_array_equal(batch["b"], b)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 3))}, "holds 'a', the model takes"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((3, 1))}, r"one number of examples, at least 1, got \[2, 3\]"),
        ({"a": np.zeros((0, 3)), "b": np.zeros((0, 1))}, r"at least 1, got \[0\]"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((2, 1), np.int64)}, "array 'b' is int64"),
        ({"a": np.zeros((2, 3)), "b": np.array(["x", "y"])}, "array 'b' is <U1"),
        ({"a": np.float32(3), "b": np.zeros(3)}, r"array 'a' is float32 of shape \(\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        Inputs(tmp_path / "x.npz", [A, B])


def test_damaged_array_files_are_format_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", np.arange(100))
    np.savez(tmp_path / "whole.npz", x=np.arange(100))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    damaged = {
        "cut.npy": (tmp_path / "whole.npy").read_bytes()[:-8],
        "cut.npz": (tmp_path / "whole.npz").read_bytes()[:-60],
        "empty.npy": b"",
        "text.npy": b"1 2 3",
        "text.npz": b"PK is not all",
        "objects.npy": (tmp_path / "objects.npy").read_bytes(),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=f"{name}: not a readable"):
            read_arrays(tmp_path / name)


def test_outputs_survive_a_round_trip(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b": np.ones((2, 2), np.float32)}
    write_arrays(tmp_path / "y.npz", arrays)
    read = read_arrays(tmp_path / "y.npz")
    assert set(read) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)
    write_arrays(tmp_path / "y.npy", {"only": arrays["file"]})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), arrays["file"])
    with pytest.raises(ValueError, match=r"2 outputs \(file, a/b\): use a .npz file"):
        write_arrays(tmp_path / "z.npy", arrays)
    assert not (tmp_path / "z.npy").exists()


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "y.npy"
    target.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_arrays(target, {"y": np.arange(3)})
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["y.npy"]


def test_floats_become_contiguous_float32_and_int8_stays(tmp_path: Path) -> None:
    for x, dtype in ((np.zeros((3, 2)).T, np.float32), (np.zeros((2, 3), np.int8), np.int8)):
        np.save(tmp_path / "x.npy", x)
        (batch,) = Inputs(tmp_path / "x.npy", [A]).batches(2)
        assert batch["a"].dtype == dtype
        assert batch["a"].flags.c_contiguous
