"""`fstriplets train`: the bundled networks and swap models, from recipes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fstriplets.training.loop import Progress

__all__ = ["train"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def train() -> None:
    """Train networks. A run that was stopped goes on when the command is given again.

    \b
      fstriplets synth pairs --people 1200 --output pairs/
      fstriplets train faces train-detector --data pairs/ --output runs/detector
      fstriplets train editor train-editor --data pairs/ --output runs/editor
      fstriplets train swap train-swap-small --data DATASET --output runs/swap
    """


def _options(command: F) -> F:
    for option in reversed(
        [
            click.argument("recipe"),
            click.option(
                "--data",
                required=True,
                metavar="DIR",
                help="Training data: `fstriplets synth pairs`; for swap a dataset (folder or URL).",
            ),
            click.option(
                "--output",
                "-o",
                type=click.Path(path_type=Path),
                required=True,
                metavar="DIR",
                help="Folder of the run: checkpoint, metrics.jsonl, export/.",
            ),
            click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe."),
            click.option("--threads", type=click.IntRange(min=1), metavar="N", help="torch threads."),
            click.option(
                "--max-minutes",
                type=click.FloatRange(min=0, min_open=True),
                metavar="M",
                help="Stop with a checkpoint after so long.",
            ),
            click.option("--quiet", "-q", is_flag=True, help="No progress; the summary only."),
        ]
    ):
        command = option(command)
    return command


@train.command()
@_options
def faces(**options: Any) -> None:
    """Train a bundled face network; RECIPE: train-detector, train-analyser, train-identity or a YAML file."""
    _train("faces", **options)


@train.command()
@_options
@click.option("--scheduler", metavar="ADDR", help="Train on a Dask cluster's workers, one rank on each.")
def swap(**options: Any) -> None:
    """Train MobileFSGAN on a dataset of triplets; RECIPE: train-swap, train-swap-small or a YAML file.

    \b
      fstriplets train swap train-swap-small --data demo-out --output runs/swap
      torchrun --nproc-per-node 4 -m fstriplets train swap train-swap --data DATASET --output RUN
    """
    _train("swap", **options)


@train.command()
@_options
def editor(**options: Any) -> None:
    """Train the `flow-gan` editor; RECIPE: train-editor or a YAML file."""
    _train("editor", **options)


def _train(
    command: str,
    recipe: str,
    data: str,
    output: Path,
    overrides: tuple[str, ...],
    threads: int | None,
    max_minutes: float | None,
    quiet: bool,
    scheduler: str | None = None,
) -> None:
    from fstriplets.training.board import board
    from fstriplets.training.recipe import read_recipe
    from fstriplets.training.session import Session, run_here, run_on_cluster

    values = read_recipe(recipe, list(overrides))
    session = Session(values, recipe, command, data, str(output), threads, max_minutes)
    others = int(os.environ.get("RANK", 0)) > 0  # of torchrun's ranks the first one speaks
    draw = board(output) if not others else None

    def report(progress: Progress) -> None:
        if draw is not None:
            draw(progress)
        if not quiet:
            _show(progress)

    if scheduler:
        done = run_on_cluster(session, scheduler, report, click.echo)
    else:
        done = run_here(session, report, click.echo)
    if others:
        return
    if not done:
        click.echo(f"stopped after {max_minutes:g} minutes; the same command goes on: {output}")
        return
    for file in sorted((output / "export").iterdir()):
        click.echo(f"{file}  {file.stat().st_size / 1e6:.2f} MB")


def _show(progress: Progress) -> None:
    values = "  ".join(f"{name} {value:.4g}" for name, value in progress.values.items())
    if progress.validation:
        click.echo(f"  validation at {progress.step:,}: {values}")
        return
    left = (progress.steps - progress.step) / max(progress.rate, 1e-9) / 60
    click.echo(
        f"{progress.step:>8,}/{progress.steps:,}  {progress.rate:.1f} steps/s, {left:.0f} min to go  {values}"
    )
