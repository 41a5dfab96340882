"""A MobileFSGAN generator with its normalisations folded into the convolutions, for inference.

Each BatchNorm of the generator stands before a convolution. In evaluation mode it is one factor and one
summand a channel, which move into what follows:
- before a 1x1 convolution: into its weight and bias;
- before a linear scale and shift (identity blocks): into the two linear layers;
- before bilinear upsampling, reflection padding and a convolution without zero padding: both steps in
  between keep constants as they are, so again into weight and bias;
- before a zero-padded convolution (the way down) the factor moves and the summand stays: padding is zero
  behind the normalisation, not before it.
Where normalised features are cut (`attention_reach`), each channel is cut before its factor, at limits of
its own.

The result has other parameter names, computes the same to rounding, and cannot be trained on.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from fstriplets.models.networks import mobilefsgan as net

__all__ = ["Limits", "Shift", "folded"]


class Shift(nn.Module):
    """Adds a number to every channel: [B, C, H, W] -> the same."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        # A depthwise 1x1 convolution: inference engines run it without leaving their blocked layout.
        channels = len(shift)
        self.conv = nn.Conv2d(channels, channels, 1, groups=channels)
        _set(self.conv, torch.ones_like(shift)[:, None, None, None], shift)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x))


class Limits(nn.Module):
    """Cuts every channel at limits of its own: [B, C, H, W] -> the same."""

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low.float()[:, None, None])
        self.register_buffer("high", high.float()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.low), self.high)


def folded(generator: net.MobileFSGANGenerator) -> net.MobileFSGANGenerator:
    """A copy of the generator in evaluation mode, without BatchNorms.

    Raises:
        ValueError: it is in training mode: its statistics are those of a batch.
    """
    if generator.training:
        raise ValueError("fold a generator in evaluation mode: call eval() first")
    generator = copy.deepcopy(generator).requires_grad_(False)
    for module in list(generator.modules()):
        if isinstance(module, net._Block):
            scale, shift = _affine(module.normalize)
            _into(module.conv1x1, scale, shift)
            module.normalize = _left(module, scale, shift)  # type: ignore[assignment]
        elif isinstance(module, net._IdentityBlock):
            _fold_identity(module)
        elif isinstance(module, net._Up):
            scale, shift = _affine(module.normalize)
            module.conv = _with_bias(module.conv)
            _into(module.conv, scale, shift)
            module.normalize = _left(module, scale, shift)  # type: ignore[assignment]
        elif isinstance(module, net._Down):
            scale, shift = _affine(module.normalize)
            module.conv.weight.mul_(scale[:, None, None])
            module.normalize = Shift(shift / scale)  # type: ignore[assignment]
    return generator


def _left(module: net._Block | net._Up, scale: Tensor, shift: Tensor) -> nn.Module:
    """What is left of a normalisation whose factor and summand have moved on."""
    if not module.bounded:
        return nn.Identity()
    module.bounded = False
    ends = torch.stack([(-net._OUTLIER - shift) / scale, (net._OUTLIER - shift) / scale])
    return Limits(ends.amin(0), ends.amax(0))


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    # A channel whose factor is zero has no summand before it that would do.
    return torch.where(scale == 0, torch.full_like(scale, 1e-12), scale), shift


def _into(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Convolution of scale * x + shift, as a convolution of x."""
    weight = conv.weight.double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if conv.bias is None else conv.bias.double()
    bias = bias + (weight.sum(dim=(2, 3)) * shift).sum(dim=1)
    _set(conv, weight * scale[:, None, None], bias)


def _fold_identity(block: net._IdentityBlock) -> None:
    """normalize(x) * var(e) + mean(e): the statistics into the two linear layers."""
    scale, shift = _affine(block.normalize)  # not affine: shift = -running mean * scale
    mean, var = block.fc_mean, block.fc_var
    with torch.no_grad():
        weight, bias = var.weight.double(), var.bias.double()
        mean.weight.copy_(mean.weight.double() + weight * shift[:, None])
        mean.bias.copy_(mean.bias.double() + bias * shift)
        var.weight.copy_(weight * scale[:, None])
        var.bias.copy_(bias * scale)
    block.normalize = nn.Identity()  # type: ignore[assignment]


def _with_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with a bias of zero, unpadded."""
    other = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size)  # type: ignore[arg-type]
    _set(other, conv.weight, torch.zeros(conv.out_channels))
    return other


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.requires_grad_(False)
    conv.weight.copy_(weight)
    assert conv.bias is not None
    conv.bias.copy_(bias)
