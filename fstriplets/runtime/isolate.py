"""Find the items that kill workers: what is left when a bucket died at every attempt.

Group testing by bisection. A group that kills its worker is halved, a group that survives is innocent, and
both halves are probed at once: a single culprit among n costs about 2 log2(n) probes and log2(n) deaths.
Groups get one attempt, since a death there only means a closer look; a single item is convicted only after
as many deaths as any task gets, so workers that die for other reasons (a spot machine taken away, an
operator's kill -9) cost probes, never a verdict against an item.

An empty verdict means that no item kills a worker alone: the deaths had an outside cause, or only the items
together are too much (memory). Run the task again; if it keeps dying, it is the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fstriplets.runtime.base import Engine, Task

__all__ = ["find_poison"]

T = TypeVar("T")

_FLOOR = 60.0  # seconds any probe gets: a fresh worker loads its models first


def find_poison(
    engine: Engine,
    probe: Callable[[Any], Any],
    make_task: Callable[[Sequence[T]], Task],
    items: Sequence[T],
) -> list[T]:
    """The items on which `probe` kills or hangs its worker, in their order.

    A probe's time limit is four times its share of `engine.timeout`, at least a minute, so that a hang among
    n items is not waited out in full log2(n) times; a `timeout` that `make_task` sets goes first.

    Args:
        engine: with worker processes; in process (`workers: 0`) nothing survives to be blamed.
        probe: module-level function of a payload that does what killed the task.
        make_task: a task that probes the given items alone.
        items: of the task that died.

    Returns:
        [] when no item alone does it.

    Raises:
        BaseException: what `probe` raised; an error is no death.
    """
    poison: list[int] = []
    groups = list(_halves(range(len(items))))
    generation = 0
    while groups:
        generation += 1
        tasks: dict[str, tuple[Task, range]] = {}
        for group in groups:
            key = f"probe-{generation}-{group.start}-{group.stop}"
            task = make_task([items[index] for index in group])
            tasks[key] = (_limited(task, key, engine.timeout, len(group), len(items)), group)
        groups = []
        for outcome in engine.map(probe, (task for task, _ in tasks.values())):
            if not outcome.died:
                if outcome.error is not None:
                    raise outcome.error
                continue
            group = tasks[outcome.task.key][1]
            if len(group) == 1:
                poison.append(group.start)
            else:
                groups += _halves(group)
    return [items[index] for index in sorted(poison)]


def _limited(task: Task, key: str, timeout: float, size: int, total: int) -> Task:
    share = min(timeout, max(_FLOOR, 4 * timeout * size / total))
    attempts = 1 if size > 1 else task.attempts
    return replace(task, key=key, timeout=task.timeout or share, attempts=attempts)


def _halves(group: range) -> Iterator[range]:
    middle = (len(group) + 1) // 2
    return (half for half in (group[:middle], group[middle:]) if half)
