"""`fstriplets weights`: list, pull, import, verify."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["weights"]


@click.group()
def weights() -> None:
    """Network weights: see what is known, fetch it, take local copies, check them.

    Weights live in $FSTRIPLETS_WEIGHTS, else ~/.cache/fstriplets/weights, and count only if their sha256
    is the registered one. $FSTRIPLETS_WEIGHTS_REGISTRY may name a YAML file with entries of your own.
    """


@weights.command("list")
def list_() -> None:
    """Show every registered file: what it is for, its licence, whether it is installed."""
    from rich.console import Console
    from rich.table import Table

    from fstriplets.models.weights import installed, registry, weights_folder

    table = Table(box=None, pad_edge=False)
    for column in ("name", "for", "size", "licence", "status", "what"):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "status"))
    for row in registry().values():
        status = "installed" if installed(row.name) else "pull" if row.url else "import"
        status = "bundled" if row.bundled else status
        table.add_row(row.name, row.role, _size(row.bytes), row.licence, status, row.architecture)
    console = Console()
    console.print(table)
    console.print(
        f"\nin {weights_folder()}; pull: fstriplets weights pull NAME;"
        " import: fstriplets weights import FILE (a local copy, recognised by its hash)",
        soft_wrap=True,
    )


@weights.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that has a public address.")
def pull(names: tuple[str, ...], everything: bool) -> None:
    """Download NAMES, resuming what broke off, and verify them."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from fstriplets.models.weights import entry, registry
    from fstriplets.models.weights import pull as fetch

    if not names and not everything:
        raise click.UsageError("name the weights to pull (see: fstriplets weights list), or --all")
    wanted = [entry(name) for name in names]
    wanted += [row for row in registry().values() if everything and row.url and row not in wanted]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as progress:
        for row in wanted:
            task = progress.add_task(row.name, total=row.bytes)
            path = fetch(row.name, progress=lambda done, _, task=task: progress.update(task, completed=done))
            progress.update(task, completed=row.bytes)
            progress.console.print(f"{row.name}  {row.licence}  {path}", soft_wrap=True)


@weights.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="Take FILE as: stargan, spade, mobilefacenet, vgg19.")
@click.option("--licence", default="", help="With --as: its licence, written on every row it touches.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="With --as: labels, size.")
def import_(paths: tuple[Path, ...], name: str | None, licence: str, options: tuple[str, ...]) -> None:
    """Install local copies: FILES, or every registered file below FOLDERS. Recognised by hash.

    With --as NAME, a checkpoint of your own that no table knows: docs/editors.md, docs/training.md.
    """
    from fstriplets.models.weights import import_as, import_file, import_folder, weights_folder

    if name is not None:
        if len(paths) != 1 or any("=" not in option for option in options):
            raise click.UsageError("--as takes one FILE, and --set takes KEY=VALUE")
        row = import_as(name, paths[0], licence, dict(option.split("=", 1) for option in options))
        click.echo(f"{row.name}  {row.architecture}  {row.licence}  {row.note}")
        return
    if licence or options:
        raise click.UsageError("--licence and --set go with --as NAME")
    count = 0
    for path in paths:
        if path.is_dir():
            taken, others = import_folder(path)
        else:
            taken, others = [import_file(path)], []
        for row in taken:
            click.echo(f"{row.name}  {row.role}  {row.licence}  {_size(row.bytes)}")
        for other in others:
            click.echo(f"not registered, left alone: {other}", err=True)
        count += len(taken)
    click.echo(f"{count} imported into {weights_folder()}")


@weights.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash installed weights anew; exit 1 if one is not the registered file.

    Without NAMES everything installed is checked; NAMES must all be installed.
    """
    from fstriplets.models.weights import verify as check

    wrong = checked = 0
    for found in check(list(names)):
        if found.status == "missing" and not names:
            continue
        checked += 1
        wrong += found.status != "ok"
        click.echo(f"{found.status:<10}  {found.entry.name}  {found.path}")
    click.echo(f"{checked} checked, {wrong} not as registered")
    if wrong:
        raise SystemExit(1)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
