"""SPADE's generator (GauGAN): paints an image from a label map.

Park, Liu, Wang, Zhu: Semantic image synthesis with spatially-adaptive normalization (CVPR 2019),
appendix A. State-dict names are the official ones; the official synchronised BatchNorm is torch's own,
the same on one device. Only the form without the image encoder (`use_vae` false).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from fstriplets.models.networks.shapes import check_shape

__all__ = ["SPADEGenerator"]

_SLOPE = 0.2


class _SPADE(nn.Module):
    """BatchNorm whose scale and shift are painted from the label map, pixel by pixel."""

    def __init__(self, channels: int, labels: int, hidden: int = 128) -> None:
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(labels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        hidden = self.mlp_shared(F.interpolate(labels, size=x.shape[2:], mode="nearest"))
        y: Tensor = self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)
        return y


class _ResBlock(nn.Module):
    """Two SPADE-normalised 3x3 convolutions; the shortcut is learned where the width changes."""

    def __init__(self, inputs: int, outputs: int, labels: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = spectral_norm(nn.Conv2d(inputs, middle, 3, padding=1))
        self.conv_1 = spectral_norm(nn.Conv2d(middle, outputs, 3, padding=1))
        self.norm_0 = _SPADE(inputs, labels)
        self.norm_1 = _SPADE(middle, labels)
        self.learned = inputs != outputs
        if self.learned:
            self.conv_s = spectral_norm(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.norm_s = _SPADE(inputs, labels)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        shortcut = self.conv_s(self.norm_s(x, labels)) if self.learned else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, labels), _SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, labels), _SLOPE))
        return shortcut + y  # type: ignore[no-any-return]


class SPADEGenerator(nn.Module):
    """Label map to image, through five doublings of the side."""

    def __init__(
        self,
        ngf: int = 64,  # channels of the last block; 16 times as many in the first
        semantic_nc: int = 19,  # label classes: 19 in CelebAMask-HQ
        crop_size: int = 256,  # side the checkpoint was trained at, a multiple of 32
    ) -> None:
        super().__init__()
        if crop_size % 32:
            raise ValueError(f"crop_size must be a multiple of 32, got {crop_size}")
        self.semantic_nc = semantic_nc
        self.crop_size = crop_size
        self.fc = nn.Conv2d(semantic_nc, 16 * ngf, 3, padding=1)
        self.head_0 = _ResBlock(16 * ngf, 16 * ngf, semantic_nc)
        self.G_middle_0 = _ResBlock(16 * ngf, 16 * ngf, semantic_nc)
        self.G_middle_1 = _ResBlock(16 * ngf, 16 * ngf, semantic_nc)
        self.up_0 = _ResBlock(16 * ngf, 8 * ngf, semantic_nc)
        self.up_1 = _ResBlock(8 * ngf, 4 * ngf, semantic_nc)
        self.up_2 = _ResBlock(4 * ngf, 2 * ngf, semantic_nc)
        self.up_3 = _ResBlock(2 * ngf, ngf, semantic_nc)
        self.conv_img = nn.Conv2d(ngf, 3, 3, padding=1)

    def forward(
        self,
        labels: Tensor,  # [B, semantic_nc, crop_size, crop_size], one-hot float
    ) -> Tensor:  # [B, 3, crop_size, crop_size] in [-1, 1]
        check_shape("labels", labels, [None, self.semantic_nc, self.crop_size, self.crop_size])
        side = self.crop_size // 32
        x = self.fc(F.interpolate(labels, size=(side, side), mode="nearest"))
        x = self.head_0(x, labels)
        x = self.G_middle_1(self.G_middle_0(_double(x), labels), labels)
        for block in (self.up_0, self.up_1, self.up_2, self.up_3):
            x = block(_double(x), labels)
        return torch.tanh(self.conv_img(F.leaky_relu(x, _SLOPE)))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
