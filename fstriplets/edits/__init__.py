"""Editors: each (face, edit, strength, editor) made once, in batches, and judged.

`base` is the protocol, `registry` the names, `stage` runs planned edits, `accept` judges them, `warp`
is the editor that draws by rules. docs/editors.md tells how to plug your own.
"""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "AttributeScorer": "accept",
        "EDITORS": "registry",
        "EDIT_GROUPS": "base",
        "EditResult": "base",
        "EditStage": "stage",
        "Editor": "base",
        "WeightsRecord": "base",
        "load_editor": "registry",
    },
)
