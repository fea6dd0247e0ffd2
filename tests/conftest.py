"""What all tests share: the right package is tested, on every ISA level of this CPU, deterministically.

A test that takes the argument ``isa`` runs once per level. ``LIGHTKERN_TEST_EMULATED=1`` says that the CPU is emulated,
or the code instrumented, and so slow: Hypothesis then tries few examples, and `emulation.thinned` leaves cases out.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

import pytest
from emulation import EMULATED
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent


def _unshadow() -> None:
    """Let the source tree's package, which ``python -m pytest`` finds first, not hide the installed one.

    It stays first only if it holds a compiled `_core`, that is after a build in place.
    """
    package = ROOT / "lightkern"
    if not any((package / f"_core{suffix}").exists() for suffix in importlib.machinery.EXTENSION_SUFFIXES):
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
        loaded = sys.modules.get("lightkern")
        if loaded is not None and loaded.__file__ and Path(loaded.__file__).resolve().parent == package:
            raise pytest.UsageError(f"lightkern was imported from {package}, which holds no compiled _core")
    if importlib.util.find_spec("lightkern") is None:
        raise pytest.UsageError(
            "lightkern is not installed: run 'pip install .', or build in place with 'cmake --preset dev' and "
            f"'cmake --build --preset dev' and set PYTHONPATH={ROOT}"
        )


_unshadow()
os.environ["PYTHONSAFEPATH"] = "1"  # nor may it shadow in the interpreters that tests start here

settings.register_profile("native", deadline=None, derandomize=True, database=None, max_examples=60)
settings.register_profile(
    "emulated",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=6,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("emulated" if EMULATED else "native")


def pytest_report_header() -> str:
    import lightkern
    from lightkern import _core

    return f"lightkern: {lightkern.__file__}, ISA levels: {' '.join(_core.isa_levels())}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "isa" in metafunc.fixturenames:
        from lightkern import _core

        metafunc.parametrize("isa", _core.isa_levels())


@pytest.fixture(scope="session")
def isa_levels() -> list[str]:
    """ISA levels of this CPU, best first."""
    from lightkern import _core

    return list(_core.isa_levels())


@pytest.fixture(scope="session")
def emulated() -> bool:
    """Whether the CPU is emulated, so that big cases take too long."""
    return EMULATED
