"""Networks: one paper a file, pure nn.Modules that import only torch and each other.

State-dict names are those of the official releases, so that official checkpoints load; where two
releases of one network differ in names only, the adapter is in fstriplets/models/weights/adapters.py.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "IResNet": "iresnet",
    "MobileFSGANDiscriminator": "mobilefsgan",
    "MobileFSGANGenerator": "mobilefsgan",
    "MobileFaceNet": "mobilefacenet",
    "SPADEGenerator": "spade",
    "StarGANGenerator": "stargan",
    "Swapped": "mobilefsgan",
    "VGG19Slices": "vgg",
    "check_shape": "shapes",
    "iresnet50": "iresnet",
    "mobilefacenet_arcface": "mobilefacenet",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
