"""fstriplets: face-swap training triplets from photos grouped by person.

Everything the command line does is one call away. Submodules load on first use, so that
`import fstriplets` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "PipelineConfig": "fstriplets.config",
    "build": "fstriplets.build",
    "load_config": "fstriplets.config",
    "open_triplets": "fstriplets.shards",
    "read_manifest": "fstriplets.shards",
    "swap": "fstriplets.swapping",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'fstriplets' has no attribute {name!r}")
