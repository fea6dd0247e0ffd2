"""``lightkern bench --compare``: the race itself with contenders made up here, the peers where they are installed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Net
from click.testing import CliRunner, Result

import lightkern as lk
from lightkern.cli import compare as command
from lightkern.cli.app import app
from lightkern.compare import contenders as field
from lightkern.compare.affinity import unpin
from lightkern.compare.case import Case, Runner, UnavailableError
from lightkern.compare.contenders import CONTENDERS, Contender, prepared
from lightkern.compare.interleave import interleave, ratio
from lightkern.compare.race import OURS, closeness, race
from lightkern.demo.onnx_export import to_onnx

pytestmark = [
    pytest.mark.filterwarnings("default"),  # the peers warn as they like
    pytest.mark.skipif(os.environ.get("LIGHTKERN_TEST_EMULATED") == "1", reason="times nothing under emulation"),
]


@pytest.fixture(autouse=True)
def _every_cpu() -> Iterator[None]:
    yield
    unpin()


def network() -> lk.Graph:
    """A pointwise convolution, input [n, 3, 8, 8], output [n, 4] after pooling."""
    rng = np.random.default_rng(5)
    attrs = {"kernel": [1, 1], "stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1}
    params = {"weight": rng.normal(0, 1, (4, 1, 1, 3)).astype(np.float32), "bias": np.zeros(4, np.float32)}
    nodes = [
        lk.Node("conv2d", "conv", ["x"], "conv", attrs, params),
        lk.Node("global_avg_pool", "pool", ["conv"], "pool"),
        lk.Node("reshape", "flat", ["pool"], "flat", {"shape": [4], "order": "CHW"}),
    ]
    return lk.Graph("small", [lk.Port("x", "x", (8, 8, 3))], [lk.Port("y", "flat", (4,))], nodes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    x = np.random.default_rng(2).normal(0, 1, (6, 3, 8, 8)).astype(np.float32)
    np.save(folder / "x.npy", x)
    (folder / "small.onnx").write_bytes(to_onnx(network()))
    lk.compress(network(), calibration=x).save(folder / "small.lk")
    return folder


def invoke(*args: Any) -> Result:
    return CliRunner().invoke(app, list(map(str, args)), prog_name="lightkern")


def slow_float(case: Case, threads: int) -> Runner:
    graph = lk.load_onnx(case.float_path())

    def run(x: Any) -> Any:
        time.sleep(0.005)
        return graph.run(x)

    return Runner(run)


SLOW = Contender("slow float", "numpy", "float", slow_float)
ABSENT = Contender("absent int8", "no_such_runtime", "exact", slow_float)


def test_interleaved_medians_tell_fast_from_slow() -> None:
    timings = interleave({"fast": lambda: time.sleep(0.001), "slow": lambda: time.sleep(0.004)}, rounds=3)
    assert [len(t.samples) for t in timings.values()] == [3, 3]
    assert timings["fast"].best >= 0.001
    assert ratio(timings["fast"], timings["slow"]) < 0.8
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        interleave({}, rounds=0)


def test_closeness_by_hand() -> None:
    wanted = np.array([[3.0, 4.0], [1.0, 0.0]])
    close = closeness(wanted, np.array([[3.0, 4.0], [0.0, 1.0]]))
    assert close.agreement == 0.5
    assert close.sqnr == pytest.approx(10 * np.log10(26 / 2))
    assert closeness(wanted, wanted).sqnr == closeness(wanted, wanted).median_sqnr == float("inf")
    loud = np.array([[100.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    close = closeness(loud, loud + np.array([[0.1, 0.0], [0.0, 0.5], [0.0, 0.5]]))
    assert close.sqnr == pytest.approx(10 * np.log10(10002 / 0.51))
    assert close.median_sqnr == pytest.approx(10 * np.log10(1 / 0.25))
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 1\), the float network has \(2, 2\)"):
        closeness(wanted, wanted[:, :1])


def test_a_race_judges_times_and_names_the_absent(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "x.npy")
    case = Case("small", tmp_path, folder / "small.onnx", lk=folder / "small.lk")
    chosen = [CONTENDERS[0], SLOW, ABSENT]
    result = race(case, x[:1], 1, chosen, 2, examples=x, float_outputs=network().run(x))
    assert list(result.timings) == [OURS, "slow float"]
    assert result.best_peer() == result.best_peer(("float",)) == "slow float"
    assert result.ratio_to("slow float") < 1
    assert result.closeness["slow float"].agreement == 1
    assert result.closeness["slow float"].sqnr > 100
    assert 20 < result.closeness[OURS].sqnr < 100
    assert result.skipped == {"absent int8": "not installed; pip install no_such_runtime"}
    with pytest.raises(ValueError, match="100000 threads wanted"):
        race(case, x[:1], 100000, chosen, 1)


def test_a_peer_that_fails_is_skipped_and_ours_is_not(tmp_path: Path) -> None:
    def fail(case: Case, threads: int) -> Runner:
        raise KeyError("boom")

    case = Case("nothing", tmp_path)
    with pytest.raises(UnavailableError, match="KeyError: 'boom'"):
        prepared(Contender("peer", "numpy", "float", fail), case, 1)
    with pytest.raises(KeyError, match="boom"):
        prepared(Contender("ours", "lightkern", "exact", fail), case, 1)
    with pytest.raises(UnavailableError, match="there is no float ONNX file"):
        prepared(SLOW, case, 1)
    with pytest.raises(UnavailableError, match="no int8 ONNX file is given"):
        field.qdq_path(case, "given")


def test_the_command_without_peers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "CONTENDERS", [CONTENDERS[0], SLOW, ABSENT])
    args = ("bench", folder / "small.onnx", "--compare", "--input", folder / "x.npy", "--rounds", 2)
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert set(document["contenders"]) == {OURS, "slow float"}
    assert document["contenders"]["slow float"]["agreement"] == 1
    assert document["contenders"][OURS]["sqnr"] > 20
    assert document["examples"] == 6
    text = invoke(*args).stdout
    assert "pip install no_such_runtime" in text
    assert "best exact peer" in text
    alone = invoke("bench", folder / "small.lk", "--compare", "--rounds", 1, "--contenders", "absent")
    assert alone.exit_code == 0, alone.stderr
    assert "needs the float network: --float" in alone.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("small.lk", "--contenders", "openvino"), 2, "need --compare"),
        (("small.lk", "--compare", "--batch", "2"), 2, "one example at a time, --batch is 2"),
        (("small.lk", "--compare", "--contenders", "tensorrt"), 2, "none of onnxruntime float"),
        (("small.onnx", "--compare", "--float", "small.onnx"), 2, "MODEL is the float network already"),
        (("two.lk", "--compare"), 1, "this one has 2 inputs and 1 outputs"),
        (("small.lk", "--compare", "--input", "wrong.npy"), 1, "wrong.npy"),
        (("small.lk", "--compare", "--rounds", "0"), 2, "0 is not in the range"),
        (("small.lk", "--compare", "--threads", "256"), 1, "256 threads wanted"),
    ],
)
def test_refusals(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    net = Net(np.random.default_rng(0))
    net.model(net.binary("add", net.input((4, 4, 8)), net.input((4, 4, 8)))).save(folder / "two.lk")
    np.save(folder / "wrong.npy", np.array(["text"]))
    monkeypatch.chdir(folder)
    result = invoke("bench", *arguments)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())


def test_onnxruntime_float_and_int8(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    x = np.load(folder / "x.npy")
    case = Case("small", tmp_path, folder / "small.onnx", lambda: x)
    chosen = [c for c in CONTENDERS if c.name in ("onnxruntime float", "onnxruntime u8s8", "onnxruntime s8s8")]
    result = race(case, x[:1], 1, chosen, 1, examples=x, float_outputs=network().run(x))
    assert result.skipped == {}
    assert result.closeness["onnxruntime float"].sqnr > 80
    assert 0 < result.closeness["onnxruntime u8s8"].sqnr < 80  # its kernels may saturate on this CPU
    assert len(list((tmp_path / "qdq").iterdir())) == 2
