"""One call of `fstriplets train`, wherever it runs: in this process, under torchrun, or on Dask workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fstriplets.errors import ConfigError
from fstriplets.training.loop import Progress, run_training
from fstriplets.training.memory import keep_freed_memory
from fstriplets.training.ranks import Ranks, open_ranks
from fstriplets.training.recipe import make_training

if TYPE_CHECKING:
    from fstriplets.runtime.dask import Seat

__all__ = ["Session", "run_here", "run_on_cluster"]


@dataclass(frozen=True)
class Session:
    """What the command line asked for; picklable."""

    values: dict[str, Any]  #: the recipe's, overrides applied
    recipe: str  #: what messages call it
    command: str
    data: str
    output: str
    threads: int | None = None
    max_minutes: float | None = None


def run_here(
    session: Session,
    report: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> bool:
    """Trains in this process, as one of torchrun's ranks where its variables are set.

    Args:
        report: called with every report. notice: called with what the user should know first.

    Returns:
        Whether all steps are done.
    """
    with open_ranks() as ranks:
        return _run(session, ranks, report, notice, stopped)


def run_on_cluster(
    session: Session,
    scheduler: str,
    report: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> bool:
    """Trains on the workers of a Dask cluster, one rank on each; those with the resource GPU if any has it.

    Dataset and output must be reachable from the workers under the same names.

    Raises:
        ClusterError: no scheduler or no workers. And what a rank raises.
    """
    from fstriplets.runtime.dask import run_seats

    def hear(message: Any) -> None:
        kind, value = message
        if kind == "notice" and notice:
            notice(value)
        if kind == "progress" and report:
            report(Progress(**value))

    return all(run_seats(scheduler, _at_worker, session, hear))


def _at_worker(seat: Seat, session: Session) -> bool:
    """A rank on a Dask worker."""

    def report(progress: Progress) -> None:
        seat.tell(("progress", vars(progress)))

    def notice(text: str) -> None:
        seat.tell(("notice", text))

    with open_ranks(seat.meeting, seat.rank, seat.size, seat.local_rank) as ranks:
        return _run(session, ranks, report, notice, seat.stopped)


def _run(
    session: Session,
    ranks: Ranks,
    report: Callable[[Progress], None] | None,
    notice: Callable[[str], None] | None,
    stopped: Callable[[], bool] | None,
) -> bool:
    if session.threads:
        torch.set_num_threads(session.threads)
    if not torch.cuda.is_available():
        keep_freed_memory()
    job, recipe, plain = make_training(session.values, session.data, session.command, session.recipe)
    if ranks.size > 1 and not hasattr(job, "ranks"):
        raise ConfigError(f"trainer {plain['trainer']} trains in one process: start it without torchrun")
    if ranks.first and notice:
        for note in getattr(job, "notes", ()):
            notice(note)
    return run_training(
        job,
        Path(session.output),
        steps=recipe.steps,
        seed=recipe.seed,
        recipe=plain,
        validate_every=recipe.validate_every,
        log_every=min(50, max(1, recipe.steps // 4)) if session.command == "swap" else 50,
        max_minutes=session.max_minutes,
        report=report if ranks.first else None,
        stopped=stopped,
        completed=type(recipe).completed,
    )
