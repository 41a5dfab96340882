"""Face detector: score, box and five points at three strides, in one small fully convolutional network.

In the line of YuNet (Wu et al. 2023) and FCOS (Tian et al. 2019): no anchors, one cell answers for the face
whose middle it lies in. Plain 3x3 convolutions take the place of depthwise ones, which are slower on a CPU at
this size. Each stride has a head of its own: a shared one learned the small faces, of which there are most
cells, long before the large ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["CHANNELS", "FaceDetector", "decode"]

#: Values of a cell: score (logit), shift of the middle (2), log size (2), five points (10).
CHANNELS = 15
_UNIT = 4.0  # strides: sizes and points are in units of so many
_PRIORS = (0.02, 0.04, 0.08)  # share of cells that see a face, by stride: where scores start
_LIMIT = 4.0  # log size: an untrained network must not overflow


class _Block(nn.Sequential):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Stage(nn.Module):
    """Half the size, then a residual pair of convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = _Block(inputs, outputs, stride=2)
        self.first = _Block(outputs, outputs)
        self.second = _Block(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.second(self.first(x))  # type: ignore[no-any-return]


class FaceDetector(nn.Module):
    """Where faces are.

    Attributes:
        strides: pixels a cell of each output.
    """

    strides = (8, 16, 32)

    def __init__(
        self,
        widths: tuple[int, int, int, int, int] = (16, 32, 48, 64, 80),  # channels at strides 2 to 32
        neck: int = 48,  # channels of the three levels after they are joined
    ) -> None:
        super().__init__()
        a, b, *levels = widths
        self.stem = nn.Sequential(_Block(3, a, stride=2), _Block(a, b, stride=2))
        self.stages = nn.ModuleList(_Stage(i, o) for i, o in zip([b, *levels], levels, strict=False))
        self.lateral = nn.ModuleList(_Block(channels, neck, 1) for channels in levels)
        self.heads = nn.ModuleList(nn.Sequential(_Block(neck, neck), _answers(neck, p)) for p in _PRIORS)

    def forward(
        self,
        photos: Tensor,  # [B, 3, H, W] RGB in [-1, 1], sides multiples of 32
    ) -> list[Tensor]:  # [B, CHANNELS, H / s, W / s] for each stride s
        check_shape("photos", photos, [None, 3, None, None], multiple_of=32)
        x = self.stem(photos)
        levels = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in (1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        return [head(level) for head, level in zip(self.heads, levels, strict=True)]


def _answers(channels: int, prior: float) -> nn.Conv2d:
    """The last layer: starts at small answers and the score of the prior."""
    layer = nn.Conv2d(channels, CHANNELS, 1)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.zero_()
        layer.bias[0] = math.log(prior / (1 - prior))
    return layer


def decode(
    level: Tensor,  # [B, CHANNELS, h, w]
    stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells of a level say.

    Returns:
        scores [B, h * w] (logits), boxes [B, h * w, 4] (x0, y0, x1, y1) and points [B, h * w, 5, 2], both in
        pixels with pixel centres at integers; cells row by row.
    """
    rows, columns = level.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(rows, device=level.device), torch.arange(columns, device=level.device), indexing="ij"
    )
    cell = torch.stack([x, y], dim=-1).reshape(1, -1, 2) * float(stride) + (stride - 1) / 2
    values = level.flatten(2).transpose(1, 2)
    middle = cell + values[..., 1:3] * stride
    half = values[..., 3:5].clamp(-_LIMIT, _LIMIT).exp() * (_UNIT * stride / 2)
    points = cell[:, :, None] + values[..., 5:].reshape(*values.shape[:2], 5, 2) * (_UNIT * stride)
    return values[..., 0], torch.cat([middle - half, middle + half], dim=-1), points
