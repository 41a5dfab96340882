"""The bundled face detector and face analyser as ONNX files: what finds faces where there is no PyTorch.

Both are compared with PyTorch on photos of the demo's synthetic people, in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import fstriplets
from fstriplets.export.graph import Exported, write_onnx
from fstriplets.export.precision import store_fp16
from fstriplets.models.bundled import bundled_network, one_thread
from fstriplets.models.networks.face_analyser import FaceAnalyser
from fstriplets.models.networks.face_detector import FaceDetector, decode
from fstriplets.models.weights import entry
from fstriplets.swapping.onnx_model import open_session

__all__ = ["Analyse", "Detect", "Finder", "write_finders"]

_SIDE = 128  # of what the analyser looks at, as in faces/analyser.py
_SURE = 0.1  # cells with a lower score say nothing about a face, and are not compared

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Finder:
    """One file, and its distance from PyTorch over the compared photos."""

    path: Path
    role: str  #: `detector` or `analyser`
    bytes: int
    max_error: float  #: pixels, of corners and points


class Detect(Exported):
    """The detector: photo [1, 3, H, W] -> scores [N], boxes [N, 4], points [N, 5, 2], of all cells.

    The photo is RGB in [-1, 1], its sides multiples of 32; boxes (x0, y0, x1, y1) and points are its pixels.
    """

    inputs, outputs = ("photo",), ("scores", "boxes", "points")
    axes: Mapping[str, Mapping[int, str]] = {
        "photo": {2: "height", 3: "width"}, "scores": {0: "cells"}, "boxes": {0: "cells"},
        "points": {0: "cells"},
    }  # fmt: skip

    def __init__(self, network: FaceDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = zip(self.network(photo), self.network.strides, strict=True)
        parts = [decode(level, stride) for level, stride in levels]
        scores, boxes, points = (torch.cat(column, dim=1)[0] for column in zip(*parts, strict=True))
        return scores.sigmoid(), boxes, points

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, 3, 96, 64),)


class Analyse(Exported):
    """The analyser: face [1, 3, 128, 128] -> landmarks [68, 2], its pixels, parts [13, 64, 64], logits."""

    inputs, outputs = ("face",), ("landmarks", "parts")

    def __init__(self, network: FaceAnalyser) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        said = self.network(face)
        return (said.landmarks[0] + 1) * (_SIDE / 2) - 0.5, said.parts[0]

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, 3, _SIDE, _SIDE),)


def write_finders(folder: Path, photos: Sequence[Pixels], small: bool = False) -> list[Finder]:
    """Writes face_detector.onnx and face_analyser.onnx.

    Args:
        folder: where to.
        photos: uint8 [H, W, 3], what they are compared on.
        small: store their weights in fp16.

    Raises:
        WeightsError: the bundled weights are missing or damaged. MissingDependency: onnx is not installed.
    """
    detector = Detect(bundled_network("face_detector", FaceDetector)).eval()
    analyser = Analyse(bundled_network("face_analyser", FaceAnalyser)).eval()
    padded, faces = [_planes(_padded(p)) for p in photos], [_planes(_square(p)) for p in photos]
    return [
        _written(detector, "detector", folder / "face_detector.onnx", padded, small),
        _written(analyser, "analyser", folder / "face_analyser.onnx", faces, small),
    ]


def _written(
    module: Exported, role: str, path: Path, inputs: Sequence[npt.NDArray[np.float32]], small: bool
) -> Finder:
    row = entry(path.stem)
    metadata = {
        "name": row.name,
        "role": role,
        "description": " ".join((module.__doc__ or "").splitlines()[0].split()),
        "licence": row.licence,
        "layout": "NCHW, batch 1, float32",
        "colour_order": "RGB",
        "value_range": "-1..1",
        "weights_sha256": row.sha256,
        "fstriplets_version": fstriplets.__version__,
    }
    write_onnx(module, path, metadata)
    if small:
        store_fp16(path)
    session = open_session(path, threads=1)
    errors = [0.0]
    for image in inputs:
        with one_thread():
            wanted = [cast(Tensor, value).numpy() for value in module(torch.from_numpy(image))]
        made = session.run(None, {module.inputs[0]: image})
        if role == "detector":
            sure = wanted[0] > _SURE
            pairs = [(wanted[k][sure], made[k][sure]) for k in (1, 2)]
        else:
            pairs = [(wanted[0], made[0])]
        errors += [float(np.abs(a - b).max()) for a, b in pairs if a.size]
    return Finder(path, role, path.stat().st_size, max(errors))


def _padded(photo: Pixels) -> Pixels:
    bottom, right = (-side % 32 for side in photo.shape[:2])
    grown = cv2.copyMakeBorder(photo, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    return np.asarray(grown, np.uint8)


def _square(photo: Pixels) -> Pixels:
    return np.asarray(cv2.resize(photo, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _planes(photo: Pixels) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(photo.transpose(2, 0, 1)[None], np.float32) / np.float32(127.5) - 1
