"""`fstriplets swap`: the face of one person onto a photo, a folder of photos, or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fstriplets.swapping.run import Progress, SwapReport

__all__ = ["swap"]

_SHOWN = 12  # targets that were not swapped, on the screen


@click.command()
@click.option("--source", required=True, metavar="PHOTO", help="The person who gives the face.")
@click.option(
    "--target", required=True, metavar="PHOTO|DIR|VIDEO", help="What keeps pose, expression, hair, scene."
)
@click.option("--output", "-o", required=True, metavar="FILE|DIR", help="A folder where --target is one.")
@click.option(
    "--weights",
    metavar="FILE|DIR|NAME",
    help="The swapper.  [default: your own in the table, else the bundled one]",
)
@click.option(
    "--embedder", metavar="FILE|NAME", help="Its face recogniser.  [default: what the weights name]"
)
@click.option(
    "--faces", default="largest", show_default=True, metavar="largest|all|N", help="Which of several faces."
)
@click.option("--like", metavar="PHOTO", help="Swap the face most like this person's, in every target.")
@click.option(
    "--like-min",
    type=click.FloatRange(-1, 1),
    default=0.25,
    show_default=True,
    metavar="COSINE",
    help="With --like: below, nobody in the target is that person.",
)
@click.option(
    "--colour-match/--no-colour-match", default=True, show_default=True, help="Take over the light."
)
@click.option(
    "--identity-strength",
    type=click.FloatRange(0, 2),
    default=1.0,
    show_default=True,
    help="0: the target's identity, 1: the source's, above: beyond it.",
)
@click.option("--detector", default="auto", show_default=True, help="As in pipelines (docs/faces.md).")
@click.option("--landmarker", default="auto", show_default=True, help="As in pipelines (docs/faces.md).")
@click.option("--parser", default="auto", show_default=True, help="What is face: auto, bundled, landmarks.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="JPEG and WebP.")
@click.option("--mark/--no-mark", default=True, show_default=True, help="Say in the file: synthetic (XMP).")
@click.option("--c2pa", metavar="CERT,KEY", help="Sign it too (C2PA): PEM files of certificates and key.")
@click.option("--audio/--no-audio", default=True, show_default=True, help="Keep a video's sound.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    metavar="torch|onnx|auto",
    help="onnx: files of export swap; auto: what the weights are.",
)
@click.option("--strict", is_flag=True, help="Exit 1 if any target was not swapped.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary but of what failed.")
def swap(source: str, target: str, output: str, strict: bool, quiet: bool, **options: Any) -> int:
    """Swap faces in photos and videos.

    The result has the identity of SOURCE, and pose, expression, hair and scene of TARGET.

    Needs the consent of the people shown. The bundled swapper is small and draws softly; fstriplets train
    swap trains others. The files say that they are synthetic. Exit code: 0 if something was swapped, 1 if
    nothing was (--strict: if anything was not), 2 for input that cannot be used.

    \b
    Examples:
      fstriplets swap --source me.jpg --target photo.jpg -o swapped.jpg
      fstriplets swap --source me.jpg --target album/ -o swapped/ --like friend.jpg
      fstriplets swap --source me.jpg --target film.mp4 -o swapped.mp4
    """
    from fstriplets.swapping import swap as run_swap

    with _shown(not quiet) as progress:
        report = run_swap(source, target, output, progress=progress, **options)
    _summary(report, quiet)
    code: int = report.exit_code(strict)
    return code


def _summary(report: SwapReport, quiet: bool) -> None:
    missed = [item for item in report.items if item.status != "swapped"]
    for item in missed[:_SHOWN]:
        click.echo(f"not swapped: {item.target}: {item.message} ({item.reason})", err=True)
    if len(missed) > _SHOWN:
        click.echo(f"… and {len(missed) - _SHOWN} more", err=True)
    if not quiet:
        for item in report.swapped[:1] if len(report.items) > 1 else report.swapped:
            frames = f", {item.frames_swapped:,} of {item.frames:,} frames" if item.frames else ""
            click.echo(f"{item.output}  {item.faces:,} face{'s' * (item.faces != 1)}{frames}")
        made = "marked as synthetic" if report.marked else "NOT marked as synthetic"
        count = f"{len(report.swapped):,} of {len(report.items):,} swapped"
        click.echo(f"{count} in {report.seconds:.1f} s with {report.model}; {made}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


@contextmanager
def _shown(show: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar with the time left in a terminal, a line every ten seconds in a log."""
    import sys

    if not show:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading", total=None, what="")
        yield lambda p: bar.update(
            task, description="swapping", completed=p.done, total=p.total or None, what=p.what
        )


class _Lines:
    """Progress as plain lines."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        from fstriplets.cli.progress import duration

        if progress.seconds - self._last < 10:
            return
        self._last = progress.seconds
        left = ""
        if progress.total:
            ahead = progress.seconds / progress.done * (progress.total - progress.done)
            left = f"/{progress.total:,} {progress.what}, {duration(ahead)} left"
        click.echo(f"{Path(progress.target).name}: {progress.done:,}{left or ' ' + progress.what}", err=True)
