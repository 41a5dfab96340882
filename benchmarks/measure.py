"""What a figure is, and how it is taken: medians of paired runs, ratios within one run.

A machine's speed drifts by a factor of two between runs, so nothing is compared across runs: both sides
of a ratio run in turn, A B A B, and the median of the pairs' ratios counts.
"""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Figure", "paired", "seconds"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    name: str
    value: float
    unit: str
    goal: str  #: e.g. ">= 0.85"; empty: no goal
    detail: str = ""

    @property
    def reached(self) -> bool | None:
        """Is the goal met? None without a goal."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        compare = {">=": operator.ge, "<": operator.lt}[sign]
        return bool(compare(self.value, float(bound)))


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], pairs: int
) -> tuple[float, float, float]:
    """Run both in turn. Returns (median of theirs/ours, median seconds of ours, of theirs)."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    ratio = statistics.median(b / a for a, b in times)
    return ratio, statistics.median(a for a, _ in times), statistics.median(b for _, b in times)
