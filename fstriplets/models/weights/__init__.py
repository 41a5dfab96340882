"""Weights: a table of names, hashes and licences; installing, checking and safely reading them."""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "Verified": "store",
        "WeightsEntry": "table",
        "better_weights": "store",
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
    },
)
