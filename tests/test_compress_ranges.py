"""Histograms, calibrators, and the quantization of every tensor."""

from __future__ import annotations

import numpy as np
import pytest
from float_nets import FloatNet, pictures
from hypothesis import given
from hypothesis import strategies as st

import lightkern as lk
from lightkern.compression.calibration import Calibration
from lightkern.compression.calibrators import calibrate
from lightkern.compression.fuse import sensitive_range
from lightkern.compression.observe import Histogram, TensorStats
from lightkern.compression.options import CompressOptions
from lightkern.compression.ranges import quantization


def stats_of(x: np.ndarray) -> TensorStats:
    histogram = Histogram()
    for part in np.array_split(x, 5):
        histogram.add(part.astype(np.float32))
    one = np.ones(1)
    return TensorStats(x.min() * one, x.max() * one, one, one, one, x.size, histogram)


def calibrated(x: np.ndarray, calibrator: str, percentile: float = 99.99) -> tuple[float, float]:
    return calibrate(stats_of(x), CompressOptions(calibrator=calibrator, percentile=percentile))


def rounding_error(x: np.ndarray, limits: tuple[float, float]) -> float:
    quant = quantization(*limits)
    return float(np.mean((quant.dequantize(quant.quantize(x.astype(np.float32))) - x) ** 2))


@given(st.integers(0, 10**6), st.floats(-20, 20), st.integers(1, 300))
def test_histograms_lose_no_value_and_know_where_it_was(seed: int, magnitude: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(4, n)) * 10.0 ** rng.uniform(-3, 3, (4, 1)) * 2.0**magnitude).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = 0
    histogram = Histogram()
    for part in x:
        histogram.add(part)
    assert histogram.counts.sum() + histogram.zeros == x.size
    assert histogram.zeros == np.count_nonzero(x == 0)
    nonzero = np.sort(x[x != 0].astype(np.float64))
    centers = np.repeat(histogram.centers, histogram.counts)
    assert (np.abs(centers - nonzero) <= histogram.width).all()
    if nonzero.size:
        assert histogram.width <= 8 * np.abs(nonzero).max() / 1024


def test_minmax_takes_everything() -> None:
    x = np.random.default_rng(0).normal(size=5000)
    assert calibrated(x, "minmax") == (x.min(), x.max())


def test_percentile_cuts_outliers_on_both_sides() -> None:
    x = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 100000), [50.0, -30.0]])
    low, high = calibrated(x, "percentile", 99.9)
    assert -1.02 < low < -0.98
    assert 0.98 < high < 1.02


@pytest.mark.parametrize(("calibrator", "most"), [("mse", 35.0), ("entropy", 12.0)])
def test_searching_calibrators_cut_a_lone_outlier(calibrator: str, most: float) -> None:
    x = np.append(np.random.default_rng(0).normal(size=200000), 40.0)
    low, high = calibrated(x, calibrator)
    assert high < most
    assert -6 < low < -2


def test_mse_leaves_the_least_error() -> None:
    rng = np.random.default_rng(1)
    for x in (
        rng.normal(size=20000),
        rng.laplace(size=20000),
        np.maximum(rng.normal(size=20000), 0),
        rng.random(20000),
    ):
        best = rounding_error(x, calibrated(x, "mse"))
        for other in ("minmax", "percentile", "entropy"):
            assert best <= 1.05 * rounding_error(x, calibrated(x, other))


@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("x", [np.zeros(9), np.full(9, 3.0), np.full(9, -2.0), np.array([1e-20]), np.array([1e20])])
def test_degenerate_tensors(calibrator: str, x: np.ndarray) -> None:
    low, high = calibrated(x, calibrator)
    assert low <= 0 <= high
    quant = quantization(low, high)
    assert quant.scale > 0
    if 1e-10 < np.abs(x).max() < 1e10:
        np.testing.assert_allclose(quant.dequantize(quant.quantize(x)), x, rtol=0.02)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_zero_is_exact_and_the_range_is_covered(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    quant = quantization(low, high)
    assert quant.dequantize(quant.quantize(np.zeros(1, np.float32)))[0] == 0
    reach = quant.dequantize(np.array([-128, 127], np.int8))
    assert reach[0] <= low + 0.51 * quant.scale
    assert reach[1] >= high - 0.51 * quant.scale


def test_saturated_parts_of_a_function_get_no_values() -> None:
    low, high = sensitive_range([["hard_swish", {}]], -20.0, 5.0, 0.001)
    assert -3.1 < low < -2.9
    assert high == 5.0
    low, high = sensitive_range([["sigmoid", {}]], -40.0, 40.0, 0.001)
    assert 6.5 < -low < 7.1
    assert 6.5 < high < 7.1
    assert sensitive_range([["abs", {}]], -4.0, 4.0, 0.0) == (-4.0, 4.0)


def test_a_constant_function_keeps_a_range() -> None:
    assert sensitive_range([["clip", {"min": 0.0, "max": 0.0}]], -1.0, 1.0, 0.0) == (-1.0, 1.0)


def test_ranges_in_the_model() -> None:
    net = FloatNet()
    y = net.conv(net.input(8, 8, 3), 8)
    net.nodes[-1].params["weight"] *= np.float32(8)
    graph = net.graph(net.unary("hard_swish", y), net.unary("sigmoid", net.conv(y, 4)))
    x = pictures(graph)
    model = lk.compress(graph, x, calibrator="minmax", input_ranges={"in0": (-5.0, 5.0)})
    assert model.quants["in0"].scale == pytest.approx(10 / 255)
    sigmoid = model.quants[model.outputs[1].tensor]
    assert (sigmoid.scale, sigmoid.zero_point) == (pytest.approx(1 / 255), -128)


def test_the_input_of_hard_swish_stops_at_minus_three() -> None:
    net = FloatNet()
    y = net.conv(net.input(8, 8, 3), 8)
    net.nodes[-1].params["weight"] *= np.float32(8)
    graph = net.graph(net.unary("hard_swish", y))
    quant = lk.compress(graph, pictures(graph)).quants[y]
    assert -3.3 < quant.scale * (-128 - quant.zero_point) < -2.7


# ---- options and calibration pictures


def small() -> tuple[lk.Graph, np.ndarray]:
    net = FloatNet()
    graph = net.graph(net.unary("relu", net.conv(net.input(5, 4, 3, layout="NCHW"), 4)))
    return graph, pictures(graph)["in0"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"calibrator": "max"}, ValueError, "calibrator must be one of"),
        ({"calibrator": 3}, TypeError, "calibrator must be one of"),
        ({"rounding": "up"}, ValueError, "rounding must be one of"),
        ({"percentile": 40}, ValueError, "percentile must be above 50"),
        ({"percentile": float("nan")}, ValueError, "percentile"),
        ({"percentile": "99"}, TypeError, "percentile must be a number"),
        ({"equalize": 1}, TypeError, "equalize must be True or False"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"input_ranges": [1]}, TypeError, "input_ranges must be a mapping"),
        ({"input_ranges": {"in0": (2.0, 1.0)}}, ValueError, "low < high"),
        ({"input_ranges": {"in0": "ab"}}, TypeError, "pair"),
        ({"input_ranges": {"nobody": (0.0, 1.0)}}, ValueError, "nobody"),
        ({"bits": 4}, TypeError, "unknown option 'bits'"),
        ({"options": {}}, TypeError, "options must be CompressOptions"),
    ],
)
def test_options_that_do_not_fit(change: dict[str, object], error: type[Exception], words: str) -> None:
    graph, x = small()
    with pytest.raises(error, match=words):
        lk.compress(graph, x, **change)


def test_options_object_and_single_changes() -> None:
    graph, x = small()
    model = lk.compress(graph, x, options=CompressOptions(calibrator="minmax"), equalize=False)
    assert model.metadata["options"]["calibrator"] == "minmax"
    assert model.metadata["options"]["equalize"] is False


@pytest.mark.parametrize(
    ("calibration", "error", "words"),
    [
        ([], ValueError, "empty"),
        (iter(()), ValueError, "empty"),
        ("pictures", TypeError, "must be an array"),
        (5, TypeError, "must be an array"),
        (np.zeros((2, 5, 4, 3), np.float32), ValueError, "expected shape"),
        (np.zeros((0, 3, 5, 4), np.float32), ValueError, "n >= 1"),
        (np.full((1, 3, 5, 4), np.nan, np.float32), ValueError, "NaN"),
        (np.full((1, 3, 5, 4), np.inf), ValueError, "infinity"),
        (np.zeros((1, 3, 5, 4), complex), TypeError, "complex"),
        ([np.zeros((1, 3, 5, 4)), {"other": np.zeros((1, 3, 5, 4))}], ValueError, "item 1"),
        ([[1, 2]], TypeError, "item 0"),
    ],
)
def test_calibration_that_does_not_fit(calibration: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lk.compress(small()[0], calibration)


def test_graphs_that_do_not_fit() -> None:
    graph, x = small()
    with pytest.raises(TypeError, match=r"must be a lightkern\.Graph"):
        lk.compress("graph", x)  # type: ignore[arg-type]
    graph.nodes[0].params["weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        lk.compress(graph, x)


def test_values_that_overflow_are_named() -> None:
    net = FloatNet()
    y = net.unary("exp", net.conv(net.input(4, 4, 2), 2))
    net.nodes[0].params["bias"] += 1000
    with pytest.raises(ValueError, match=y), np.errstate(over="ignore"):
        lk.compress(net.graph(y), pictures(net.graph(y)))


def test_every_form_of_calibration_gives_the_same_model() -> None:
    graph, x = small()
    forms = [x, {"in0": x}, [x[:3], x[3:]], ({"in0": part} for part in (x[:5], x[5:])), x.astype(np.float64)]
    models = [lk.compress(graph, form, batch_size=2) for form in forms]
    for model in models[1:]:
        assert model.quants == models[0].quants
        assert all(
            np.array_equal(a.params[key], b.params[key])
            for a, b in zip(model.nodes, models[0].nodes, strict=True)
            for key in a.params
        )


def test_a_generator_may_reuse_its_buffer() -> None:
    graph, x = small()

    def reuse() -> object:
        buffer = np.empty_like(x[:1])
        for picture in x:
            buffer[:] = picture
            yield buffer

    assert lk.compress(graph, reuse()).quants == lk.compress(graph, x).quants


def test_many_pictures_wait_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = small()
    monkeypatch.setattr("lightkern.compression.calibration.SPOOL_BYTES", 1000)
    batches = Calibration(graph, x, 2)
    assert isinstance(next(iter(batches._held[-1].values())), tuple)
    for _ in range(2):
        got = np.concatenate([batch["in0"] for batch in batches])
        np.testing.assert_array_equal(got, x.transpose(0, 2, 3, 1))
    batches.close()


def test_integer_pictures() -> None:
    graph, _ = small()
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 4), dtype=np.uint8)
    assert lk.compress(graph, x).quants["in0"].scale == pytest.approx(x.max() / 255)
