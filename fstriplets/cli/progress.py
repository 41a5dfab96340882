"""Live progress of a build on stderr: a bar in a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from fstriplets.build import Progress

__all__ = ["BuildProgress", "duration", "rates"]

_LINE_EVERY = 10.0  # seconds between plain lines
_STAGES = {"scan": "reading the corpus", "plan": "planning", "build": "building", "finish": "finishing"}


class BuildProgress:
    """Shows what `build(progress=…)` reports. Use as a context manager.

    Args:
        show: False keeps quiet but for messages worth a line (a worker died, a photo was quarantined).
    """

    def __init__(self, show: bool = True) -> None:
        self._show = show
        self._terminal = sys.stderr.isatty()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._last_line = 0.0

    def __enter__(self) -> BuildProgress:
        if self._show and self._terminal:
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, rates="", eta="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.message:
            self._print(progress.message)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=_STAGES.get(progress.stage, progress.stage),
                total=progress.shards_total or None,
                completed=progress.shards_done,
                rates=rates(progress),
                eta=_eta(progress),
            )
        elif self._show:
            self._line(progress)

    def _line(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and now - self._last_line < _LINE_EVERY:
            return
        self._stage, self._last_line = progress.stage, now
        parts = [_STAGES.get(progress.stage, progress.stage)]
        if progress.shards_total:
            parts.append(f"{progress.shards_done}/{progress.shards_total} shards")
        parts += [part for part in (rates(progress), _eta(progress)) if part]
        self._print(" · ".join(parts))

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            click.echo(line, err=True)


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("shards"),
        TextColumn("{task.fields[rates]}", style="cyan"),
        TextColumn("{task.fields[eta]}", style="green"),
        console=Console(stderr=True),
    )


def rates(progress: Progress) -> str:
    """What this run made so far and how fast, e.g. `1,240 triplets (83/s)`."""
    if progress.seconds <= 0 or not progress.photos:
        return ""
    counts = {
        "photos": progress.photos,
        "faces": progress.faces,
        "edits": progress.edits,
        "triplets": progress.triplets,
    }
    shown = [f"{count:,} {name} ({_rate(count / progress.seconds)}/s)" for name, count in counts.items()]
    return "  ".join(shown) + (f"  {progress.rejected:,} rejected" if progress.rejected else "")


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _eta(progress: Progress) -> str:
    """Time left at this run's own pace; resumed shards cost nothing and say nothing."""
    made = progress.shards_done - progress.shards_resumed
    if made <= 0 or progress.shards_done >= progress.shards_total:
        return ""
    return f"{duration(progress.seconds / made * (progress.shards_total - progress.shards_done))} left"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 12 min`, `3 d 4 h`: two units at most."""
    units = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    whole = round(seconds)
    for big, name, small, small_name in units:
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
