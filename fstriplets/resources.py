"""Files that travel with the package: manifests/, pipelines/ and the demo corpus."""

from __future__ import annotations

from pathlib import Path

__all__ = ["recipe", "recipes", "resource"]

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


def recipes() -> list[str]:
    """Names of the recipes in pipelines/ that travel with the package, sorted."""
    return sorted(path.stem for path in resource("pipelines").glob("*.yaml"))


def recipe(name: str | Path) -> Path:
    """A pipeline file as it is, or the shipped recipe of that name ("quickstart").

    A file or a path is returned unchecked: whoever reads it reports what is wrong with it.
    """
    path = Path(name)
    if path.suffix or path.is_file() or len(path.parts) != 1:
        return path
    shipped = resource("pipelines") / f"{name}.yaml"
    return shipped if shipped.is_file() else path
