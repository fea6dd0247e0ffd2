"""Random mixed networks: the same bits on every level, with any threads, fused or not, however they are run."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import Any

import numpy as np
import pytest
from builders import Style, inputs
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from random_network import random_model
from strategies import random_models

from lightkern import reference
from lightkern.model import Model
from lightkern.packed import PackedModel
from lightkern.session import Session

STYLES = (Style(), Style(zero_point=-128), Style(spread=1 / 16, weight="max"), Style(clamp="relu", weight="alternate"))


def assert_equal(got: Any, wanted: Any) -> None:
    """Compare outputs: one array, or a dict of them."""
    if not isinstance(wanted, dict):
        got, wanted = {"output": got}, {"output": wanted}
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        assert_array_equal(got[name], value, err_msg=name)


def case(seed: int, n: int = 1, **options: Any) -> tuple[Model, Any, Any]:
    """A network, int8 inputs, and what the reference makes of them."""
    rng = np.random.default_rng(seed)
    model = random_model(rng, blocks=5, style=STYLES[seed % len(STYLES)], **options)
    x = inputs(model, rng, n=n)
    return model, x, reference.run(model, x)


@pytest.mark.parametrize("fuse", [True, False])
def test_same_bits_on_every_level(isa, fuse):
    for seed in range(16):
        model, x, wanted = case(seed, n=1 + seed % 3)
        assert_equal(Session(model, isa=isa, fuse=fuse, guarded=True).run(x), wanted)


@given(case=random_models())
@settings(max_examples=30)
def test_random_networks(isa, case):
    model, x = case
    assert_equal(Session(model, isa=isa, guarded=True).run(x), reference.run(model, x))


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads(isa, threads):
    """Images big enough that every step is cut."""
    for seed in range(4):
        model, x, wanted = case(100 + seed, size=49)
        session = Session(model, isa=isa, threads=threads, guarded=seed % 2 == 0)
        for _ in range(3):
            assert_equal(session.run(x), wanted)


def test_float_input_and_batches(isa):
    """float32 in, float32 out; an image's result does not depend on the batch around it."""
    rng = np.random.default_rng(7)
    for seed in range(6):
        model, _, _ = case(200 + seed)
        port = model.inputs[0]
        x = rng.normal(0, 60 * model.quants[port.tensor].scale, (3, *port.api_shape)).astype(np.float32)
        session = Session(model, isa=isa)
        wanted = reference.run(model, x)
        assert_equal(session.run(x), wanted)
        for i in range(3):
            single = session.run(np.ascontiguousarray(x[i : i + 1]))
            one = {k: v[i : i + 1] for k, v in wanted.items()} if isinstance(wanted, dict) else wanted[i : i + 1]
            assert_equal(single, one)


def test_an_empty_batch_is_an_error():
    model, x, _ = case(300)
    with pytest.raises(ValueError, match=r"n >= 1, got \(0, "):
        Session(model).run(np.ascontiguousarray(x[:0]))


def in_threads(work: Any, count: int) -> None:
    """Run work(i) in `count` threads at once; raises what any of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(i: int) -> None:
        try:
            start.wait()
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_one_session_called_from_two_threads(threads):
    """The calls wait for each other; neither sees the other's activations."""
    model, x, _ = case(400, n=4, size=33)
    parts = [np.ascontiguousarray(x[i : i + 1]) for i in range(4)]
    wanted = [reference.run(model, part) for part in parts]
    session = Session(model, threads=threads)

    def work(i: int) -> None:
        for k in range(25):
            assert_equal(session.run(parts[(i + k) % 4]), wanted[(i + k) % 4])

    in_threads(work, 2)


def test_many_sessions_share_one_packed_model():
    model, x, _ = case(401, n=4, size=33)
    parts = [np.ascontiguousarray(x[i : i + 1]) for i in range(4)]
    wanted = [reference.run(model, part) for part in parts]
    packed = PackedModel(model)
    sessions = [Session(packed, threads=1 + i % 2) for i in range(4)]

    def work(i: int) -> None:
        for _ in range(25):
            assert_equal(sessions[i].run(parts[i]), wanted[i])

    in_threads(work, 4)


def test_a_session_outlives_model_and_packed_model():
    model, x, wanted = case(402)
    session = Session(PackedModel(model))
    for node in model.nodes:  # what was packed is a copy
        for value in node.params.values():
            value[...] = 0
    del model
    assert_equal(session.run(x), wanted)


def test_a_nan_leaves_the_session_usable():
    model, x, wanted = case(403)
    session = Session(model)
    bad = np.full((1, *model.inputs[0].api_shape), np.nan, np.float32)
    with pytest.raises(ValueError, match="NaN at index"):
        session.run(bad)
    assert_equal(session.run(x), wanted)


def run_in_child(session: Session, x: Any, queue: Any) -> None:
    """Target of the forked process: the inherited session, then a new one."""
    queue.put(session.run(x))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_works_after_fork(threads):
    """Its threads live in the parent only; the child computes alone, the parent goes on."""
    model, x, wanted = case(404, size=33)
    session = Session(model, threads=threads)
    session.run(x)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=run_in_child, args=(session, x, queue))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert_equal(queue.get(), wanted)
    assert_equal(session.run(x), wanted)
