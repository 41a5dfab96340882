"""MobileFSGAN's three-scale discriminator, under the official release's state-dict names.

Yu, Zhu, Lu, Liu: Migrating face swap to mobile devices (ICME 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from fstriplets.models.networks.shapes import check_shape

__all__ = ["MobileFSGANDiscriminator"]


class _PatchDiscriminator(nn.Module):
    """PatchGAN with spectral norm: one score for each overlapping patch."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        widths = [channels * 2**step for step in range(layers + 1)]
        stack: list[nn.Module] = [_spectral(3, channels, 2), nn.LeakyReLU(0.2)]
        for step in range(1, layers + 1):
            stride = 2 if step < layers else 1
            stack += [
                _spectral(widths[step - 1], widths[step], stride),
                nn.BatchNorm2d(widths[step]),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*stack, _spectral(widths[-1], 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)  # type: ignore[no-any-return]


def _spectral(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """4x4 convolution under torch's first spectral norm: official names `weight_orig`, `weight_u`."""
    conv = nn.Conv2d(in_channels, out_channels, 4, stride=stride, padding=2)
    return spectral_norm(conv)


class MobileFSGANDiscriminator(nn.Module):
    """Three independent PatchGANs, one a scale."""

    def __init__(
        self,
        num_channels: int = 16,  # after the first layer; doubles with every layer
        num_layers: int = 4,  # 4x4 convolutions between the first and the last; all but the last halve
        sides: Sequence[int] = (256, 128, 64),  # names of the scales; those of the generator's `outputs`
    ) -> None:
        super().__init__()
        self.sides = tuple(sides)
        for side in self.sides:
            self.add_module(f"discriminator_{side}", _PatchDiscriminator(num_channels, num_layers))

    def forward(self, *images: Tensor) -> list[Tensor]:
        """One image batch a scale, largest first, each [B, 3, S, S] in [-1, 1] -> scores [B, 1, H, W]."""
        if len(images) != len(self.sides):
            raise ValueError(f"expected {len(self.sides)} scales of images, got {len(images)}")
        scores = []
        for side, image in zip(self.sides, images, strict=True):
            check_shape(f"images at {side}", image, [None, 3, None, None])
            scores.append(self.get_submodule(f"discriminator_{side}")(image))
        return scores
