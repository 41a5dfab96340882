"""Looking into a dataset: counts, contact sheet, report."""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "Inspection": "counts",
        "contact_sheet": "sheet",
        "draw_sheet": "sheet",
        "inspect_dataset": "counts",
        "write_report": "report",
    },
)
