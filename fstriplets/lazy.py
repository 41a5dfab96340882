"""Packages whose public names load on first use, so that importing one costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(package: str, names: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any]]:
    """`__all__` and `__getattr__` of a package.

    Args:
        package: its `__name__`.
        names: public name -> module of the package that defines it.

    Example:
        >>> __all__, __getattr__ = lazy_exports("fstriplets.triplets", {"KINDS": "kinds"})
        >>> sorted(__getattr__("KINDS"))[0]
        'attribute_source'
    """

    def get(name: str) -> Any:
        if name in names:
            return getattr(import_module(f"{package}.{names[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return sorted(names), get
