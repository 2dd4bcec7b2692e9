"""Paired measurements: the two sides in turn, medians of ratios, CPU of this process and wall."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Ours over theirs.

    Attributes:
        name: what was measured.
        cpu: the median ratio of process CPU time.
        wall: the median ratio of wall time.
        ours: the median of our wall time for one run, in seconds.
        theirs: the same of the bare library.
        budget: the most that the CPU ratio may be, or None.
    """

    name: str
    cpu: float
    wall: float
    ours: float
    theirs: float
    budget: float | None

    def __str__(self) -> str:
        mark = "    " if self.budget is None else "ok  " if self.cpu <= self.budget else "OVER"
        return (
            f"{mark} {self.name:<58} cpu {self.cpu:6.3f}  wall {self.wall:6.3f}  "
            f"budget {self.budget or '-':<5}  "
            f"{self.ours * 1e3:9.3f} ms / {self.theirs * 1e3:9.3f} ms"
        )


def paired(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    budget: float | None,
    rounds: int = 31,
    repeat: int = 20,
) -> Ratio:
    """Run both sides in turn, `repeat` calls a run, and return the medians of the ratios."""
    for _ in range(3):
        ours()
        theirs()
    cpu, wall, left, right = [], [], [], []
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            # whoever goes first pays for what the other left behind
            pair = (ours, theirs) if number % 2 else (theirs, ours)
            first, second = (_timed(one, repeat) for one in pair)
            mine, bare = (first, second) if number % 2 else (second, first)
            cpu.append(mine[0] / bare[0])
            wall.append(mine[1] / bare[1])
            left.append(mine[1] / repeat)
            right.append(bare[1] / repeat)
            gc.collect()
    finally:
        gc.enable()
    median = statistics.median
    return Ratio(name, median(cpu), median(wall), median(left), median(right), budget)


def _timed(run: Callable[[], object], repeat: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeat):
        run()
    return time.process_time() - cpu, time.perf_counter() - wall
