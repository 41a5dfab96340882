"""Identity embeddings: an ONNX face recogniser over ArcFace-aligned crops.

`embedder` in the pipeline is the name of an installed recogniser (`mobilefacenet_foamliu`, or any of
role `embedder` in the table of weights), a path to an .onnx file, `insightface`, `bundled` (the network
that travels with the package), `auto` or `none`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.errors import ConfigError, WeightsError
from fstriplets.faces.align import similarity, warp
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.cache import onnx_session
from fstriplets.models.weights import file_sha256, installed, registry, require
from fstriplets.registry import Registry

__all__ = ["EMBEDDERS", "Embedder", "OnnxEmbedder", "arcface_crops", "load_embedder", "normalised"]

Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]


class Embedder(Protocol):
    """An embedder backend.

    Attributes:
        name, fingerprint, weights: as of detectors.
    """

    name: str
    fingerprint: str
    weights: dict[str, str]

    # Optional: limits, a faces.limits.IdentityLimits, where its cosines mean something else than those of
    # public recognisers.

    def embed(self, crops: Pixels, landmarks: npt.NDArray[np.floating[Any]]) -> Embeddings:
        """crops uint8 [B, S, S, 3] RGB, landmarks [B, 5|68, 2] crop px -> [B, D] L2-normalised."""
        ...


EMBEDDERS: Registry[Any] = Registry(
    "embedder",
    {
        "bundled": "fstriplets.faces.embed_bundled:BundledEmbedder",
        "insightface": "fstriplets.faces.detect_insightface:InsightFaceEmbedder",
    },
    group="fstriplets.embedders",
)


def load_embedder(config: PipelineConfig) -> Embedder | None:
    """The embedder of `config.embedder`; None for `none`. `auto`: a public recogniser, else the bundled one.

    Raises:
        ConfigError: unknown name, or a path that does not exist.
        WeightsError: the named weights are not installed.
    """
    name = config.embedder
    known = [e.name for e in registry().values() if e.role == "embedder" and not e.bundled]
    if name == "auto":
        public = next((choice for choice in known if installed(choice)), None)
        if public is not None:
            return _registered(public)
        name = "bundled" if installed("face_embedder") else "none"
    if name == "none":
        return None
    if name in known:
        return _registered(name)
    if name.endswith(".onnx"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(f"embedder: no such file: {path}")
        return OnnxEmbedder(path, path.stem, file_sha256(path))
    if name in EMBEDDERS.names():
        plugged: Embedder = EMBEDDERS.get(name)(config)
        return plugged
    choices = sorted({"auto", "none", *known, *EMBEDDERS.names()})
    raise ConfigError(
        f"unknown embedder {name!r}; choose one of: {', '.join(choices)}, or a path to an .onnx file"
    )


def _registered(name: str) -> OnnxEmbedder:
    return OnnxEmbedder(require(name), name, registry()[name].sha256)


class OnnxEmbedder:
    """A recogniser with input [B, 3, S, S] RGB, (x - 127.5) / 127.5, ArcFace alignment.

    Args:
        path: the .onnx file; S is read from it, and whether it takes batches.
        name: what manifests call it.
        sha256: of the file.

    Raises:
        WeightsError: the model's input or output has another form.
    """

    def __init__(self, path: Path, name: str, sha256: str) -> None:
        self.name = name
        self.weights = {name: sha256}
        self.fingerprint = f"onnx-1:{sha256[:12]}"
        self._session = onnx_session(path, sha256)
        entry = self._session.get_inputs()[0]
        shape: Sequence[Any] = entry.shape
        if len(shape) != 4 or shape[1] != 3 or len(self._session.get_outputs()[0].shape) != 2:
            raise WeightsError(f"{path} is no face recogniser: input {shape}, wanted [B, 3, S, S] -> [B, D]")
        self._input = entry.name
        self.size = shape[2] if isinstance(shape[2], int) else 112
        self._batch = shape[0] if isinstance(shape[0], int) else 0  # 0: any

    def embed(self, crops: Pixels, landmarks: npt.NDArray[np.floating[Any]]) -> Embeddings:
        """[B, D] float32, L2-normalised."""
        faces = arcface_crops(crops, landmarks, self.size)
        blob = (faces.astype(np.float32) - 127.5) / 127.5
        blob = np.ascontiguousarray(blob.transpose(0, 3, 1, 2))
        # Always one at a time: results must not depend on who shares a batch.
        rows = [self._run(blob[i : i + 1]) for i in range(len(blob))]
        return normalised(rows)

    def _run(self, blob: npt.NDArray[np.float32]) -> Embeddings:
        if self._batch > 1:  # an export with a fixed batch: fill it up
            blob = np.repeat(blob, self._batch, axis=0)
        values: Embeddings = self._session.run(None, {self._input: blob})[0][:1]
        return values


def normalised(rows: Sequence[Embeddings]) -> Embeddings:
    """Rows [1, D] stacked to [B, D] float32 of unit length."""
    values = np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12), np.float32)


def arcface_crops(crops: Pixels, landmarks: npt.NDArray[np.floating[Any]], size: int = 112) -> Pixels:
    """Cut the recogniser's own crops out of aligned crops: uint8 [B, size, size, 3]."""
    target = template_points("arcface", size)
    faces = [
        _cut(crop, similarity(five_points(points), target), size)
        for crop, points in zip(crops, landmarks, strict=True)
    ]
    return np.stack(faces) if faces else np.zeros((0, size, size, 3), np.uint8)


def _cut(crop: Pixels, matrix: npt.NDArray[np.float64], size: int) -> Pixels:
    if crop.shape[0] <= 2.6 * size:  # one plain warp: what recognisers are trained with, and quick
        face: Pixels = cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR)
        return face
    return warp(crop, matrix, size)
