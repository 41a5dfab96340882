"""Looking into a dataset: counts, contact sheet, report."""

from __future__ import annotations

from fstriplets.audit.counts import Inspection, inspect_dataset
from fstriplets.audit.report import write_report

__all__ = ["Inspection", "inspect_dataset", "write_report"]
