"""Weights of a swapper for a larger one that does the same (Net2WiderNet; Chen, Goodfellow, Shlens 2016).

A wider network holds each map of the narrower one more than once, and what reads them shares its weight
out among the copies, unevenly: copies that were read alike would learn alike and stay copies. A network
that folds squares of pixels into channels reads each of them with its part of the old weight, and draws all
of a square as the old one drew its place. Both leave what comes out as it was, but for the smoothness of
enlarged maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["grown"]

_FIRST = "encoder_head.conv_image.weight"
_OUTPUTS = "decoder.image"  # how names of output layers begin
_OPTIONAL = "identity_map."
_MAPS = 6  # of an output of flows
_LEAST = 0.2  # of what a copy's weight may be, before the copies' sum is brought to one


def grown(old: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights `old` for a network whose own first weights are `fresh`.

    Output layers of another form stay fresh, and so does an identity map if `old` has none. Tensors that no
    growing can fit are left as they are, for whoever loads them to complain about.

    Args:
        old, fresh: state dicts of MobileFSGAN generators of one variant; `fresh` may have a multiple of
            `old`'s channels, and fold more pixels.
    """
    state = dict(old)
    if not any(name.startswith(_OPTIONAL) for name in old):
        state |= {name: value for name, value in fresh.items() if name.startswith(_OPTIONAL)}
    if _form(old) != _form(fresh):
        state |= {name: value for name, value in fresh.items() if name.startswith(_OUTPUTS) and name in old}
    fold = _fold(fresh) // max(1, _fold(old))
    generator = torch.Generator().manual_seed(0)
    for name, wanted in fresh.items():
        if name in state and state[name].shape != wanted.shape:
            state[name] = _widened(_folded(name, state[name], fold), wanted.shape, generator)
    return state


def _fold(state: Mapping[str, Tensor]) -> int:
    """Side of the squares of pixels a network folds into channels."""
    return math.isqrt(state[_FIRST].shape[1] // 3) if _FIRST in state else 1


def _form(state: Mapping[str, Tensor]) -> int:
    """Maps each output layer gives a pixel, of whichever output comes first."""
    sizes = [len(value) for name, value in sorted(state.items()) if name.startswith(_OUTPUTS)]
    return sizes[0] // _fold(state) ** 2 if sizes else _MAPS


def _folded(name: str, value: Tensor, fold: int) -> Tensor:
    if fold > 1 and name == _FIRST:
        return value.repeat_interleave(fold**2, dim=1) / fold**2
    return value.repeat_interleave(fold**2, dim=0) if fold > 1 and name.startswith(_OUTPUTS) else value


def _widened(value: Tensor, wanted: torch.Size, generator: torch.Generator) -> Tensor:
    """Rows repeated; columns repeated and their weights shared out."""
    if (
        value.ndim == 0
        or value.ndim != len(wanted)
        or any(large % small for large, small in zip(wanted, value.shape, strict=True))
    ):
        return value
    value = value.repeat(wanted[0] // len(value), *[1] * (value.ndim - 1))
    if value.ndim < 2 or wanted[1] == value.shape[1]:
        return value
    copies = wanted[1] // value.shape[1]
    shares = torch.rand(wanted[0], copies, value.shape[1], generator=generator) + _LEAST
    shares = (shares / shares.sum(1, keepdim=True)).reshape(wanted[0], wanted[1], *[1] * (value.ndim - 2))
    return value.repeat(1, copies, *[1] * (value.ndim - 2)) * shares
