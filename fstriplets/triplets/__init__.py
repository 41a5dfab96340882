"""Triplets: the five kinds, the plan of a person's triplets, and their assembly."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "KINDS": "fstriplets.triplets.kinds",
    "Kind": "fstriplets.triplets.kinds",
    "expected_triplets": "fstriplets.triplets.plan",
    "form_triplet": "fstriplets.triplets.assemble",
    "plan_triplets": "fstriplets.triplets.plan",
    "possible_edits": "fstriplets.triplets.plan",
    "split_of": "fstriplets.triplets.plan",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
