"""StarGAN's generator: one network that sets a face's attributes from a vector.

Choi, Choi, Kim, Ha, Kim, Choo: StarGAN (CVPR 2018), table 4. State-dict names are the official ones.
The official programs never call `eval()`: their pictures come from the training mode of the instance
norms, which `train()` gives here too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["StarGANGenerator"]


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)  # type: ignore[no-any-return]


class StarGANGenerator(nn.Module):
    """Redraws a face with the attributes asked for. The official CelebA model is the default."""

    def __init__(
        self,
        conv_dim: int = 64,  # channels of the first layer; twice and four times as many inside
        c_dim: int = 5,  # length of the attribute vector
        repeat_num: int = 6,  # residual blocks at a quarter of the side
    ) -> None:
        super().__init__()
        self.c_dim = c_dim
        layers: list[nn.Module] = [nn.Conv2d(3 + c_dim, conv_dim, 7, padding=3, bias=False)]
        layers += [_norm(conv_dim), nn.ReLU()]
        for inputs in (conv_dim, 2 * conv_dim):
            layers.append(nn.Conv2d(inputs, 2 * inputs, 4, stride=2, padding=1, bias=False))
            layers += [_norm(2 * inputs), nn.ReLU()]
        layers += [_Residual(4 * conv_dim) for _ in range(repeat_num)]
        for inputs in (4 * conv_dim, 2 * conv_dim):
            layers.append(nn.ConvTranspose2d(inputs, inputs // 2, 4, stride=2, padding=1, bias=False))
            layers += [_norm(inputs // 2), nn.ReLU()]
        layers += [nn.Conv2d(conv_dim, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(
        self,
        images: Tensor,  # [B, 3, S, S] in [-1, 1]; S a multiple of 4, 128 in the official CelebA model
        labels: Tensor,  # [B, c_dim], every attribute the result shall have: 1 or 0
    ) -> Tensor:  # [B, 3, S, S] in [-1, 1]
        check_shape("images", images, [None, 3, None, None], multiple_of=4)
        check_shape("labels", labels, [images.shape[0], self.c_dim])
        planes = labels[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.main(torch.cat([images, planes.to(images.dtype)], 1))  # type: ignore[no-any-return]
