"""68 landmarks (Multi-PIE / iBUG order) in an aligned crop.

`mediapipe` runs MediaPipe's 468-point face mesh (Kartynnik et al. 2019) twice: once on the crop, once
on the square its own first answer gives, which is what the network was trained on. `template` bends
the mean shape through the five points with a thin-plate spline; it is exact at eyes, nose and mouth
corners, and a guess at the jaw. `bundled` is the face analyser (faces/analyser.py). `auto` takes
mediapipe where its weights are installed, else bundled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.faces.align import similarity, transform_points, warp
from fstriplets.faces.templates import MEAN_68
from fstriplets.models.cache import onnx_session
from fstriplets.models.weights import entry, installed, require
from fstriplets.registry import Registry

__all__ = [
    "LANDMARKERS",
    "MESH_TO_68",
    "Landmarker",
    "MediaPipeLandmarker",
    "TemplateLandmarker",
    "five_points",
    "load_landmarker",
    "template68",
]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

#: Vertices of the 468-point mesh that lie at the 68 points.
MESH_TO_68 = [
    127, 234, 93, 132, 172, 136, 149, 176, 152, 400, 378, 365, 397, 361, 323, 454, 356,  # jaw, left to right
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose: bridge, then nostrils
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
]  # fmt: skip


def five_points(points: npt.ArrayLike) -> Points:
    """The five points of the templates out of 5 (as they are) or 68 points: [5, 2].

    Eyes are the mean of their six outline points.

    Raises:
        ValueError: neither 5 nor 68 points.
    """
    p = np.asarray(points, np.float64)
    if p.shape == (5, 2):
        return p
    if p.shape != (68, 2):
        raise ValueError(f"landmarks must be [5, 2] or [68, 2], got {list(p.shape)}")
    return np.stack([p[36:42].mean(axis=0), p[42:48].mean(axis=0), p[30], p[48], p[54]])


class Landmarker(Protocol):
    """Finds 68 points in a crop.

    Attributes:
        name, fingerprint, weights: as of detectors.
    """

    name: str
    fingerprint: str
    weights: dict[str, str]

    def find(self, crop: Pixels, points: Points) -> Points:
        """68 points in a crop uint8 [S, S, 3] whose five points are known: [68, 2] crop pixels."""
        ...


LANDMARKERS: Registry[Callable[[PipelineConfig], Landmarker]] = Registry(
    "landmarker",
    {
        "bundled": "fstriplets.faces.analyser:BundledLandmarker",
        "mediapipe": "fstriplets.faces.landmarks:MediaPipeLandmarker",
        "template": "fstriplets.faces.landmarks:TemplateLandmarker",
    },
    group="fstriplets.landmarkers",
)


def load_landmarker(config: PipelineConfig) -> Landmarker:
    """The landmarker of `config.landmarker`; `auto`: mediapipe, bundled or template, the first there is."""
    name = config.landmarker
    if name == "auto":
        choices = {"mediapipe": "mediapipe_face_mesh", "bundled": "face_analyser"}
        name = next((name for name, weights in choices.items() if installed(weights)), "template")
    return LANDMARKERS.get(name)(config)


def template68(points: npt.ArrayLike) -> Points:
    """The mean 68 points bent through 5 (or the 5 of 68) points: [68, 2], same pixels."""
    five = five_points(points)
    mean = np.asarray(MEAN_68)
    anchors = five_points(mean)
    fitted = similarity(anchors, five)
    placed = transform_points(mean, fitted)
    shift = five - transform_points(anchors, fitted)
    side = float(np.hypot(fitted[0, 0], fitted[1, 0]))
    moved: Points = placed + _spline(anchors, shift / side, mean) * side
    return moved


class TemplateLandmarker:
    """The mean shape, bent through the five points."""

    name = "template"
    fingerprint = "template-1"

    def __init__(self, config: PipelineConfig | None = None) -> None:
        self.weights: dict[str, str] = {}

    def find(self, crop: Pixels, points: Points) -> Points:
        """[68, 2]; looks at the five points only."""
        return template68(points)


def _spline(anchors: Points, shift: Points, at: Points) -> Points:
    """Thin-plate spline through the shifts of the anchors, evaluated `at`; exact at the anchors."""

    def kernel(a: Points, b: Points) -> Points:
        r2 = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
        bent: Points = np.where(r2 > 1e-12, r2 * np.log(np.maximum(r2, 1e-12)), 0.0)
        return bent

    count = len(anchors)
    flat = np.hstack([np.ones((count, 1)), anchors])
    system = np.zeros((count + 3, count + 3))
    system[:count, :count], system[:count, count:], system[count:, :count] = (
        kernel(anchors, anchors),
        flat,
        flat.T,
    )
    solved = np.linalg.solve(system, np.vstack([shift, np.zeros((3, 2))]))
    moved: Points = (
        kernel(at, anchors) @ solved[:count] + np.hstack([np.ones((len(at), 1)), at]) @ solved[count:]
    )
    return moved


class MediaPipeLandmarker:
    """MediaPipe's face mesh, two passes; the template where the network sees no face."""

    name = "mediapipe"
    _SIDE = 192
    _CROP = 1.5  # the network's input is a square so much larger than the face
    _PRESENCE = 0.0  # logit

    def __init__(self, config: PipelineConfig | None = None) -> None:
        sha256 = entry("mediapipe_face_mesh").sha256
        self._session = onnx_session(require("mediapipe_face_mesh"), sha256)
        self._fallback = TemplateLandmarker()
        self.weights = {"mediapipe_face_mesh": sha256}
        self.fingerprint = f"mediapipe-1:{sha256[:12]}"

    def find(self, crop: Pixels, points: Points) -> Points:
        """[68, 2]."""
        guess = self._fallback.find(crop, points)
        found = self.mesh(crop, guess)
        return guess if found is None else found[MESH_TO_68, :2]

    def mesh(self, crop: Pixels, points: Points) -> Points | None:
        """All 468 points (x, y, depth) in crop pixels: [468, 3]; None when the network sees no face.

        Args:
            points: [N, 2] points that span the face, where the first pass looks.
        """
        mesh: Points | None = None
        for _ in range(2):
            mesh = self._pass(crop, points if mesh is None else mesh[:, :2], _tilt(points, mesh))
            if mesh is None:
                return None
        return mesh

    def _pass(self, crop: Pixels, points: Points, tilt: float) -> Points | None:
        cos, sin = np.cos(tilt), np.sin(tilt)
        upright = points @ np.array([[cos, -sin], [sin, cos]])
        low, high = upright.min(axis=0), upright.max(axis=0)
        scale = self._SIDE / (float((high - low).max()) * self._CROP)
        linear = scale * np.array([[cos, sin], [-sin, cos]])
        centre = (low + high) / 2
        shift = np.full(2, self._SIDE / 2 - 0.5) - scale * centre
        matrix = np.hstack([linear, shift[:, None]])
        patch = warp(crop, matrix, self._SIDE)
        blob = (patch.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        values, presence = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        if float(presence.reshape(-1)[0]) < self._PRESENCE:
            return None
        mesh = values.reshape(468, 3).astype(np.float64)
        inverse = np.linalg.inv(linear)
        flat = (mesh[:, :2] - 0.5 - shift) @ inverse.T
        return np.hstack([flat, mesh[:, 2:] / scale])


def _tilt(points: Points, mesh: Points | None) -> float:
    """Roll of the line between the eyes, radians: crops are upright, photos in other hands may not be."""
    if mesh is not None:
        left, right = mesh[[33, 133], :2].mean(axis=0), mesh[[362, 263], :2].mean(axis=0)
    else:
        left, right = five_points(points)[:2]
    return float(np.arctan2(right[1] - left[1], right[0] - left[0]))
