"""`fstriplets inspect`: what is in a dataset, as text, JSON, a contact sheet or an HTML report."""

from __future__ import annotations

import json
from dataclasses import asdict
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
    """Show what is in a dataset: counts, reasons, pictures.

    Counts are per kind, edit, split and licence, and every reason for which something was rejected.

    DATASET is the folder or URL that `fstriplets build --output` wrote.

    \b
    Examples:
      fstriplets inspect demo-out
      fstriplets inspect demo-out --sheet sheet.png --rows 20
      fstriplets inspect demo-out --report report.html
    """
    from fstriplets import audit
    from fstriplets.cli.summary import inspection_lines

    found = audit.inspect_dataset(dataset)
    click.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(inspection_lines(found)))
    if sheet is not None:
        audit.contact_sheet(dataset, sheet, rows=rows)
        click.echo(f"contact sheet: {sheet}", err=True)
    if report is not None:
        where = audit.write_report(dataset, report, rows=rows)
        click.echo(f"report: {where}", err=True)
