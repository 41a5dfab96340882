"""One small network that reads an aligned face: 68 landmarks, part labels, attributes, pose.

Our own; trained on synthetic faces by training/analyser.py. A U-Net of residual blocks (He et al. 2016;
Ronneberger et al. 2015) from 64 px down to 8 px. Landmarks are the expectation of a heatmap at 32 px (Sun
et al.: Integral Human Pose Regression, 2018) plus a correction from the whole face, which can also put
a point outside the crop. Attributes and pose are read off an 8 px map that keeps its places, since the
crop is aligned: eyes, mouth and hair are where they always are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["ANALYSER_ATTRIBUTES", "ANALYSER_PARTS", "Analysis", "FaceAnalyser"]

#: Outputs of the attribute head, in order; training/analyser.py says what 0 and 1 of each stand for.
ANALYSER_ATTRIBUTES = (
    "age", "chubbiness", "beard", "moustache", "glasses", "sunglasses", "smile", "mouth_open",
    "bald", "fringe", "hair_cut", "hair_length", "grey_hair", "hair_r", "hair_g", "hair_b",
)  # fmt: skip
#: How many part labels.
ANALYSER_PARTS = 13


class Analysis(NamedTuple):
    """What the network says.

    Attributes:
        landmarks: [B, 68, 2], x and y in -1..1 from the first pixel's outer edge to the last one's.
        heatmaps: [B, 68, 32, 32] logits the landmarks were read from.
        parts: [B, 13, 64, 64] logits.
        attributes: [B, 16] logits, in the order of ANALYSER_ATTRIBUTES; sigmoids are scores in 0..1.
        pose: [B, 3] yaw, pitch, roll in degrees.
    """

    landmarks: Tensor
    heatmaps: Tensor
    parts: Tensor
    attributes: Tensor
    pose: Tensor


class _Conv(nn.Sequential):
    """3x3 convolution (or 1x1), BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class _Up(nn.Module):
    """Twice the resolution: coarse features, projected and enlarged, on top of the encoder's."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse, fine, 1)
        self.mix = _Conv(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        enlarged = nn.functional.interpolate(self.project(coarse), scale_factor=2.0, mode="nearest")
        return self.mix(enlarged + fine)  # type: ignore[no-any-return]


class FaceAnalyser(nn.Module):
    """Reads an `ffhq` crop; the defaults are the bundled weights' sizes."""

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (16, 32, 64, 128),  # channels at 64, 32, 16 and 8 px
        hidden: int = 160,  # width of the head that reads attributes and pose
        dropout: float = 0.1,  # before the head, in training
    ) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(_Conv(3, a, 2), _Conv(a, a))
        self.at32 = nn.Sequential(_Conv(a, b, 2), _Block(b))
        self.at16 = nn.Sequential(_Conv(b, c, 2), _Block(c))
        self.at8 = nn.Sequential(_Conv(c, d, 2), _Block(d))
        self.up16, self.up32, self.up64 = _Up(d, c), _Up(c, b), _Up(b, a)
        self.refine32 = _Block(b)
        self.to_heatmaps = nn.Conv2d(b, 68, 1)
        self.to_parts = nn.Conv2d(a, ANALYSER_PARTS, 1)
        self.gather = _Conv(d + b, 40, kernel=1)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(40 * 64, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.to_attributes = nn.Linear(hidden, len(ANALYSER_ATTRIBUTES))
        self.to_pose = nn.Linear(hidden, 3)
        self.to_shift = nn.Linear(hidden, 68 * 2)
        nn.init.zeros_(self.to_shift.weight)
        nn.init.zeros_(self.to_shift.bias)

    def forward(self, faces: Tensor) -> Analysis:
        """Reads faces [B, 3, 128, 128] in [-1, 1], aligned as `ffhq`.

        Raises:
            ValueError: another shape.
        """
        check_shape("faces", faces, [None, 3, 128, 128])
        at64 = self.stem(faces)
        at32 = self.at32(at64)
        at16 = self.at16(at32)
        at8 = self.at8(at16)
        fine16 = self.up16(at8, at16)
        fine32 = self.refine32(self.up32(fine16, at32))
        heatmaps = self.to_heatmaps(fine32)
        parts = self.to_parts(self.up64(fine32, at64))
        # What thin frames and wrinkles showed at 32 px comes along with what the whole face says.
        gathered = self.gather(torch.cat([at8, nn.functional.max_pool2d(fine32, 4)], dim=1))
        features = self.head(gathered.flatten(1))
        landmarks = expectation(heatmaps) + self.to_shift(features).view(-1, 68, 2)
        return Analysis(landmarks, heatmaps, parts, self.to_attributes(features), self.to_pose(features) * 30)


def expectation(heatmaps: Tensor) -> Tensor:
    """Mean place under the softmax of logits [B, N, H, W]: [B, N, 2], x and y in -1..1."""
    height, width = heatmaps.shape[-2:]
    share = heatmaps.flatten(2).softmax(dim=-1).view(heatmaps.shape)
    x = (torch.arange(width, device=share.device, dtype=share.dtype) * 2 + 1) / width - 1
    y = (torch.arange(height, device=share.device, dtype=share.dtype) * 2 + 1) / height - 1
    return torch.stack([(share.sum(dim=2) * x).sum(dim=-1), (share.sum(dim=3) * y).sum(dim=-1)], dim=-1)
