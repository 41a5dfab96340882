"""The HTML report of a dataset: one self-contained file."""

from __future__ import annotations

from pathlib import Path

from fstriplets.audit.counts import inspect_dataset
from fstriplets.shards import Store

__all__ = ["write_report"]


def write_report(dataset: str | Path | Store) -> str:
    """Write report.html into the dataset; returns its path."""
    store = dataset if isinstance(dataset, Store) else Store(dataset)
    found = inspect_dataset(store)
    rows = "".join(f"<tr><td>{kind}</td><td>{n}</td></tr>" for kind, n in found.kinds.items())
    store.write("report.html", f"<!doctype html><title>fstriplets</title><table>{rows}</table>".encode())
    return f"{store.url}/report.html"
