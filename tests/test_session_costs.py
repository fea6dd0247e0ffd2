"""What a session costs beside time: its arena against the smallest possible one, and waiting threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import Net, inputs
from random_network import random_model

from lightkern import _core, reference
from lightkern.packed import PackedModel
from lightkern.session import Session


def test_the_bound_of_a_chain_by_hand():
    """Two neighbours of a chain are alive at once; the quantized input is read by the first step only."""
    net = Net(np.random.default_rng(0))
    x = net.input((16, 16, 64))
    y = net.conv2d(x, 32, kernel=(1, 1))
    z = net.conv2d(y, 128, kernel=(1, 1))
    packed = PackedModel(net.model(net.conv2d(z, 16, kernel=(1, 1))))
    assert packed.least_arena_nbytes == 16 * 16 * (32 + 128)
    assert packed.arena_nbytes == packed.least_arena_nbytes


@pytest.mark.parametrize("fuse", [True, False])
def test_the_arena_is_close_to_the_smallest_possible(fuse):
    excess = []
    for seed in range(120):
        model = random_model(np.random.default_rng(seed), blocks=2 + seed % 9)
        packed = PackedModel(model, fuse=fuse)
        assert packed.arena_nbytes >= packed.least_arena_nbytes > 0
        excess.append(packed.arena_nbytes / packed.least_arena_nbytes)
    assert max(excess) <= 1.1
    assert np.mean(excess) <= 1.01


@pytest.mark.skipif(os.environ.get("LIGHTKERN_TEST_EMULATED") == "1", reason="CPU time of the emulator")
def test_waiting_threads_sleep():
    """Between runs a session uses no CPU: workers spin for some ten microseconds, then sleep."""
    rng = np.random.default_rng(1)
    model = random_model(rng, blocks=4, size=32)
    session, x = Session(model, threads=4), inputs(model, rng)
    session.run(x)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.02


@pytest.mark.skipif(os.environ.get("LIGHTKERN_TEST_EMULATED") == "1", reason="packs 40 MB")
@pytest.mark.parametrize("features", [(2500, 2500, 2500, 2500, 10), (4300, 4000, 10)], ids=["many", "one"])
def test_packed_weights_beyond_one_block_of_memory(features):
    """Weights lie side by side in blocks of 16 MiB: more of them than one block holds, and a layer greater than it."""
    rng = np.random.default_rng(2)
    net = Net(rng)
    y = net.input((1, 1, features[0]))
    for width in features[1:]:
        y = net.linear(y, width)
    model = net.model(y)
    packed = PackedModel(model)
    assert packed.packed_nbytes > 16 << 20
    x = inputs(model, rng)
    np.testing.assert_array_equal(Session(packed, threads=2).run(x), reference.run(model, x))


@pytest.mark.skipif(os.environ.get("LIGHTKERN_TEST_EMULATED") == "1", reason="memory of the emulator")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("network", ["lk.load(path)", "path"])
def test_loading_adds_less_than_twice_the_weights_to_the_resident_set(network, tmp_path):
    """The file's bytes and what packing needed are given back; here 4 MB of weights and hardly an activation."""
    net = Net(np.random.default_rng(3))
    y = net.input((1, 1, 1000))
    for _ in range(4):
        y = net.linear(y, 1000)
    model = net.model(y)
    model.save(tmp_path / "model.lk")
    program = """
import sys, pathlib, numpy as np, lightkern as lk
def resident():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
def session(path):
    made = lk.Session(NETWORK)
    made.run(np.zeros((1, *made.packed.inputs[0].api_shape), np.float32))
    return made
before = resident()
kept = []
for _ in range(3):
    kept.append(session(sys.argv[1]))
    print(resident() - before)
    before = resident()
"""
    command = [sys.executable, "-c", program.replace("NETWORK", network), tmp_path / "model.lk"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    growth = [int(line) / model.nbytes for line in done.stdout.split()]
    assert len(growth) == 3
    assert max(growth[1:]) < 2  # packed weights fill whole huge pages
    assert growth[0] < 2.5  # imports what reads files, and touches the extension's code


def test_threads_that_pack_name_the_first_step_that_cannot_be_lowered():
    """Several layers fail, and the largest is lowered first: the message is that of the first one all the same."""
    net = Net(np.random.default_rng(4))
    y = net.input((9, 9, 32))
    for channels in (64, 256, 512, 512):  # more weights than one thread packs
        y = net.conv2d(net.conv2d(y, channels), channels, (5, 3), groups=channels)
        y = net.resize(y, (9, 9))
    model = net.model(y)
    first = next(node.name for node in model.nodes if node.attrs.get("groups", 1) > 1)
    messages = []
    for kernel in [name for op, isa, name in _core.kernels() if op == "dwconv" and isa in _core.isa_levels()]:
        try:
            PackedModel(model, kernel=kernel)
        except ValueError as error:
            messages.append(str(error))
    assert all(message.startswith(f"step '{first}") for message in messages), messages
    assert messages or "avx2" not in _core.isa_levels()  # which has a kernel per window


def _pointwise(size, channels):
    net = Net(np.random.default_rng(2))
    return net.model(net.conv2d(net.input((size, size, channels)), channels))


def _shared(model, **options):
    return [step["shared"] for step in PackedModel(model, **options).steps]


def test_only_steps_that_are_worth_it_wake_threads():
    """Neither a small step nor a small network does; a small step of a network that is worth it still does not."""
    assert _shared(_pointwise(7, 32)) == [False]
    assert _shared(_pointwise(28, 32)) == [False]  # of 800,000 products: the network is too small
    assert _shared(_pointwise(28, 128)) == [True]
    net = Net(np.random.default_rng(3))
    big = net.conv2d(net.input((28, 28, 64)), 128)
    model = net.model(net.linear(net.global_avg_pool(big), 16))
    assert _shared(model) == [True, False, False]
    assert _shared(model, guarded=True) == [True, True, True]  # tests of small networks see every cut


def _workers(session_of):
    """(session, what tells how long each of its workers has run, ns)."""
    tasks = Path("/proc/self/task")
    before = {task.name for task in tasks.iterdir()}
    session = session_of()
    started = sorted({task.name for task in tasks.iterdir()} - before)
    return session, lambda: [int((tasks / name / "schedstat").read_text().split()[0]) for name in started]


def _run_times_are_known():
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[0]) > 0
    except OSError:
        return False


@pytest.mark.skipif(not _run_times_are_known(), reason="this system does not tell how long a thread ran")
@pytest.mark.skipif(os.environ.get("LIGHTKERN_TEST_EMULATED") == "1", reason="the emulator has threads of its own")
@pytest.mark.parametrize(("size", "channels", "woken"), [(8, 32, False), (28, 128, True)])
def test_tiny_networks_let_workers_sleep(size, channels, woken):
    """The workers of a session run not for a nanosecond while it runs a tiny network, and do for a larger one."""
    model = _pointwise(size, channels)
    x = inputs(model, np.random.default_rng(4))
    expected = reference.run(model, x)
    session, run_times = _workers(lambda: Session(model, threads=3))
    before: list[int] = []
    while before != run_times():  # until they have started, waited and gone to sleep
        before = run_times()
        time.sleep(0.05)
    assert len(before) == 2
    for _ in range(20):
        np.testing.assert_array_equal(session.run(x), expected)
    after = run_times()
    assert (after != before) is woken
