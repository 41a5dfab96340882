"""Editors: each (face, edit, strength, editor) made once, in batches, and judged.

`base` is the protocol, `registry` the names, `stage` runs planned edits, `accept` judges them, `warp`
is the weight-free editor. docs/editors.md tells how to plug your own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "AttributeScorer": "fstriplets.edits.accept",
    "EDITORS": "fstriplets.edits.registry",
    "EDIT_GROUPS": "fstriplets.edits.base",
    "EditResult": "fstriplets.edits.base",
    "EditStage": "fstriplets.edits.stage",
    "Editor": "fstriplets.edits.base",
    "WeightsRecord": "fstriplets.edits.base",
    "load_editor": "fstriplets.edits.registry",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'fstriplets.edits' has no attribute {name!r}")
