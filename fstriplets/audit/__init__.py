"""Looking into a dataset: counts, contact sheet, report."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Inspection": "fstriplets.audit.counts",
    "contact_sheet": "fstriplets.audit.sheet",
    "draw_sheet": "fstriplets.audit.sheet",
    "inspect_dataset": "fstriplets.audit.counts",
    "write_report": "fstriplets.audit.report",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
