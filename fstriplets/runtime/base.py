"""The map over buckets: tasks in, outcomes out, whatever the engine.

A build is one call of `Engine.map`. Two engines exist, `runtime/serial.py` (in this process) and
`runtime/dask.py` (local processes or a running cluster); a third would be one more file. What every
engine promises:

- Tasks are drawn from the iterator only as workers become free, so a million planned buckets cost the
  driver nothing, and outcomes come in the order they finish.
- An exception of the function is an `Outcome.error`, at once, never retried: what can be retried
  with profit (one bad photo) became a manifest row long before, so what is left is a full disk, a
  missing package or a bug.
- The *death* of a worker (killed, out of memory, crashed in native code) or a task that ran longer than
  its timeout costs a task one attempt. After `attempts` deaths its outcome carries `deaths` and a
  `WorkerDied`. Only the task that was running is blamed, never those that waited behind it.
- Ctrl-C and SIGTERM end the map with `Interrupted`, and workers never outlive the driver.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from fstriplets.config import RuntimeConfig
from fstriplets.errors import FstripletsError, Interrupted

__all__ = ["Engine", "Outcome", "Task", "WorkerDied", "default_workers", "open_engine"]


class WorkerDied(FstripletsError):
    """A task's worker died or hung at every attempt; `Outcome.deaths` says how often."""


@dataclass(frozen=True)
class Task:
    """One call of the function.

    Attributes:
        key: unique within a map; names the task in errors and on Dask's dashboard.
        payload: the function's argument; picklable and small, for it passes through the scheduler.
        timeout: seconds after which it counts as hung; None: `runtime.bucket_timeout`.
        attempts: deaths of a worker before it is given up; None: `runtime.max_attempts`.
    """

    key: str
    payload: Any
    timeout: float | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: as it was given.
        value: what the function returned; None with an error.
        error: what the function raised, or WorkerDied.
        deaths: attempts lost with their worker. With a value: survived them.
    """

    task: Task
    value: Any
    error: BaseException | None
    deaths: int = 0

    @property
    def died(self) -> bool:
        """The worker died or hung at every attempt: a suspect for quarantine, not a plain error."""
        return isinstance(self.error, WorkerDied)


class Engine(Protocol):
    """Maps a function over tasks."""

    @property
    def workers(self) -> int:
        """Processes at work; 0: in this process."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds a task may take that names no timeout itself."""
        ...

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes in the order they finish.

        Args:
            function: importable at the workers (module level); gets a task's payload.
            tasks: drawn lazily, a few more than there are workers.

        Raises:
            ClusterError: the scheduler or all workers are gone for good.
            Interrupted: Ctrl-C or SIGTERM.
        """
        ...


def default_workers() -> int:
    """Cores this process may use: affinity masks and, since Python 3.13, PYTHON_CPU_COUNT count."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def open_engine(
    config: RuntimeConfig, warm: Callable[[], None] | None = None, report: Path | None = None
) -> AbstractContextManager[Engine]:
    """The engine the config asks for.

    Args:
        config: `workers: 0` runs in this process, otherwise Dask: local, or at `scheduler`.
        warm: called once per process before its first task (loads models); importable or a partial of
            what is, for workers unpickle it.
        report: where Dask's performance report goes; None: none.

    Raises:
        ClusterError: on entering, when the cluster cannot be had as asked for.
    """
    if config.workers == 0 and config.scheduler is None:
        from fstriplets.runtime.serial import SerialEngine

        return _interruptible(SerialEngine(warm))
    from fstriplets.runtime.dask import DaskEngine

    return _interruptible(DaskEngine(config, warm, report))


@contextmanager
def _interruptible(manager: Any) -> Iterator[Engine]:
    """Turn Ctrl-C and SIGTERM into Interrupted, after the engine was closed."""
    stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:  # once: the engine is closing already, within seconds
            stopping = True
            raise KeyboardInterrupt

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        with manager as engine:
            yield engine
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; finished shards stay and running the same command resumes") from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
