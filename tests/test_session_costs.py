"""What a session costs beside time: its arena against the smallest possible one, and waiting threads."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from builders import Net, inputs, random_model

from lightkern import reference
from lightkern.session import PackedModel, Session


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
@pytest.mark.parametrize("features", [(2200, 2200, 2200, 2200, 10), (4300, 4000, 10)], ids=["many", "one"])
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
