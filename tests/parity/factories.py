"""The table of checked networks. Every new network joins it.

`FACTORIES[net]` is (factory, key_map, runner): what makes the network at the recorded size, what turns
an official state-dict name into ours (None: they are the same), and the cases' runner (None: that of
runners.py).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fstriplets.models.networks import (
    MobileFaceNet,
    MobileFSGANDiscriminator,
    MobileFSGANGenerator,
    SPADEGenerator,
    StarGANGenerator,
    VGG19Slices,
    iresnet50,
    mobilefacenet_arcface,
)
from fstriplets.models.weights.adapters import insightface_mobilefacenet
from fstriplets.training.losses import PerceptualLoss, hinge, id_loss, pixel_loss, pixel_loss_release

from .runners import Runner, Tensors

Entry = tuple[Callable[[], nn.Module], Callable[[str], str] | None, dict[str, Runner] | None]


def _losses(module: nn.Module, inputs: Tensors) -> Tensors:
    a, b, p, q = (inputs[name] for name in "abpq")
    e1, e2, scales = inputs["e1"], inputs["e2"], list(inputs["d"])
    losses = {
        # the release's pictures are BGR, turned round before VGG; ours are RGB
        "vgg": module(b.flip(1), a.flip(1)),
        "rec": pixel_loss(p, q),
        "rec_weights": pixel_loss_release(p, q),
        "id": id_loss(e1, e2),
        "id_weights": id_loss(e1, e2, inputs["w4"]),
        "adv_real": hinge(scales, real=True),
        "adv_fake": hinge(scales, real=False),
    }
    return {name: loss[None] for name, loss in losses.items()}


def _perceptual_name(official: str) -> str:
    return official.replace("vgg.", "features.").replace("normalize.", "features.")


FACTORIES: dict[str, Entry] = {
    "mobilefsgan_generator": (MobileFSGANGenerator, None, None),
    "mobilefsgan_discriminator": (MobileFSGANDiscriminator, None, None),
    "mobilefsgan_losses": (lambda: PerceptualLoss(VGG19Slices()), _perceptual_name, {"losses": _losses}),
    "mobilefacenet": (MobileFaceNet, None, None),
    "mobilefacenet_arcface": (mobilefacenet_arcface, insightface_mobilefacenet, None),
    "iresnet50": (iresnet50, None, None),
    "stargan_generator": (lambda: StarGANGenerator(conv_dim=16, c_dim=5, repeat_num=2), None, None),
    "spade_generator": (lambda: SPADEGenerator(ngf=8, semantic_nc=19, crop_size=64), None, None),
}
