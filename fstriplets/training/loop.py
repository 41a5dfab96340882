"""The loop every trainer runs in: steps, checkpoints, metrics, exact resume.

A job's batch is a function of (seed, step) and the random numbers of a step are seeded from the same two,
so a checkpoint needs no state of the data: a resumed run takes the very batches it would have had.

    RUN/recipe.json      what was asked for; a folder holds one run
    RUN/checkpoint.pt    the latest state, replaced atomically
    RUN/metrics.jsonl    one line a report: step, seconds, values
    RUN/export/          the weights that ship, written at the end
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from fstriplets.errors import FstripletsError, Interrupted, OutputError

__all__ = ["Job", "Progress", "load_run", "run_training", "seed_step", "warmup_cosine"]

_AHEAD = 2  # batches made ahead of time


class Job(Protocol):
    """One training; whatever changes from step to step is in `state`."""

    def batch(self, step: int) -> Any:
        """The batch of a step: a pure function of the step. Called in another thread, ahead of time."""
        ...

    def step(self, step: int, batch: Any) -> dict[str, float]:
        """One optimiser step; returns values to report. torch's random numbers are already seeded."""
        ...

    def state(self) -> dict[str, Any]:
        """Networks, optimisers, averages: tensors and plain containers."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        ...

    def validate(self) -> dict[str, float]:
        """Measures on held-out people."""
        ...

    def export(self, folder: Path) -> list[Path]:
        """Writes the weights that ship as safetensors; returns the files."""
        ...


@dataclass
class Progress:
    """Where a run is; what its reporter is called with."""

    step: int
    steps: int
    seconds: float  #: of this process
    rate: float  #: steps a second
    values: dict[str, float] = field(default_factory=dict)
    validation: bool = False


def seed_step(seed: int, step: int) -> None:
    """Seeds torch for a step."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def warmup_cosine(step: int, steps: int, warmup: int = 200, floor: float = 0.02) -> float:
    """Factor on the learning rate: linear up, then a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def run_training(
    job: Job,
    folder: Path,
    *,
    steps: int,
    seed: int,
    recipe: Mapping[str, Any],
    checkpoint_minutes: float = 3.0,
    validate_every: int = 0,
    log_every: int = 50,
    max_minutes: float | None = None,
    report: Callable[[Progress], None] | None = None,
) -> bool:
    """Trains to `steps`, from the folder's checkpoint where there is one.

    Args:
        folder: of the run. recipe: plain values; a folder begun with another recipe is refused.
        validate_every: steps between validations; 0: at the end only.
        max_minutes: stop, with a checkpoint, after so long.
        report: called every `log_every` steps and after each validation.

    Returns:
        True when all steps are done and the weights are exported.

    Raises:
        OutputError: the folder belongs to another recipe, or cannot be written.
        FstripletsError: a value of a step is not finite; the last checkpoint stays.
        Interrupted: stopped by the user; the checkpoint holds the last finished step.
    """
    started = time.monotonic()
    _claim(folder, recipe)
    first = load_run(folder, job)
    saved = time.monotonic()
    sums: dict[str, float] = {}
    with _deferred_stop() as stop:
        for step, batch in _batches(job, first, steps):
            seed_step(seed, step)
            for name, value in job.step(step, batch).items():
                sums[name] = sums.get(name, 0.0) + value
            done = step + 1
            seconds = time.monotonic() - started
            if done % log_every == 0 or done == steps:
                count = log_every if done % log_every == 0 else done % log_every
                values = {name: total / count for name, total in sums.items()}
                sums.clear()
                _check(values, step, folder)
                _tell(folder, Progress(done, steps, seconds, (done - first) / seconds, values), report)
            if validate_every and done % validate_every == 0 and done < steps:
                measured = job.validate()
                _tell(folder, Progress(done, steps, seconds, 0.0, measured, validation=True), report)
            over = stop.asked or (max_minutes is not None and seconds > 60 * max_minutes)
            if over or time.monotonic() - saved > 60 * checkpoint_minutes or done == steps:
                _save(folder, job, done)
                saved = time.monotonic()
            if stop.asked and done < steps:
                raise Interrupted(f"stopped after {done:,} of {steps:,} steps; run it again to go on")
            if over and done < steps:
                return False
    measured = job.validate()
    seconds = time.monotonic() - started
    _tell(folder, Progress(steps, steps, seconds, 0.0, measured, validation=True), report)
    job.export(folder / "export")
    return True


def load_run(folder: Path, job: Job) -> int:
    """Puts the folder's checkpoint, if any, into a job; returns the steps done."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return 0
    kept = torch.load(path, map_location="cpu", weights_only=True)
    job.load(kept["job"])
    return int(kept["step"])


@dataclass
class _Stop:
    asked: bool = False


@contextmanager
def _deferred_stop() -> Iterator[_Stop]:
    """Ctrl-C and SIGTERM let the step in hand finish; a second one stops at once, without a checkpoint."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _batches(job: Job, first: int, steps: int) -> Iterator[tuple[int, Any]]:
    """(step, batch), the next ones being made meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Any]] = [
            pool.submit(job.batch, step) for step in range(first, min(first + _AHEAD, steps))
        ]
        try:
            for step in range(first, steps):
                batch = waiting.pop(0).result()
                if step + _AHEAD < steps:
                    waiting.append(pool.submit(job.batch, step + _AHEAD))
                yield step, batch
        finally:
            for future in waiting:
                future.cancel()


def _claim(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Marks the folder as this recipe's run."""
    mark = folder / "recipe.json"
    stated = json.loads(json.dumps(dict(recipe), sort_keys=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            mark.write_text(json.dumps(stated, indent=1, sort_keys=True) + "\n")
            return
        begun = json.loads(mark.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot use the run folder {folder}: {error}") from error
    if begun != stated:
        differ = sorted(k for k in begun.keys() | stated.keys() if begun.get(k) != stated.get(k))
        raise OutputError(
            f"{folder} holds a run with another recipe ({', '.join(differ)} differ): choose another --output"
        )


def _save(folder: Path, job: Job, step: int) -> None:
    path = folder / "checkpoint.pt"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({"step": step, "job": job.state()}, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _check(values: Mapping[str, float], step: int, folder: Path) -> None:
    bad = sorted(name for name, value in values.items() if not math.isfinite(value))
    if bad:
        raise FstripletsError(
            f"{', '.join(bad)} became NaN or infinite before step {step + 1:,};"
            f" the last checkpoint in {folder} is from before: lower the learning rate and resume"
        )


def _tell(folder: Path, progress: Progress, report: Callable[[Progress], None] | None) -> None:
    line = {
        "step": progress.step,
        "seconds": round(progress.seconds, 1),
        "kind": "validation" if progress.validation else "train",
        **{name: round(value, 6) for name, value in progress.values.items()},
    }
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if report:
        report(progress)
