"""The list of kernels: names, levels, which tests cover them, and that a forced level really runs.

With ``LIGHTKERN_BUILD_DIR`` set to a build folder, also what the compiled kernels export.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import Net, Style
from numpy.testing import assert_array_equal
from random_network import random_model

from lightkern import _core, reference
from lightkern.model import Model
from lightkern.session import Session

TESTS = Path(__file__).resolve().parent
KERNELS = _core.kernels()
LEVELS = _core.isa_levels()
# <op>_<type>[_<sparsity>]_<tile>_<isa>; the tile may be several words: 3x3s1_4x2.
NAME = re.compile(r"(?P<op>[a-z]+)_(?P<type>s8|f32)(_(?P<rest>[a-z0-9]+))+_(?P<isa>[a-z0-9]+)")
ALL_LEVELS = {"avx512vnni", "avxvnni", "avx2", "sse41", "i8mm", "neondot", "neon", "scalar"}


def test_names_follow_the_grammar():
    for op, isa, name in KERNELS:
        match = NAME.fullmatch(name)
        assert match, name
        assert match["op"] == op, name
        assert match["isa"] == isa, name
        assert isa in ALL_LEVELS, name
        assert any(character.isdigit() for character in match["rest"]), f"{name}: the tile has no number"


def test_names_are_unique():
    names = [name for _, _, name in KERNELS]
    assert len(names) == len(set(names))


def test_every_op_has_a_scalar_kernel():
    levels = defaultdict(set)
    for op, isa, _ in KERNELS:
        levels[op].add(isa)
    assert levels
    assert [op for op, isas in levels.items() if "scalar" not in isas] == []


def test_every_op_has_tests_over_its_kernels():
    """A kernel is exercised if its op's test module takes its parameters from the registry."""
    for op in sorted({op for op, _, _ in KERNELS}):
        module = TESTS / "kernels" / f"test_{op}.py"
        assert module.is_file(), f"op {op} has no {module.name}"
        text = module.read_text()
        from_registry = f'kernels_of("{op}"' in text or "_core.kernels()" in text
        assert from_registry, f"{module.name} does not take its kernels from the registry"
        assert "parametrize" in text, module.name


def candidates() -> list[Model]:
    """Small models among which every kernel finds one that it fits."""
    models = [random_model(np.random.default_rng(seed)) for seed in range(8)]

    def one(build: Callable[[Net], str]) -> None:
        for weight in ("random", "alternate"):  # the pairs of the latter cannot saturate
            net = Net(np.random.default_rng(len(models)), Style(weight=weight))
            models.append(net.model(build(net)))

    for k, stride in itertools.product(range(2, 8), (1, 2)):
        window = {"kernel": (k, k), "stride": (stride, stride), "padding": (k // 2,) * 4}
        one(lambda net, w=window: net.conv2d(net.input((11, 12, 40)), 40, groups=40, **w))
    for each in (1, 2, 4, 8, 16, 24):
        for k in (1, 3):
            padding = (k // 2,) * 4
            one(
                lambda net, e=each, k=k, p=padding: net.conv2d(
                    net.input((7, 9, 4 * e)), 8 * e, (k, k), groups=4, padding=p
                )
            )
    for channels in (3, 8, 32):
        one(lambda net, c=channels: net.conv2d(net.input((9, 9, c)), 2 * c, (3, 3), padding=(1, 1, 1, 1)))
        one(lambda net, c=channels: net.linear(net.input((c,)), 3 * c))
    for groups in (2, 3, 4, 5):
        one(lambda net, g=groups: net.move("channel_shuffle", [net.input((3, 4, 20 * g))], {"groups": g}))
    one(lambda net: net.move("reshape", [net.input((7, 7, 40))], {"shape": [1960], "order": "CHW"}))
    one(lambda net: net.softmax(net.input((100,))))
    one(lambda net: net.prelu(net.input((5, 5, 20))))
    one(lambda net: net.move("pad", [net.input((5, 5, 20))], {"padding": [1, 1, 1, 1], "value": 0.0}))
    one(lambda net: net.resize(net.input((5, 5, 20)), (9, 8)))
    one(lambda net: net.avg_pool(net.input((9, 9, 20)), (3, 3)))
    one(lambda net: net.max_pool(net.input((9, 9, 20)), (3, 3)))
    return models


def test_every_kernel_of_this_cpu_runs_and_is_exact():
    """Each forced on the first model that it fits: none is dead code. Its own tests go into depth."""
    models = candidates()
    rng = np.random.default_rng(0)
    xs = [{p.name: rng.normal(0, 1, (1, *p.api_shape)).astype(np.float32) for p in m.inputs} for m in models]
    wanted = [reference.run(model, x) for model, x in zip(models, xs, strict=True)]
    levels = _core.isa_levels()
    for op, isa, name in KERNELS:
        if isa not in levels:
            continue
        for model, x, y in zip(models, xs, wanted, strict=True):
            try:
                session = Session(model, kernel=name)
            except ValueError:  # it does not fit
                continue
            if op in ("quantize", "dequantize") or name in {step.kernel for step in session.explain()}:
                got = session.run(x)
                for key in y if isinstance(y, dict) else [None]:
                    assert_array_equal(got[key] if key else got, y[key] if key else y, err_msg=name)
                break
        else:
            pytest.fail(f"no candidate runs {name}")


LEVEL_PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from random_network import random_model
from lightkern.session import Session
names = set()
for seed in range(12):
    session = Session(random_model(np.random.default_rng(seed)))
    names |= {step.kernel for step in session.explain()}
print(json.dumps([session.packed.isa, sorted(names)]))
"""


def run_with(level: str | None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "LIGHTKERN_ISA"}
    if level is not None:
        env["LIGHTKERN_ISA"] = level
    # An emulated interpreter starts another one only through the emulator: .ci/arm.sh names it.
    command = [*os.environ.get("LIGHTKERN_TEST_RUNNER", "").split(), sys.executable, "-c", LEVEL_PROGRAM, str(TESTS)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_the_environment_caps_the_level(isa, isa_levels):
    """Only kernels of the level and below run, and the level's own do where it has any."""
    result = run_with(isa)
    assert result.returncode == 0, result.stderr
    cap, names = json.loads(result.stdout)
    assert cap == isa
    used = {name.rsplit("_", 1)[1] for name in names}
    assert used <= set(isa_levels[isa_levels.index(isa) :])
    assert isa in used


def test_no_cap_means_the_best_level(isa_levels):
    result = run_with(None)
    assert result.returncode == 0, result.stderr
    cap, names = json.loads(result.stdout)
    assert cap == ""
    assert isa_levels[0] in {name.rsplit("_", 1)[1] for name in names}


@pytest.mark.parametrize("level", ["avx9", "AVX2", "scalar ", "neon,scalar"])
def test_an_unknown_level_in_the_environment_is_an_error(level):
    result = run_with(level)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: LIGHTKERN_ISA={level!r}"), last


def test_levels_of_other_cpus_are_errors(isa_levels):
    missing = sorted(ALL_LEVELS - set(isa_levels))
    assert missing  # no CPU is both x86 and Arm
    model = random_model(np.random.default_rng(0))
    for level in [*missing, "", "best"]:
        with pytest.raises(ValueError, match="is not one of the levels of this CPU"):
            Session(model, isa=level)


def test_explain_gives_a_reason_for_every_kernel_not_taken():
    """Per step, chosen and rejected kernels together are all kernels of one op."""
    by_op = defaultdict(set)
    for op, _, name in KERNELS:
        by_op[op].add(name)
    for isa in _core.isa_levels():
        session = Session(random_model(np.random.default_rng(3)), isa=isa)
        for step in session.explain():
            named = {step.kernel, *(kernel for kernel, _ in step.rejected)}
            op = step.kernel.split("_")[0]
            assert by_op[op] <= named, step
            assert all(reason for _, reason in step.rejected), step


def all_cores_in_order() -> bool:
    """Whether every CPU that this process may use says that it is a Cortex-A53 or A55 of Arm."""
    if sys.platform != "linux":
        return False
    files = [Path(f"/sys/devices/system/cpu/cpu{cpu}/regs/identification/midr_el1") for cpu in os.sched_getaffinity(0)]
    parts = {int(file.read_text(), 16) >> 4 & 0xFFF if file.exists() else 0 for file in files}
    return parts <= {0xD03, 0xD05}


@pytest.mark.parametrize("kernel", [(name, isa) for _, isa, name in KERNELS if "inorder" in name and isa in LEVELS])
def test_kernels_for_cores_that_issue_in_order_are_taken_there_and_nowhere_else(kernel):
    name, isa = kernel
    net = Net(np.random.default_rng(4))
    x = net.input((9, 9, 64))
    window = re.search(r"(\d)x\1s(\d)", name)
    if window:
        taps, stride = int(window[1]), int(window[2])
        y = net.conv2d(x, 64, kernel=(taps, taps), stride=(stride, stride), groups=64)
    else:
        y = net.conv2d(x, 48)
    (step,) = Session(net.model(y), isa=isa).explain()
    if all_cores_in_order():
        assert step.kernel == name
    else:
        assert dict(step.rejected)[name] == "made for cores that issue in order"


def test_a_kernel_of_no_op_is_an_error():
    with pytest.raises(ValueError, match="no_such_kernel"):
        Session(random_model(np.random.default_rng(0)), kernel="no_such_kernel")


# The compiled objects ---------------------------------------------------------------------------------------------

BUILD = os.environ.get("LIGHTKERN_BUILD_DIR", "")


@pytest.mark.skipif(not BUILD, reason="LIGHTKERN_BUILD_DIR is not set")
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_kernel_objects_export_only_their_table():
    """One external symbol per file, none weak, no initialisers.

    The linker merges weak symbols: code compiled for AVX2 would then run on CPUs without it. A static initialiser would
    run at import. What they use from outside is the C library's memory functions and the packer of their op.
    """
    objects = sorted(Path(BUILD).glob("CMakeFiles/lightkern_*.dir/csrc/kernels/*/*.cc.o"))
    kernels = [path for path in objects if not path.name.startswith("pack")]
    assert len(kernels) >= len({(op, isa) for op, isa, _ in KERNELS})
    for path in kernels:
        op, isa = path.parent.name, path.name.removesuffix(".cc.o")
        listing = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
        symbols = [line[17:].split(" ", 1) for line in listing.splitlines()]
        exported = {name for kind, name in symbols if kind.isupper() and kind not in "UN"}
        assert exported == {f"lightkern::{op}::{isa}"}, path
        assert not [name for kind, name in symbols if kind in "VWvwu"], path
        imported = {name for kind, name in symbols if kind == "U" and not name.startswith(f"lightkern::{op}::")}
        assert imported <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}, f"{path}: {imported}"
        sections = subprocess.run(["readelf", "-SW", str(path)], capture_output=True, text=True, check=True).stdout
        assert ".init_array" not in sections, path
