"""Face embedder: one small residual network with two heads for a person's identity.

The first head is a recogniser's (trained with a margin, CosFace, Wang et al. 2018). The second is the
*smooth* identity of Smooth-Swap (Kim et al. 2022), which LatentSwap compares faces with: a projection by two
layers and supervised contrastive learning (Khosla et al. 2020), so that it changes evenly as one face turns
into another. There it sits on a ResNet50 (2048 -> 1024 -> 512); here on a trunk of 0.03 GMAC, made for a CPU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["EMBEDDER_SIDE", "FFHQ_WINDOW", "FaceEmbedder", "SmoothIdentity"]

#: Side of the input, pixels: ArcFace's crop, as coarse as the shape of a face allows.
EMBEDDER_SIDE = 64
#: ArcFace's crop within an `ffhq` crop: x0, y0, side, as shares (the similarity between the templates).
FFHQ_WINDOW = (0.1272, 0.1174, 0.7439)


class _Block(nn.Sequential):
    """Convolution, BatchNorm, PReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
        )


class _Stage(nn.Module):
    """Half the size, then a residual pair of convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = _Block(inputs, outputs, stride=2)
        self.inner = _Block(outputs, outputs)
        self.outer = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.outer(self.inner(x))  # type: ignore[no-any-return]


class FaceEmbedder(nn.Module):
    """Who somebody is: 512 numbers of unit length, from an aligned face."""

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (20, 40, 80, 160),  # channels at 32, 16, 8 and 4 px
        features: int = 256,  # length of what both heads read
        smooth_hidden: int = 768,  # width of the smooth head; 0: none
    ) -> None:
        super().__init__()
        first, *rest = widths
        self.stem = _Block(3, first, stride=2)
        self.stages = nn.Sequential(*(_Stage(i, o) for i, o in zip(widths, rest, strict=False)))
        side = EMBEDDER_SIDE // 2 ** len(widths)
        # Every place of the face has its own weight (MobileFaceNet's global depthwise convolution).
        self.gather = nn.Sequential(
            _Block(rest[-1], features, 1),
            nn.Conv2d(features, features, side, groups=features, bias=False),
            nn.BatchNorm2d(features),
            nn.Flatten(),
        )
        self.identity = nn.Sequential(nn.Linear(features, 512, bias=False), nn.BatchNorm1d(512))
        if smooth_hidden:
            self.smooth = nn.Sequential(
                nn.Linear(features, smooth_hidden, bias=False),
                nn.BatchNorm1d(smooth_hidden),
                nn.LeakyReLU(0.2),
                nn.Linear(smooth_hidden, 512, bias=False),
                nn.BatchNorm1d(512),
            )

    def forward(
        self,
        faces: Tensor,  # [B, 3, 64, 64] RGB in [-1, 1], template `arcface`
    ) -> Tensor:  # [B, 512] of unit length
        return F.normalize(self.identity(self.features(faces)))

    def features(self, faces: Tensor) -> Tensor:
        """What both heads read: [B, features]."""
        check_shape("faces", faces, [None, 3, EMBEDDER_SIDE, EMBEDDER_SIDE])
        return self.gather(self.stages(self.stem(faces)))  # type: ignore[no-any-return]

    def both(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """The recogniser's embedding and the smooth one, both [B, 512] of unit length."""
        features = self.features(faces)
        return F.normalize(self.identity(features)), F.normalize(self.smooth(features))


class SmoothIdentity(nn.Module):
    """The smooth identity of whole `ffhq` crops; gradients reach the picture.

    Args:
        embedder: the trained network; its weights are not changed.
    """

    def __init__(self, embedder: FaceEmbedder) -> None:
        super().__init__()
        self.embedder = embedder.eval().requires_grad_(False)

    def forward(
        self,
        images: Tensor,  # [B, 3, S, S] RGB in [-1, 1], template `ffhq`, S >= 64
    ) -> Tensor:  # [B, 512] of unit length
        check_shape("images", images, [None, 3, images.shape[-1], images.shape[-1]])
        size = images.shape[-1]
        left, top, side = (round(share * size) for share in FFHQ_WINDOW)
        window = images[..., top : top + side, left : left + side]
        window = F.interpolate(
            window, (EMBEDDER_SIDE, EMBEDDER_SIDE), mode="bilinear", align_corners=False, antialias=True
        )
        return F.normalize(self.embedder.smooth(self.embedder.features(window)))

    def train(self, mode: bool = True) -> SmoothIdentity:
        """Stays in evaluation mode: its statistics are not to follow generated pictures."""
        return super().train(False)
