"""`fstriplets export`: trained networks as files for other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

__all__ = ["export"]


def _of_a_swapper(command: Callable[..., None]) -> Callable[..., None]:
    """Options of both commands: what sets int8's ranges and is compared, and the recogniser."""
    for option in (
        click.option(
            "--embedder", metavar="FILE|NAME", help="Its face recogniser.  [default: what the weights name]"
        ),
        click.option(
            "--images", type=click.IntRange(min=1), default=32, show_default=True, metavar="N",
            help="Pairs of faces: half of them calibrate, half are compared.",
        ),
        click.option("--split", default="val", show_default=True, help="Of the dataset."),
        click.option(
            "--calibrate", "data", metavar="DATASET",
            help="Its faces set int8's ranges, and are compared.  [default: the demo's synthetic people]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def export() -> None:
    """Export trained networks: ONNX, Core ML, TFLite, a web page."""


@export.command()
@click.argument("weights", metavar="WEIGHTS|RUN")
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the files.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="fp32|fp16|int8",
    help="Again for more.  [default: all three]",
)
@click.option(
    "--format", "formats", multiple=True, default=("onnx",), show_default=True, metavar="onnx|coreml|tflite",
    help="Again for more.",
)  # fmt: skip
@_of_a_swapper
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--quiet", "-q", is_flag=True, help="No progress; the table only.")
def swap(
    weights: str,
    output: Path,
    precisions: tuple[str, ...],
    formats: tuple[str, ...],
    data: str | None,
    split: str,
    images: int,
    embedder: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Export a swapper: a generator's checkpoint, or the folder of a run of train swap.

    Writes the generator and its face recogniser, one file each, compares every file with PyTorch, and keeps
    the table in DIR/export.md and DIR/export.json.

    \b
    Examples:
      fstriplets export swap runs/swap -o exported/ --calibrate DATASET
      fstriplets swap --weights exported/swapper-int8.onnx --source me.jpg --target photo.jpg -o swapped.jpg
    """
    from fstriplets.export import PRECISIONS, export_swap

    report = export_swap(
        weights,
        output,
        embedder=embedder,
        formats=formats,
        precisions=precisions or PRECISIONS,
        data=data,
        split=split,
        images=images,
        overwrite=overwrite,
        progress=None if quiet else lambda what: click.echo(f"{what} …", err=True),
    )
    click.echo(report.table())
    click.echo(f"compared with PyTorch on {report.compared}: {report.output / 'export.md'}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


@export.command()
@click.argument("weights", metavar="[WEIGHTS|RUN]", required=False)
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="FILE.html", help="The page."
)
@click.option(
    "--onnxruntime-web",
    "package",
    required=True,
    metavar="TGZ|DIR",
    help="Its npm package, which fstriplets does not ship: npm pack onnxruntime-web@1.30.0",
)
@click.option(
    "--precision",
    default="fp16",
    show_default=True,
    metavar="fp16|fp32|int8",
    help="fp16: of the stored weights; int8: of the generator's arithmetic too.",
)
@_of_a_swapper
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress; the table only.")
def page(
    weights: str | None,
    output: Path,
    package: str,
    precision: str,
    data: str | None,
    split: str,
    images: int,
    embedder: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Export a swapper as a page that swaps two photos in the browser.

    One HTML file with networks, runtime and code: it opens by double click, needs no server and may not
    connect to anything. Without WEIGHTS: as of swap.

    \b
    Examples:
      npm pack onnxruntime-web@1.30.0
      fstriplets export page runs/swap -o swap.html --onnxruntime-web onnxruntime-web-1.30.0.tgz
    """
    from fstriplets.export import export_page

    report = export_page(
        weights,
        output,
        package,
        precision=precision,
        embedder=embedder,
        data=data,
        split=split,
        images=images,
        overwrite=overwrite,
        progress=None if quiet else lambda what: click.echo(f"{what} …", err=True),
    )
    click.echo(report.table())
    click.echo(f"{report.output}: {report.bytes / 1e6:.1f} MB, with ONNX Runtime Web {report.runtime}")
    for note in report.swapper.notes:
        click.echo(f"note: {note}", err=True)
