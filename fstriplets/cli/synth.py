"""`fstriplets synth`: synthetic people with ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["synth"]


F = TypeVar("F", bound="Callable[..., None]")


def _drawing(command: F) -> F:
    """The options of commands that draw a folder of pictures."""
    options = [
        click.option(
            "--output",
            "-o",
            type=click.Path(path_type=Path),
            required=True,
            metavar="DIR",
            help="Folder to write.",
        ),
        click.option(
            "--size",
            type=click.IntRange(64, 1024),
            default=256,
            show_default=True,
            metavar="PX",
            help="Side of the square pictures.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=0),
            metavar="N",
            help="Worker processes; 0 draws in this process.  [default: one a core]",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="Join a running Dask scheduler (DIR must be shared)."
        ),
        click.option("--quiet", "-q", is_flag=True, help="No progress; the summary only."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _seed(default: int) -> Callable[[F], F]:
    """The option that tells which people are drawn."""
    return click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=default,
        show_default=True,
        help="Another seed, other people.",
    )


@click.group()
def synth() -> None:
    """Render synthetic faces with ground truth.

    Everything is made from the 3D face model ICT-FaceKit (MIT), which is imported once:

    \b
      git clone https://github.com/USC-ICT/ICT-FaceKit
      fstriplets synth import-face-model ICT-FaceKit
      fstriplets synth faces --identities 100 --images 8 --output faces/
      fstriplets build photos --corpus faces/ --output triplets/
    """


@synth.command()
@click.option("--identities", type=click.IntRange(min=1), required=True, metavar="N", help="People to draw.")
@click.option("--images", type=click.IntRange(1, 1000), required=True, metavar="M", help="Photos of each.")
@_seed(0)
@click.option(
    "--max-yaw",
    type=click.FloatRange(0, 60),
    default=60.0,
    show_default=True,
    metavar="DEGREES",
    help="How far heads turn; most turn less than half as far.",
)
@click.option(
    "--truth", is_flag=True, help="Also write landmarks, part labels, depth, … as one .npz a photo."
)
@_drawing
def faces(
    identities: int,
    images: int,
    output: Path,
    size: int,
    seed: int,
    max_yaw: float,
    truth: bool,
    workers: int | None,
    scheduler: str | None,
    quiet: bool,
) -> None:
    """Draw a corpus: N people, M photos each, with a table that `fstriplets build` reads.

    The same seed gives the same bytes. A run that was stopped goes on when the command is given again; more
    --identities may be asked for later.
    """
    import time

    from fstriplets.synth.corpus import CorpusPlan, write_corpus

    plan = CorpusPlan(str(output), identities, images, size, seed, max_yaw, truth)
    started, cpu = time.monotonic(), time.process_time()
    with _progress("people", not quiet) as report:
        table = write_corpus(plan, workers, scheduler, report)
    seconds = time.monotonic() - started
    photos = identities * images
    click.echo(f"{identities:,} people, {photos:,} photos of {size} px in {seconds:.0f} s: {table}")
    if workers == 0:
        click.echo(f"{photos / (time.process_time() - cpu):.1f} photos a second of processor time, one core")
    click.echo(f"next: fstriplets build photos --corpus {output} --output DIR")


@synth.command()
@click.option("--people", type=click.IntRange(min=1), required=True, metavar="N", help="People to draw.")
@click.option("--photos", type=click.IntRange(1, 100), default=4, show_default=True, help="Photos of each.")
@click.option(
    "--edits",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    help="Edited pictures of each.",
)
@_seed(77)
@_drawing
def pairs(
    people: int,
    photos: int,
    edits: int,
    output: Path,
    size: int,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    quiet: bool,
) -> None:
    """Draw training data: photos, the same photos edited, and the truth of both.

    What `fstriplets train faces` and `train editor` learn from. A run that was stopped goes on when the
    command is given again; more --people may be asked for later.
    """
    import time

    from fstriplets.synth.pairs import PairPlan, write_pairs

    plan = PairPlan(str(output), people, photos, edits, size, seed)
    started = time.monotonic()
    with _progress("people", not quiet) as report:
        write_pairs(plan, workers, scheduler, report)
    pictures = people * (photos + edits)
    click.echo(f"{people:,} people, {pictures:,} pictures in {time.monotonic() - started:.0f} s: {output}")
    click.echo(f"next: fstriplets train faces train-analyser --data {output} --output RUN")


@synth.command()
@click.option("--people", type=click.IntRange(min=2), required=True, metavar="N", help="People to draw.")
@click.option(
    "--swaps",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    metavar="M",
    help="Swaps of each person as source.",
)
@click.option(
    "--photos",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Photos of each, sources and targets of the swaps.",
)
@_seed(0)
@_drawing
def swaps(
    people: int,
    swaps: int,
    photos: int,
    output: Path,
    size: int,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    quiet: bool,
) -> None:
    """Draw a dataset of true swaps: a source, a target, and the source's face in the target's photo.

    Shards and manifests as `fstriplets build` writes them; `fstriplets train swap` trains on them alone, or
    mixes them in. A run that was stopped goes on when the command is given again; more --people may be asked
    for later.
    """
    import time

    from fstriplets.synth.swaps import SwapPlan, write_swaps

    plan = SwapPlan(str(output), people, swaps, photos, size, seed)
    started = time.monotonic()
    with _progress("people", not quiet) as report:
        found = write_swaps(plan, workers, scheduler, report)
    splits = ", ".join(f"{split} {count:,}" for split, count in found.splits.items())
    click.echo(
        f"{found.identities:,} people, {found.ok('triplets'):,} swaps ({splits}) of {size} px in"
        f" {time.monotonic() - started:.0f} s: {output}"
    )
    mixed = f"--set true_swaps={output} --set true_swap_share=0.2"
    click.echo(f"next: fstriplets train swap train-swap-small --data DATASET {mixed} --output RUN")


@synth.command()
@click.option("--people", type=click.IntRange(1, 200), default=12, show_default=True, help="People to show.")
@click.option("--photos", type=click.IntRange(1, 20), default=4, show_default=True, help="Photos of each.")
@click.option("--edits", is_flag=True, help="Show every edit at three strengths and the true swap instead.")
@click.option(
    "--size",
    type=click.IntRange(64, 1024),
    default=256,
    show_default=True,
    metavar="PX",
    help="Side of the square photos.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the first one."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, metavar="FILE", help=".png or .jpg"
)
def sheet(people: int, photos: int, edits: bool, size: int, seed: int, output: Path) -> None:
    """Draw a contact sheet: people, or what each edit does to them."""
    import cv2

    from fstriplets.errors import OutputError
    from fstriplets.synth.sheet import edit_sheet, people_sheet
    from fstriplets.synth.studio import Studio

    studio, seeds = Studio(), range(seed, seed + people)
    if edits:
        picture = edit_sheet(studio, seeds, (0.33, 0.66, 1.0), size)
    else:
        picture = people_sheet(studio, seeds, photos, size)
    try:
        written = cv2.imwrite(str(output), picture[..., ::-1])
    except cv2.error as error:
        raise OutputError(f"cannot write {output}: name a .png or .jpg ({error.err})") from error
    if not written:
        raise OutputError(f"cannot write {output}: does its folder exist?")
    click.echo(f"{output}: {picture.shape[1]} x {picture.shape[0]} px")


@synth.command("import-face-model")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to keep it.  [default: the user's data folder]",
)
def import_face_model(path: Path, output: Path | None) -> None:
    """Import the face model from PATH: a clone of ICT-FaceKit, or an .npz made from one.

    It is kept in ~/.cache/fstriplets/face_model.npz, or where $FSTRIPLETS_FACE_MODEL says. The model is MIT
    licensed; it is not part of fstriplets.
    """
    from fstriplets.synth.importer import import_face_model as read

    with _progress("files", True) as report:
        written = read(path, output, report)
    click.echo(f"face model: {written} ({written.stat().st_size / 2**20:.0f} MiB)")


@synth.command("learn-skin")
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The .npz to write (about 2 MB).",
)
@click.option(
    "--credit", required=True, metavar="TEXT", help="Whose photos these are and their licence; kept in FILE."
)
def learn_skin(photos: Path, output: Path, credit: str) -> None:
    """Learn skin from PHOTOS: one folder a person with neutral.jpg and, if there is one, smiling.jpg.

    Frontal, sharp, all in one studio under one light; at least 20 people. FILE holds means, components,
    spreads and correlations only. FSTRIPLETS_SKIN=FILE makes `synth faces` use it. Needs the weights yunet
    and mediapipe_face_mesh.
    """
    from fstriplets.models.weights import require
    from fstriplets.synth.facemodel import load_face_model
    from fstriplets.synth.skin import learn_skin as learn

    with _progress("people", True) as report:
        statistics = learn(
            photos,
            output,
            model=load_face_model(),
            detector=require("yunet"),
            mesh=require("mediapipe_face_mesh"),
            credit=credit,
            progress=report,
        )
    click.echo(f"skin of {statistics.people} people: {output} ({output.stat().st_size / 2**20:.1f} MiB)")
    click.echo(f"next: FSTRIPLETS_SKIN={output} fstriplets synth faces …")


@contextmanager
def _progress(what: str, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr in a terminal, nothing in a log."""
    import sys

    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
