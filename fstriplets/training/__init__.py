"""Trainers of the swap networks; the losses they share."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "PerceptualLoss": "losses",
    "adv_loss_discriminator": "losses",
    "adv_loss_generator": "losses",
    "hinge": "losses",
    "id_loss": "losses",
    "pixel_loss": "losses",
    "pixel_loss_release": "losses",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
