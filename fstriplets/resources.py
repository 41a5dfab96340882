"""Files that travel with the package: manifests/, pipelines/ and the demo corpus."""

from __future__ import annotations

from pathlib import Path

__all__ = ["resource"]

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a shipped file, e.g. resource("manifests", "weights.yaml").

    In a wheel `manifests/` and `pipelines/` lie inside the package, in a checkout beside it.

    Raises:
        FileNotFoundError: nothing of that name was shipped.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"fstriplets ships no {'/'.join(parts)}")
