"""VGG19's convolutions in five slices, for perceptual losses.

Simonyan, Zisserman: Very deep convolutional networks (ICLR 2015), configuration E. The layers carry
torchvision's numbers, grouped as MobileFSGAN's release groups them (`slice2.5.weight`); a torchvision
checkpoint is renamed by fstriplets.models.weights.adapters.torchvision_vgg19.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = ["VGG19Slices"]

#: Layers up to relu5_1: channels of a convolution (each followed by a ReLU), or M for max-pooling.
_LAYERS: tuple[int | str, ...] = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M",
                                  512, 512, 512, 512, "M", 512)  # fmt: skip
#: Slices end after these layers: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1.
_ENDS = (2, 7, 12, 21, 30)


def _vgg_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for width in _LAYERS:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return layers


class VGG19Slices(nn.Module):
    """Features of an image after relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    The input is RGB in [-1, 1]; it is brought to ImageNet's statistics here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers = _vgg_layers()
        for number, (start, end) in enumerate(zip((0, *_ENDS), _ENDS, strict=False), start=1):
            part = nn.Sequential()
            for index in range(start, end):
                part.add_module(str(index), layers[index])
            self.add_module(f"slice{number}", part)
        # ImageNet's statistics in [0, 1], constants, saved with the rest
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(
        self,
        images: Tensor,  # [B, 3, H, W] in [-1, 1], sides of 16 or more
    ) -> list[Tensor]:
        check_shape("images", images, [None, 3, None, None])
        x = (images * 0.5 + 0.5 - self.mean) / self.std
        features = []
        for number in range(1, len(_ENDS) + 1):
            x = self.get_submodule(f"slice{number}")(x)
            features.append(x)
        return features
