"""Swapping faces in photos and videos with a trained MobileFSGAN.

    report = fstriplets.swap("me.jpg", "holiday.jpg", "swapped.jpg", weights="swapper.safetensors")

The parts, in the order of the flow: run.py (photo, folder or video), model.py (the network), picture.py (a
photo and its file), swapper.py (the main path over one picture), paste.py (mask, colours, the way back),
mark.py and provenance.py (what the file says about itself), video.py.
"""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "Choice": "swapper",
        "Mark": "mark",
        "Model": "model",
        "SwapItem": "run",
        "SwapReport": "run",
        "Swapper": "swapper",
        "load_model": "model",
        "load_swapper": "model",
        "read_mark": "mark",
        "swap": "run",
    },
)
