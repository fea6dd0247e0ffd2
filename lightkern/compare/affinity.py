"""Threads on CPUs of their own, so that no scheduler decides a race (Linux; elsewhere nothing happens)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["pin", "spread", "worker_threads"]

ALL_CPUS: frozenset[int] = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def pin(threads: int) -> None:
    """Restrict this thread, and all that it starts later, to the first `threads` CPUs.

    Raises
    ------
    ValueError
        If the process may use fewer CPUs.
    """
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(ALL_CPUS)
        if threads > len(cpus):
            raise ValueError(f"{threads} threads wanted, this process may use {len(cpus)} CPUs")
        os.sched_setaffinity(0, cpus[:threads])


def unpin() -> None:
    """Let this thread run on every CPU again."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, ALL_CPUS)


def worker_threads() -> set[int]:
    """Identifiers of the threads of this process."""
    tasks = Path("/proc/self/task")
    return {int(task.name) for task in tasks.iterdir()} if tasks.is_dir() else set()


def spread(workers: set[int], threads: int) -> None:
    """Give each worker thread a CPU of its own among the first `threads`, leaving the first to the caller.

    Without this the scheduler of a busy machine now and then puts two threads of a pool on one CPU, for whole bursts.
    Pools differ in how many threads they start; the busiest come first.
    """
    cpus = sorted(ALL_CPUS)[1:threads]

    def ticks(worker: int) -> int:
        fields = Path(f"/proc/self/task/{worker}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    if cpus:
        for i, worker in enumerate(sorted(workers, key=ticks, reverse=True)):
            os.sched_setaffinity(worker, {cpus[i % len(cpus)]})
