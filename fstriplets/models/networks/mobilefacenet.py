"""MobileFaceNet: a face recogniser of 1.2 M (official) or 2.1 M parameters (insightface's `mbf`).

Chen, Liu, Gao, Han: MobileFaceNets (2018). State-dict names are those of the release that MobileFSGAN
trains with (the names of InsightFace_Pytorch); insightface's own names are translated by
fstriplets.models.weights.adapters.insightface_mobilefacenet.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["MobileFaceNet", "mobilefacenet_arcface"]


class _Conv(nn.Module):
    """Convolution, BatchNorm and, unless `linear`, PReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, *,
        groups: int = 1, linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = None if linear else nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)


class _Bottleneck(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project linearly by 1x1."""

    def __init__(self, inputs: int, outputs: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1
        self.conv = _Conv(inputs, hidden, 1)
        self.conv_dw = _Conv(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = _Conv(hidden, outputs, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y  # type: ignore[no-any-return]


class _Stage(nn.Module):
    """Residual bottlenecks of one width."""

    def __init__(self, channels: int, hidden: int, count: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(_Bottleneck(channels, channels, hidden, 1) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]


class MobileFaceNet(nn.Module):
    """A face's id_embedding. The defaults are the 1,200,512 parameters MobileFSGAN trains with."""

    def __init__(
        self,
        embedding_size: int = 512,  # length of the embedding
        width: int = 64,  # channels at 56 and 28 px; twice as many at 14 and 7 px
        normalize: bool = True,  # L2-normalise the embedding
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.conv1 = _Conv(3, width, 3, 2, 1)
        self.conv2_dw = _Conv(width, width, 3, 1, 1, groups=64)
        self.conv_23 = _Bottleneck(width, width, 128, 2)
        self.conv_3 = _Stage(width, 128, 4)
        self.conv_34 = _Bottleneck(width, 2 * width, 256, 2)
        self.conv_4 = _Stage(2 * width, 256, 6)
        self.conv_45 = _Bottleneck(2 * width, 2 * width, 512, 2)
        self.conv_5 = _Stage(2 * width, 256, 2)
        self.conv_6_sep = _Conv(2 * width, 512, 1)
        self.conv_6_dw = _Conv(512, 512, 7, groups=512, linear=True)
        self.linear = nn.Linear(512, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(
        self,
        faces: Tensor,  # [B, 3, 112, 112] in [-1, 1], aligned
    ) -> Tensor:  # [B, embedding_size]
        check_shape("faces", faces, [None, 3, 112, 112])
        x = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(faces))))
        x = self.conv_5(self.conv_45(self.conv_4(self.conv_34(x))))
        x = self.conv_6_dw(self.conv_6_sep(x)).flatten(1)
        embedding: Tensor = self.bn(self.linear(x))
        return F.normalize(embedding) if self.normalize else embedding


def mobilefacenet_arcface(embedding_size: int = 512) -> MobileFaceNet:
    """insightface's `get_mbf`: 2,059,520 parameters, embedding not normalised."""
    return MobileFaceNet(embedding_size, width=128, normalize=False)
