"""`fstriplets inspect`: what is in a dataset, as text, JSON, a contact sheet or an HTML report."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["inspect"]


@click.command()
@click.argument("dataset", metavar="DATASET")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a contact sheet (source | target | result rows) as .png or .jpg.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, 1000),
    default=12,
    show_default=True,
    metavar="N",
    help="Triplets on the contact sheet and in the report.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a self-contained HTML report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def inspect(dataset: str, sheet: Path | None, rows: int, report: Path | None, as_json: bool) -> None:
    """Show what is in a dataset: counts per kind, edit and split, and every reason for a reject.

    DATASET is the folder or URL that `fstriplets build --output` wrote.

    \b
    Examples:
      fstriplets inspect demo-out
      fstriplets inspect demo-out --sheet sheet.png --rows 20
      fstriplets inspect demo-out --report report.html
    """
    from fstriplets.audit import contact_sheet, inspect_dataset, write_report

    summary = inspect_dataset(dataset)
    click.echo(json.dumps(summary.to_dict(), indent=2) if as_json else summary.text())
    if sheet is not None:
        contact_sheet(dataset, sheet, rows=rows)
        click.echo(f"contact sheet: {sheet}", err=True)
    if report is not None:
        write_report(dataset, report, rows=rows)
        click.echo(f"report: {report}", err=True)
