"""One map's bookkeeping in the driver: which tasks are on their way, who died of what, what is tried again.

Knows no engine: a `Cluster` starts tasks and tells of marks, answers and losses; what they mean is decided
here.

- A mark says that a task has started. A loss after the mark is a death of that task; a loss before it is
  somebody else's and costs the task nothing.
- A task that used up its attempts is set aside until the others are done. If any of those died too and then
  came through, workers die here for reasons that are no task's fault (an operator, a spot machine, a
  neighbour's memory), and the tasks set aside get more attempts; otherwise they are given up.
"""

from __future__ import annotations

import itertools
import queue
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from fstriplets.errors import ClusterError
from fstriplets.runtime.base import Outcome, Task, WorkerDied
from fstriplets.runtime.worker import Answer

__all__ = ["Cluster", "Flight", "Flights", "Lost"]

_WINDOW = 3  # tasks handed out per worker: one runs, one is at hand, one covers the round trip
_TICK = 0.5  # seconds between looks at hung tasks
_LOADING = 600.0  # seconds to load models, on top of the first task's own time
_KILL_GRACE = 30.0  # seconds after which a kill without effect is taken for a death
_PATIENCE = 5  # times `attempts`, where workers die of other causes
_LOST_LIMIT = 100  # losses before the start, after which something else is wrong


@dataclass
class Flight:
    """A task on its way."""

    task: Task
    timeout: float
    attempts: int
    key: str = ""  #: of the current attempt
    handle: Any = None  #: the cluster's own
    place: tuple[str, int] | None = None  #: worker address and pid, between mark and answer
    since: float = 0.0  #: monotonic seconds; the task's time counts from here
    killed: float | None = None  #: when its worker was killed for taking too long
    deaths: int = 0
    lost: int = 0
    hung: bool = False


class Lost:
    """In place of an answer: the attempt is gone, with or without its fault."""


class Cluster(Protocol):
    """What a map needs of its engine."""

    workers: int

    def flight(self, task: Task) -> Flight: ...
    def submit(self, flight: Flight, function: Callable[[Any], Any], flights: Flights) -> Any: ...
    def cancel(self, handles: list[Any]) -> None: ...
    def kill_worker(self, address: str, pid: int) -> None: ...
    def stop_hung(self) -> None: ...
    def any_workers(self) -> bool: ...


class Flights:
    """One map.

    Args:
        cluster: starts and stops tasks.
        function: what each task calls.
        tasks: drawn as there is room.
        patience: seconds to wait for a worker when there is none.
    """

    def __init__(
        self, cluster: Cluster, function: Callable[[Any], Any], tasks: Iterable[Task], patience: float
    ) -> None:
        self._cluster, self._function, self._patience = cluster, function, patience
        self._waiting = iter(tasks)
        self.id = uuid.uuid4().hex
        self._count = itertools.count()
        self._inbox: queue.SimpleQueue[tuple[str, Answer | Lost | BaseException]] = queue.SimpleQueue()
        self._aside: list[Flight] = []
        self._survived = 0
        self.flying: dict[str, Flight] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """The loop: fill the window, wait for something to happen, hand it on."""
        last = time.monotonic()
        while self._fill():
            outcome = None
            try:
                message = self._inbox.get(timeout=_TICK)
            except queue.Empty:
                self._look_for_workers(last)
            else:
                last = time.monotonic()
                outcome = self._settle(*message)
            self._cluster.stop_hung()
            self._drop_stuck()
            if outcome is not None:
                yield outcome
        yield from (_died(flight) for flight in self._aside)

    def close(self) -> None:
        """Cancel what is on its way."""
        handles = [flight.handle for flight in self.flying.values()]
        self.flying.clear()
        if handles:
            self._cluster.cancel(handles)

    # told by the cluster, in its own thread

    def started(self, key: str, address: str, pid: int, loading: bool = False) -> None:
        """The mark; `loading` when models come first. A second one with no answer between: the first died."""
        flight = self.flying.get(key)
        if flight is not None:
            if flight.place is not None:
                flight.deaths += 1
            flight.place, flight.killed = (address, pid), None
            flight.since = time.monotonic() + (_LOADING if loading else 0)

    def ready(self, key: str) -> None:
        """Models are loaded: the task's time starts now."""
        flight = self.flying.get(key)
        if flight is not None:
            flight.since = time.monotonic()

    def ended(self, key: str, answer: Answer | Lost | BaseException) -> None:
        """The answer, or what the engine has to say instead of one."""
        flight = self.flying.get(key)
        if flight is not None:
            if isinstance(answer, Answer):
                flight.place = None  # safe: its worker may die now
            self._inbox.put((key, answer))

    # in the driver's thread

    def _fill(self) -> bool:
        """Keep the window full. False: everything is done or set aside for good."""
        room = _WINDOW * self._cluster.workers - len(self.flying)
        for task in itertools.islice(self._waiting, max(0, room)):
            self._submit(self._cluster.flight(task))
        if not self.flying and self._survived:
            again, self._aside = self._aside, []
            for flight in again:
                flight.attempts *= _PATIENCE
                self._submit(flight)
            self._survived = 0
        return bool(self.flying)

    def _submit(self, flight: Flight) -> None:
        flight.key = f"{flight.task.key}/{next(self._count)}"  # new for each attempt
        flight.place, flight.killed = None, None
        self.flying[flight.key] = flight
        flight.handle = self._cluster.submit(flight, self._function, self)

    def _settle(self, key: str, answer: Answer | Lost | BaseException) -> Outcome | None:
        """Judge an attempt that ended; None when there is nothing to say of the task yet."""
        flight = self.flying.pop(key, None)
        if flight is None:
            return None  # stuck and dropped, or answered before its worker was lost
        if isinstance(answer, Lost):
            self._bury(flight)
            return None
        self._cluster.cancel([flight.handle])
        if isinstance(answer, Answer):
            self._survived += flight.deaths
            return Outcome(flight.task, answer.value, answer.raised(), flight.deaths)
        return Outcome(flight.task, None, answer, flight.deaths)

    def _bury(self, flight: Flight) -> None:
        """Count a loss, and try again or set aside."""
        if flight.place is not None:
            flight.deaths += 1
        else:
            flight.lost += 1
        if flight.deaths >= flight.attempts or flight.lost >= _LOST_LIMIT:
            self._aside.append(flight)
        else:
            self._submit(flight)

    def _drop_stuck(self) -> None:
        """Attempts that the engine would start once too often by itself, or whose kill has no effect."""
        now = time.monotonic()
        for key, flight in list(self.flying.items()):
            stuck = flight.killed is not None and now - flight.killed > _KILL_GRACE
            if not stuck and flight.deaths < flight.attempts:
                continue
            del self.flying[key]
            self._cluster.cancel([flight.handle])
            if stuck:
                self._bury(flight)
            else:
                if flight.place is not None:
                    self._cluster.kill_worker(*flight.place)
                self._aside.append(flight)

    def _look_for_workers(self, last: float) -> None:
        if not self._cluster.any_workers() and time.monotonic() - last > self._patience:
            raise ClusterError(
                f"all workers are gone, and none came back in {self._patience:g} s; start workers and run the"
                " same command: finished shards stay"
            )


def _died(flight: Flight) -> Outcome:
    how = f"hung (over {flight.timeout:g} s)" if flight.hung else "died (killed, out of memory or crashed)"
    error = WorkerDied(f"{flight.task.key}: its worker {how}; attempts: {flight.deaths or flight.lost}")
    return Outcome(flight.task, None, error, flight.deaths)
