"""Functions that tests of the runtime run in worker processes; a module, so that workers can import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

WARMED: list[int] = []


def double(number: int) -> int:
    return 2 * number


def nothing(payload: Any) -> None:
    return None


def raise_it(error: BaseException) -> None:
    raise error


def return_unpicklable(payload: Any) -> Any:
    return lambda: None


def busy(seconds: float) -> float:
    """Work for so long, on the clock."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(500))
    return seconds


def announced(payload: tuple[str, float]) -> float:
    """Leave this process' pid in a folder while working."""
    folder, seconds = payload
    note = Path(folder) / str(os.getpid())
    note.touch()
    time.sleep(seconds)
    note.unlink(missing_ok=True)
    return seconds


def by_name(payload: tuple[str, Any]) -> Any:
    """Do what the payload says."""
    what, argument = payload
    if what == "exit":
        os._exit(1)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        time.sleep(argument)
    if what == "raise":
        raise argument
    return argument


def deadly_numbers(numbers: list[int]) -> int:
    """3 and 9 kill, 13 hangs."""
    for number in numbers:
        if number in (3, 9):
            os._exit(1)
        if number == 13:
            time.sleep(600)
    return len(numbers)


def deadly_together(numbers: list[int]) -> int:
    """Too many at once kill, as memory does."""
    if len(numbers) > 3:
        os._exit(1)
    return len(numbers)


def warm() -> None:
    WARMED.append(os.getpid())


def warm_fails() -> None:
    raise FileNotFoundError("weights.onnx")


def warmed(payload: Any) -> tuple[int, list[int]]:
    return os.getpid(), list(WARMED)


def terminate(payload: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def environment(names: list[str]) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


def torch_loaded(payload: Any) -> bool:
    import sys

    return "torch" in sys.modules
