"""Trainers of the swap networks; the losses they share."""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "PerceptualLoss": "losses",
        "adv_loss_discriminator": "losses",
        "adv_loss_generator": "losses",
        "hinge": "losses",
        "id_loss": "losses",
        "pixel_loss": "losses",
        "pixel_loss_release": "losses",
    },
)
