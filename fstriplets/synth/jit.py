"""Compiling: numba's njit behind one name, and a clear message when it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fstriplets.errors import MissingDependency

try:
    import numba
    import scipy  # noqa: F401  (asked for here, so that one message names both)
except ImportError as error:  # pragma: no cover - depends on the installation
    raise MissingDependency("numba and scipy", "synth", "drawing synthetic faces") from error

__all__ = ["compiled", "inlined"]

#: Fused and reordered arithmetic, but infinities and NaN keep their meaning.
_FAST = {"contract", "arcp", "nsz", "afn", "reassoc"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled to machine code, cached on disk; one thread, the same bits in every process."""
    result: Callable[..., Any] = numba.njit(cache=True, fastmath=_FAST, error_model="numpy")(function)
    return result


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for parts of a loop: compiled into the functions that call them, since a call that hands
    arrays over costs more than what most parts do."""
    result: Callable[..., Any] = numba.njit(
        cache=True, fastmath=_FAST, error_model="numpy", forceinline=True
    )(function)
    return result
