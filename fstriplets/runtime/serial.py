"""The engine of `--workers 0`: one task after another in this process.

For debuggers, notebooks and tests. It cannot survive what kills its process and cannot stop a hung task:
`Task.timeout` and `Task.attempts` have no effect, and `Outcome.deaths` is always 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from fstriplets.runtime.base import Outcome, Task

__all__ = ["SerialEngine"]


class SerialEngine:
    """See `runtime.base.Engine`.

    Args:
        warm: called before the first task.
    """

    workers = 0
    timeout = math.inf

    def __init__(self, warm: Callable[[], None] | None = None) -> None:
        self._warm = warm

    def __enter__(self) -> SerialEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes in the order of the tasks."""
        for task in tasks:
            yield self._run(function, task)

    def _run(self, function: Callable[[Any], Any], task: Task) -> Outcome:
        try:
            if self._warm is not None:
                self._warm()
                self._warm = None
            return Outcome(task, function(task.payload), None)
        except Exception as error:
            return Outcome(task, None, error)
