"""IResNet: the residual face recogniser of ArcFace, under insightface's state-dict names.

Deng, Guo, Xue, Zafeiriou: ArcFace (CVPR 2019), section 3.1 for the block and the embedding head.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["IResNet", "iresnet50"]


class _Block(nn.Module):
    """BatchNorm, 3x3, BatchNorm, PReLU, 3x3 (with the stride), BatchNorm; residual."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))  # type: ignore[no-any-return]


class IResNet(nn.Module):
    """A face's id_embedding, not normalised."""

    def __init__(
        self,
        blocks: Sequence[int],  # residual blocks of the four stages; the first of each halves the side
        embedding_size: int = 512,  # length of the embedding
        widths: Sequence[int] = (64, 128, 256, 512),  # channels of the four stages
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        inputs = [widths[0], *widths[:3]]
        stages = [_stage(*shape) for shape in zip(inputs, widths, blocks, strict=True)]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3] * 7 * 7, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(
        self,
        faces: Tensor,  # [B, 3, 112, 112] RGB in [-1, 1], aligned by the ArcFace template
    ) -> Tensor:  # [B, embedding_size]
        check_shape("faces", faces, [None, 3, 112, 112])
        x = self.prelu(self.bn1(self.conv1(faces)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.features(self.fc(x.flatten(1)))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    first = _Block(inputs, outputs, 2)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))


def iresnet50(embedding_size: int = 512) -> IResNet:
    """The judge of the paper's LFW table: 43,590,848 parameters."""
    return IResNet((3, 4, 14, 3), embedding_size)
