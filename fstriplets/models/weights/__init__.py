"""Weights: a table of names, hashes and licences; installing, checking and safely reading them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Verified": "store",
    "WeightsEntry": "table",
    "entry": "table",
    "file_sha256": "store",
    "import_as": "local",
    "import_file": "store",
    "import_folder": "store",
    "installed": "store",
    "load_checkpoint": "load",
    "load_registry": "table",
    "load_state_dict": "load",
    "pull": "download",
    "registry": "table",
    "require": "store",
    "verify": "store",
    "weights_folder": "store",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
