"""Find the items that kill workers: what is left when a bucket died at every attempt.

Group testing by bisection. A group that kills its worker is halved, a group that survives is innocent; both
halves are probed at once, so a single culprit among n costs about 2 log2(n) probes and log2(n) deaths. Groups get one
attempt, since a death there only means a closer look; a single item is convicted only after as many deaths as any
task gets, so workers that die for other reasons (a spot machine taken away, an operator's kill -9) cost probes,
never a verdict against an item.

An empty verdict means that no item kills a worker alone: the deaths had an outside cause, or only the items together
are too much (memory). Run the task again; if it keeps dying, it is the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fstriplets.runtime.base import Engine, Task

__all__ = ["find_poison"]

T = TypeVar("T")


def find_poison(
    engine: Engine,
    probe: Callable[[Any], Any],
    make_task: Callable[[Sequence[T]], Task],
    items: Sequence[T],
    *,
    timeout: float | None = None,
    floor: float = 60.0,
) -> list[T]:
    """The items on which `probe` kills or hangs its worker, in their order.

    Args:
        engine: with worker processes; in process (`workers: 0`) there is nothing to survive.
        probe: module-level function of a payload that does what killed the task.
        make_task: a task that probes the given items alone; keys need not be unique.
        items: of the task that died.
        timeout: seconds the whole task may take. Groups get four times their share of it, so that a hang among
            n items is not waited out log2(n) times in full. None: `Task.timeout` as `make_task` says.
        floor: seconds that any group gets at least: loading models takes its time.

    Returns:
        [] when no item alone does it.

    Raises:
        BaseException: what `probe` raised; an error is no death.
    """
    position = {id(item): index for index, item in enumerate(items)}
    poison: list[T] = []
    groups = list(_halves(list(items))) if len(items) > 1 else [list(items)]
    generation = 0
    while groups:
        generation += 1
        tasks = [
            _limited(make_task(group), f"{generation}.{index}", group, len(items), timeout, floor)
            for index, group in enumerate(groups)
        ]
        of_key = {task.key: group for task, group in zip(tasks, groups, strict=True)}
        groups = []
        for outcome in engine.map(probe, tasks):
            group = of_key[outcome.task.key]
            if not outcome.died:
                if outcome.error is not None:
                    raise outcome.error
            elif len(group) == 1:
                poison += group
            else:
                groups += _halves(group)
        groups.sort(key=lambda group: position[id(group[0])])
    return sorted(poison, key=lambda item: position[id(item)])


def _limited(
    task: Task, suffix: str, group: Sequence[Any], total: int, timeout: float | None, floor: float
) -> Task:
    if timeout is not None:
        share = 4 * timeout * len(group) / total
        task = replace(task, timeout=min(timeout, max(floor, share)))
    return replace(
        task, key=f"{task.key}/probe-{suffix}", attempts=1 if len(group) > 1 else task.attempts
    )


def _halves(group: list[T]) -> Iterator[list[T]]:
    middle = (len(group) + 1) // 2
    yield group[:middle]
    yield group[middle:]
