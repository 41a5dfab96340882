"""`fstriplets build`: a recipe and a corpus in, shards and manifests out."""

from __future__ import annotations

import json
from typing import Any

import click

__all__ = ["build", "overrides_of"]


@click.command()
@click.argument("pipeline", metavar="PIPELINE")
@click.option(
    "--corpus",
    metavar="PATH",
    help="Folder per person, csv/parquet table, or tar shards.  [default: the recipe's]",
)
@click.option(
    "--output", "-o", metavar="DIR|URL", help="Dataset folder or fsspec URL.  [default: the recipe's]"
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Join a running Dask scheduler, e.g. tcp://10.0.0.5:8786.  [default: a cluster on this machine]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="N",
    help="Worker processes; 0 runs in this process.  [default: one a core]",
)
@click.option("--gpu", is_flag=True, help="Run buckets on workers that offer the resource GPU=1.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any recipe key, dotted: --set edits.aging.strength=[0.3,0.6]. May be repeated.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Use the first N identities only.  [default: all]",
)
@click.option(
    "--dry-run", is_flag=True, help="Plan only: identities, triplets, shards, bytes, and an estimate of time."
)
@click.option(
    "--resume/--overwrite",
    default=True,
    show_default=True,
    help="Keep the finished shards of an earlier run, or start over.",
)
@click.option("--retry-failed", is_flag=True, help="Build again the shards that hold failed photos or edits.")
@click.option("--verify", is_flag=True, help="Check the sha256 of the finished shards before trusting them.")
@click.option("--quiet", "-q", is_flag=True, help="No progress; the summary only.")
def build(
    pipeline: str,
    corpus: str | None,
    output: str | None,
    scheduler: str | None,
    workers: int | None,
    gpu: bool,
    settings: tuple[str, ...],
    resume: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Build triplet shards and manifests from a corpus of photos.

    PIPELINE is a recipe: a YAML file, or the name of one that travels with the package (quickstart,
    photos, fstriplets-paper, cluster). A build that was stopped, or killed, goes on where it was
    when the same command is given again.

    \b
    Examples:
      fstriplets build quickstart
      fstriplets build photos --corpus my-photos/ --output my-triplets/
      fstriplets build photos --corpus people.csv -o out/ --dry-run
    """
    from fstriplets.config import load_config

    given = {
        "corpus": corpus,
        "output": output,
        "runtime.scheduler": scheduler,
        "runtime.workers": workers,
        "runtime.gpu": gpu or None,
    }
    config = load_config(pipeline, [*settings, *overrides_of(given)])
    # after the config, so that a typing error in it costs no wait for numpy and pyarrow
    from fstriplets.build import build as run_build
    from fstriplets.cli.progress import BuildProgress
    from fstriplets.cli.summary import print_summary

    with BuildProgress(show=not quiet) as progress:
        report = run_build(config, overwrite=not resume, progress=progress, **choices)
    print_summary(report)


def overrides_of(given: dict[str, Any]) -> list[str]:
    """`key=value` overrides of the options that were given; JSON is YAML, so any path survives."""
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
