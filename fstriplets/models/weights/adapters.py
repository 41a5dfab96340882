"""Official state dicts brought to the names and conventions of our networks.

Every function takes a state dict and returns a new one; none changes a value, except
`mobilefsgan_rgb`, which turns the order of the colour channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fstriplets.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "insightface_mobilefacenet",
    "load_into",
    "mobilefacenet",
    "mobilefsgan_rgb",
    "spade_generator",
    "stargan_generator",
    "strip_module",
    "torchvision_vgg19",
    "vgg19",
]

StateDict = dict[str, "Tensor"]

#: Our MobileFaceNet's parts by insightface's position in `layers`.
_MBF_STAGES = ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5")
_MBF_CONV = ("conv", "bn", "prelu")
_MBF_BOTTLENECK = ("conv", "conv_dw", "project")


def strip_module(state: Mapping[str, Tensor]) -> StateDict:
    """Without the `module.` that torch's data-parallel wrappers put before every name."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def insightface_mobilefacenet(name: str) -> str:
    """Our name for a tensor of insightface's `mbf` (`layers.2.layers.0.layers.1.weight`)."""
    parts = re.sub(r"\blayers\.", "", name).split(".")
    if parts[0] == "conv_sep":
        return ".".join(("conv_6_sep", _MBF_CONV[int(parts[1])], *parts[2:]))
    if parts[0] == "features":
        if parts[1] == "0":
            return ".".join(("conv_6_dw", _MBF_CONV[int(parts[2])], *parts[3:]))
        return ".".join(({"2": "linear", "3": "bn"}[parts[1]], *parts[2:]))
    stage, rest = _MBF_STAGES[int(parts[0])], parts[1:]
    ours = [stage]
    if len(rest) == 4:  # a stage of several bottlenecks: which one
        ours += ["model", rest.pop(0)]
    if len(rest) == 3:  # which convolution of the bottleneck
        ours.append(_MBF_BOTTLENECK[int(rest.pop(0))])
    return ".".join((*ours, _MBF_CONV[int(rest[0])], rest[1]))


def torchvision_vgg19(state: Mapping[str, Tensor]) -> StateDict:
    """torchvision's `vgg19` for VGG19Slices: numbered layers into slices, the classifier left out."""
    from fstriplets.models.networks.vgg import VGG19Slices

    ours: StateDict = {}
    for name, value in VGG19Slices().state_dict().items():
        if name in ("mean", "std"):
            ours[name] = value
            continue
        official = "features." + name.split(".", 1)[1]
        if official not in state:
            raise WeightsError(f"no VGG19 of torchvision: {official} is missing")
        ours[name] = state[official]
    return ours


def vgg19(state: Mapping[str, Tensor]) -> nn.Module:
    """VGG19Slices from torchvision's names or from ours.

    Raises:
        WeightsError: the state dict is not VGG19's.
    """
    from fstriplets.models.networks.vgg import VGG19Slices

    return load_into(VGG19Slices(), state if "slice1.0.weight" in state else torchvision_vgg19(state))


def mobilefacenet(state: Mapping[str, Tensor]) -> nn.Module:
    """A MobileFaceNet that reads RGB, from the MobileFSGAN release (BGR) or insightface's `mbf` (RGB).

    Raises:
        WeightsError: the state dict is neither's.
    """
    from fstriplets.models.networks.mobilefacenet import MobileFaceNet

    ours = strip_module(state)
    insightface = any(name.startswith("layers.") for name in ours)
    if insightface:
        try:
            ours = {insightface_mobilefacenet(name): value for name, value in ours.items()}
        except (IndexError, KeyError, ValueError) as error:
            raise WeightsError(f"no mbf of insightface: {error!r}") from error
    else:
        ours = mobilefsgan_rgb(ours)
    first, last = ours.get("conv1.conv.weight"), ours.get("linear.weight")
    if first is None or last is None:
        raise WeightsError("no MobileFaceNet: conv1.conv.weight or linear.weight is missing")
    return load_into(MobileFaceNet(last.shape[0], first.shape[0], normalize=not insightface), ours)


def mobilefsgan_rgb(state: Mapping[str, Tensor]) -> StateDict:
    """The official generator, discriminator or MobileFaceNet, which read BGR, made to read and write RGB.

    The first convolutions' inputs and the image outputs' channels are reversed, so that
    `ours(rgb)` is `official(bgr)` with its channels turned back, up to rounding.
    """
    ours = strip_module(state)
    for name, value in ours.items():
        if value.ndim == 4 and value.shape[1] == 3:
            ours[name] = value.flip(1)
        elif re.fullmatch(r"decoder\.image\d+_output\.conv\.(weight|bias)", name):
            ours[name] = value.flip(0)
        elif name.endswith("model.0.weight_v"):
            # power iteration's other vector runs over (input channel, row, column)
            ours[name] = value.view(3, -1).flip(0).flatten()
    return ours


def stargan_generator(state: Mapping[str, Tensor]) -> nn.Module:
    """An official StarGAN generator, its sizes read from the tensors.

    Raises:
        WeightsError: the state dict is not that of StarGAN's generator.
    """
    from fstriplets.models.networks.stargan import StarGANGenerator

    ours = strip_module(state)
    first = ours.get("main.0.weight")
    if first is None or first.ndim != 4 or first.shape[1] <= 3:
        raise WeightsError("no StarGAN generator: main.0.weight is missing or takes no labels")
    repeats = len({name.split(".")[1] for name in ours if re.match(r"main\.\d+\.main\.", name)})
    return load_into(StarGANGenerator(first.shape[0], first.shape[1] - 3, repeats), ours)


def spade_generator(state: Mapping[str, Tensor], crop_size: int = 256) -> nn.Module:
    """An official SPADE generator without image encoder, its widths read from the tensors.

    Args:
        crop_size: side it was trained at; nothing in the file says so.

    Raises:
        WeightsError: the state dict is not that of SPADE's generator, or has an image encoder's `fc`.
    """
    from fstriplets.models.networks.spade import SPADEGenerator

    ours = strip_module(state)
    first, last = ours.get("fc.weight"), ours.get("conv_img.weight")
    if first is None or last is None or first.ndim != 4:
        raise WeightsError("no SPADE generator without image encoder: fc.weight must be a convolution's")
    return load_into(SPADEGenerator(last.shape[1], first.shape[1], crop_size), ours)


def load_into(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """`network` with `state` loaded, every name and shape matching.

    Raises:
        WeightsError: names or shapes differ; says which.
    """
    # Old releases lack this counter; torch loads them all the same, only a strict load by name complains.
    counters = {n: v for n, v in network.state_dict().items() if n.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counters, **state})
    except RuntimeError as error:
        raise WeightsError(f"weights do not fit {type(network).__name__}: {error}") from error
    return network
