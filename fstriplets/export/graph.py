"""From torch modules to ONNX files that need nothing else to be understood.

The exporter is torch's TorchScript one (`dynamo=False`): it needs no package but onnx, gives the graph that
ONNX Runtime fuses best, and is in every torch this project supports. Batch and side are fixed: one face a
call is what edge devices run, and with fixed shapes every constant is folded and every buffer planned.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.errors import MissingDependency
from fstriplets.models.fold import folded
from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator
from fstriplets.training.swap_features import FaceCrop, Identity

__all__ = ["Embed", "Exported", "Swap", "import_onnx", "read_metadata", "write_metadata", "write_onnx"]

#: 17 is read by every ONNX Runtime since 1.12, and by all browsers' builds of it.
OPSET = 17


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        MissingDependency: not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", "export", "exporting") from error
    return onnx


class Exported(nn.Module):
    """A network as its ONNX file has it.

    Attributes:
        inputs, outputs: names of its tensors.
        axes: name of an input or output -> axis -> name, of axes whose length the caller chooses.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]] = {}

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace it by."""
        raise NotImplementedError


class Swap(Exported):
    """A generator as it is exported: target [1, 3, S, S], embedding [1, D] -> swapped [1, 3, S, S].

    Values are RGB in [-1, 1]. The smaller outputs, which only training reads, are left out.
    """

    inputs, outputs = ("target", "embedding"), ("swapped",)

    def __init__(self, generator: MobileFSGANGenerator, size: int) -> None:
        super().__init__()
        self.generator, self.size = folded(generator), size
        self.eval()

    def forward(self, target: Tensor, embedding: Tensor) -> Tensor:
        return cast(Tensor, self.generator(target, embedding).full)

    def example(self) -> tuple[Tensor, ...]:
        return torch.zeros(1, 3, self.size, self.size), torch.zeros(1, self.generator.embedding_size)


class Embed(Exported):
    """A recogniser as it is exported: face [1, 3, S, S] -> embedding [1, D], L2-normalised.

    It takes the very crops the generator takes; the recogniser's own window is cut out within the graph.
    """

    inputs, outputs = ("face",), ("embedding",)

    def __init__(self, identity: Identity, size: int) -> None:
        super().__init__()
        self.crop, self.network, self.size = _Window(identity.crop, size), identity.network, size
        self.eval()

    def forward(self, face: Tensor) -> Tensor:
        return F.normalize(self.network(self.crop(face)))

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, 3, self.size, self.size),)


class _Window(nn.Module):
    """A FaceCrop for images of one size, in operators ONNX has: matrices, or a fixed grid."""

    def __init__(self, crop: FaceCrop, size: int) -> None:
        super().__init__()
        self.upright = crop.upright
        if crop.upright:
            # Where only row j is one, what comes out is row j's share in every row, since the shares of
            # each pixel sum to one; columns have the same.
            rows = torch.eye(size)[:, None, None, :, None].expand(size, 1, 3, size, size)
            self.register_buffer("weights", torch.stack([crop(row)[0, 0, :, 0] for row in rows], dim=1))
        else:
            self.shrink = crop.shrink(size)
            # Places beyond the edge are mirrored here once, not in the graph: -1 and 1 are the edges.
            grid = crop.grid(size // self.shrink).double()
            mirrored = 1 - (torch.remainder(grid + 1, 4) - 2).abs()
            self.register_buffer("weights", mirrored.float())

    def forward(self, images: Tensor) -> Tensor:
        weights = cast(Tensor, self.weights)
        if self.upright:
            return weights @ images @ weights.T
        images = F.avg_pool2d(images, self.shrink) if self.shrink > 1 else images
        return F.grid_sample(images, weights, padding_mode="border", align_corners=False)


def write_onnx(module: Exported, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a module as an fp32 ONNX file, checked and described.

    Raises:
        MissingDependency: onnx is not installed.
    """
    import_onnx()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about Python values becoming constants, which is what we want
        torch.onnx.export(
            module,
            module.example(),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(module.inputs),
            output_names=list(module.outputs),
            dynamic_axes={name: dict(axes) for name, axes in module.axes.items()} or None,
        )
    write_metadata(path, metadata)


def write_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Gives an ONNX file its `metadata_props`, names and shapes of all values, and checks it."""
    onnx = import_onnx()
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "fstriplets", metadata["fstriplets_version"]
    model.doc_string = metadata["description"]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def read_metadata(path: Path) -> dict[str, str]:
    """The `metadata_props` of an ONNX file."""
    model = import_onnx().load(str(path), load_external_data=False)
    return {item.key: item.value for item in model.metadata_props}
