"""The loop every trainer runs in: steps, checkpoints, metrics, exact resume.

A job's batch is a function of (seed, step) and the random numbers of a step are seeded from the same two,
so a checkpoint needs no state of the data: a resumed run takes the very batches it would have had. A job
that streams instead keeps the place of the last batch used in its state, and gets the same.

Several ranks (ranks.py) run the same loop in step: the first one reads and writes the folder, decides with
the others when to stop, and validates.

    RUN/recipe.json      what was asked for; a folder holds one run
    RUN/checkpoint.pt    the latest state, replaced atomically
    RUN/metrics.jsonl    one line a report: step, seconds, values
    RUN/samples/         pictures of each validation, where the job draws any
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch

from fstriplets.errors import FstripletsError, Interrupted, OutputError
from fstriplets.training.ranks import Ranks, these_ranks

__all__ = [
    "Drawing",
    "Job",
    "Progress",
    "load_run",
    "run_training",
    "seed_step",
    "warmup_cosine",
]

_AHEAD = 2  # batches made ahead of time


class Job(Protocol):
    """One training; whatever changes from step to step is in `state`."""

    def batch(self, step: int) -> Any:
        """The batch of a step: a pure function of the step, or the next of a stream.

        Called in another thread, ahead of time, once for each step, in order, and only after `load`. A
        stream's batch brings its place, which `step` puts into the state: it is ahead of what was used.
        """
        ...

    def step(self, step: int, batch: Any) -> Mapping[str, Any]:
        """One optimiser step; returns values to report: floats, or scalar tensors, which are read late.

        torch's random numbers are already seeded.
        """
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


@runtime_checkable
class Drawing(Protocol):
    """A job that can show how far it is."""

    def draw(self, path: Path) -> None:
        """Writes a picture, PNG."""
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
    stopped: Callable[[], bool] | None = None,
    completed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> bool:
    """Trains to `steps`, from the folder's checkpoint where there is one.

    Args:
        folder: of the run. recipe: plain values; a folder begun with another recipe is refused.
        validate_every: steps between validations; 0: at the end only.
        max_minutes: stop, with a checkpoint, after so long.
        report: called every `log_every` steps and after each validation.
        stopped: asked after each step whether the user wants it to stop, where no signal can tell.
        completed: gives a recipe's plain values those of keys there were not when they were written.

    Returns:
        True when all steps are done and the weights are exported.

    Raises:
        OutputError: the folder belongs to another recipe, or cannot be written.
        FstripletsError: a value of a step is not finite; the last checkpoint stays.
        Interrupted: stopped by the user; the checkpoint holds the last finished step.
    """
    started = time.monotonic()
    ranks = these_ranks()
    if ranks.first:
        _claim(folder, recipe, completed)
    first = load_run(folder, job)
    saved = time.monotonic()
    sums = _Sums()
    with _deferred_stop() as stop:
        for step, batch, waited in _batches(job, first, steps):
            seed_step(seed, step)
            sums.add(job.step(step, batch), waited)
            done = step + 1
            seconds = time.monotonic() - started
            if done % log_every == 0 or done == steps:
                values = ranks.mean(sums.take())
                _check(values, step, folder)
                _tell(folder, Progress(done, steps, seconds, (done - first) / seconds, values), report, ranks)
            if validate_every and done % validate_every == 0 and done < steps and ranks.first:
                _validate(folder, job, Progress(done, steps, seconds, 0.0), report)
            over = max_minutes is not None and seconds > 60 * max_minutes
            due = time.monotonic() - saved > 60 * checkpoint_minutes
            asked = stop.asked or (stopped is not None and stopped())
            asked, over, due = ranks.any(asked, over, due)
            if asked or over or due or done == steps:
                if ranks.first:
                    _save(folder, job, done)
                saved = time.monotonic()
            if asked and done < steps:
                raise Interrupted(f"stopped after {done:,} of {steps:,} steps; run it again to go on")
            if over and done < steps:
                return False
    if ranks.first:
        _validate(folder, job, Progress(steps, steps, time.monotonic() - started, 0.0), report)
        job.export(folder / "export")
    return True


def load_run(folder: Path, job: Job) -> int:
    """Puts the folder's checkpoint, if any, into a job; returns the steps done."""
    ranks = these_ranks()
    path = folder / "checkpoint.pt"
    here = ranks.first and path.is_file()
    kept = torch.load(path, map_location="cpu", weights_only=True) if here else None
    kept = ranks.from_first(kept)
    if kept is None:
        return 0
    job.load(kept["job"])
    return int(kept["step"])


@dataclass
class _Sums:
    """What steps told since the last report."""

    totals: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    waited: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def add(self, values: Mapping[str, Any], waited: float) -> None:
        for name, value in values.items():
            self.totals[name] = self.totals[name] + value if name in self.totals else value
        self.steps += 1
        self.waited += waited

    def take(self) -> dict[str, float]:
        """Means over the steps, and the share of the time spent waiting for batches."""
        means = {name: float(total) / self.steps for name, total in self.totals.items()}
        now = time.monotonic()
        means["data_wait"] = self.waited / max(now - self.since, 1e-9)
        self.totals, self.steps, self.waited, self.since = {}, 0, 0.0, now
        return means


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


def _batches(job: Job, first: int, steps: int) -> Iterator[tuple[int, Any, float]]:
    """(step, batch, seconds waited for it), the next ones being made meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Any]] = [
            pool.submit(job.batch, step) for step in range(first, min(first + _AHEAD, steps))
        ]
        try:
            for step in range(first, steps):
                asked = time.monotonic()
                batch = waiting.pop(0).result()
                waited = time.monotonic() - asked
                if step + _AHEAD < steps:
                    waiting.append(pool.submit(job.batch, step + _AHEAD))
                yield step, batch, waited
        finally:
            for future in waiting:
                future.cancel()


def _claim(
    folder: Path, recipe: Mapping[str, Any], completed: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Marks the folder as this recipe's run."""
    mark = folder / "recipe.json"
    stated = json.loads(json.dumps(dict(recipe), sort_keys=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            mark.write_text(json.dumps(stated, indent=1, sort_keys=True) + "\n")
            return
        begun = json.loads(json.dumps(completed(json.loads(mark.read_text()))))
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


def _validate(folder: Path, job: Job, progress: Progress, report: Callable[[Progress], None] | None) -> None:
    progress = replace(progress, values=job.validate(), validation=True)
    if isinstance(job, Drawing):
        (folder / "samples").mkdir(exist_ok=True)
        job.draw(folder / "samples" / f"step-{progress.step:07d}.png")
    _tell(folder, progress, report, Ranks())


def _tell(folder: Path, progress: Progress, report: Callable[[Progress], None] | None, ranks: Ranks) -> None:
    if not ranks.first:
        return
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
