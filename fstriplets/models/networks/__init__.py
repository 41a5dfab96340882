"""Networks: one paper a file, pure nn.Modules that import only torch and each other.

State-dict names are those of the official releases, so that official checkpoints load; where two
releases of one network differ in names only, the adapter is in fstriplets/models/weights/adapters.py.
"""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "IResNet": "iresnet",
        "MobileFSGANDiscriminator": "mobilefsgan_discriminator",
        "MobileFSGANGenerator": "mobilefsgan",
        "MobileFaceNet": "mobilefacenet",
        "SPADEGenerator": "spade",
        "StarGANGenerator": "stargan",
        "Swapped": "mobilefsgan",
        "VGG19Slices": "vgg",
        "check_shape": "shapes",
        "iresnet50": "iresnet",
        "mobilefacenet_arcface": "mobilefacenet",
    },
)
