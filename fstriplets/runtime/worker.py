"""What runs inside a worker process, whatever the engine: threads, models loaded once, answers that travel.

Deviation from Dask's habit: models are loaded by the first task rather than by the plugin's `setup`,
because `setup` blocks the worker's event loop (no heartbeats while a model loads) and Dask only logs an
exception there; a task's thread does neither.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fstriplets.errors import FstripletsError

__all__ = ["Answer", "answer", "configure", "forget", "pickled", "unloaded", "unpickled"]

_lock = threading.Lock()
_warm: dict[str, Callable[[], None]] = {}
_threads = 1


class _RemoteTraceback(Exception):
    """The worker's traceback as text: the cause shown under an error that came from a worker."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Answer:
    """What a task came to: an error is an answer too, so that Dask's own errors are only Dask's."""

    value: Any
    error: BaseException | None = None
    trace: str = ""

    def raised(self) -> BaseException | None:
        """The error with the worker's traceback as its cause."""
        if self.error is not None and self.error.__cause__ is None:
            self.error.__cause__ = _RemoteTraceback(self.trace)
        return self.error


def configure(run: str, warm: Callable[[], None] | None, threads: int) -> None:
    """Set up this process for a run: once, before its first task.

    Args:
        run: id of the engine; two engines may share an external cluster.
        warm: loads models; called by the run's first task here.
        threads: of torch in this process; OpenCV always gets one.
    """
    global _threads
    _threads = threads
    if warm is not None:
        with _lock:
            _warm[run] = warm
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # Linux: out of memory costs a worker, which we survive, not the driver


def forget(run: str) -> None:
    """Undo `configure` for a run that ended before this process had a task of it."""
    with _lock:
        _warm.pop(run, None)


def unloaded(run: str) -> bool:
    """Whether the run's models are still to be loaded in this process."""
    return run in _warm


def answer(
    run: str, function: Callable[[Any], Any], payload: Any, ready: Callable[[], object] | None = None
) -> Answer:
    """Call the function, catching everything it raises; SystemExit too, which would end a thread silently.

    Args:
        run: as given to `configure`.
        function: called with `payload`.
        payload: its argument.
        ready: called after models were loaded, so that a task's time does not count that.
    """
    try:
        if _prepare(run) and ready is not None:
            ready()
        return Answer(function(payload))
    except BaseException as error:
        return Answer(None, _portable(error), traceback.format_exc())


def pickled(made: Answer) -> bytes:
    """An answer as bytes; one with a value that cannot be pickled becomes an error that says so."""
    try:
        return pickle.dumps(made)
    except Exception as error:
        return pickle.dumps(Answer(None, FstripletsError(f"the task's value cannot be pickled: {error}")))


def unpickled(data: bytes) -> Answer:
    """The answer; one that cannot be read here (an exception of a package this side lacks) is an error."""
    try:
        made: Answer = pickle.loads(data)
    except Exception as error:
        return Answer(None, error)
    return made


def _prepare(run: str) -> bool:
    """Load models and limit threads. True: this was the run's first task here."""
    with _lock:
        first = run in _warm
        if first:
            _warm[run]()  # if it raises, the next task tries again and reports the same
            del _warm[run]
    # Only libraries that the models or an earlier task imported: a worker that needs no torch loads none.
    if "torch" in sys.modules and sys.modules["torch"].get_num_threads() != _threads:
        sys.modules["torch"].set_num_threads(_threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    return first


def _portable(error: BaseException) -> BaseException:
    """The error itself if it survives pickling, else one of ours that says the same."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    return FstripletsError(f"{type(error).__name__}: {error}")
