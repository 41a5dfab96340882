"""Finding faces: every backend answers with the same Detection.

Built in: `yunet` (OpenCV), `insightface` (SCRFD and kin), `bundled` (the network that travels with the
package), `lbp` (scikit-image), `given` (box and landmarks come with the photo) and `aligned` (photos are
crops already, see stage.py).
`auto` is decided per photo: given landmarks first, then the best detector installed. Other packages
add theirs through the entry-point group `fstriplets.detectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.errors import ConfigError, MissingDependency, PhotoRejected
from fstriplets.models.weights import installed
from fstriplets.records import Photo
from fstriplets.registry import Registry

__all__ = [
    "DETECTORS",
    "AutoDetector",
    "Box",
    "Detection",
    "Detector",
    "GivenDetector",
    "best_installed",
    "box_around",
    "load_detector",
    "points_from_box",
]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face found in a photo."""

    box: Box  #: x0, y0, x1, y1, photo pixels
    points: Points  #: [5, 2] or, where the photo came with them, [68, 2]; photo pixels
    score: float  #: 0..1
    given: bool = False  #: the corpus gave the points: nobody looks for better ones


class Detector(Protocol):
    """A detector backend; made from the config.

    Attributes:
        name: registered name.
        fingerprint: name, code version and hash of the weights.
        weights: weights name -> sha256 of what it loaded.
    """

    name: str
    fingerprint: str
    weights: dict[str, str]

    def detect(self, photo: Photo, pixels: Pixels) -> list[Detection]:
        """Faces in uint8 [H, W, 3] RGB pixels, the largest first; empty when there is none."""
        ...


DETECTORS: Registry[Callable[[PipelineConfig], Detector]] = Registry(
    "detector",
    {
        "auto": "fstriplets.faces.detectors:AutoDetector",
        "bundled": "fstriplets.faces.detect_bundled:BundledDetector",
        "given": "fstriplets.faces.detectors:GivenDetector",
        "insightface": "fstriplets.faces.detect_insightface:InsightFaceDetector",
        "lbp": "fstriplets.faces.detect_lbp:LbpDetector",
        "yunet": "fstriplets.faces.detect_yunet:YuNetDetector",
    },
    group="fstriplets.detectors",
)

# Where the five points lie in a face box, as shares of its width and height: means over YuNet's boxes on
# 390 photos, made mirror symmetric.
_BOX_POINTS = np.array([[0.268, 0.373], [0.732, 0.373], [0.50, 0.571], [0.302, 0.726], [0.698, 0.726]])


def points_from_box(box: Box, shares: Points = _BOX_POINTS) -> Points:
    """Five points guessed from a box: [5, 2]. For detectors that give no landmarks."""
    x0, y0, x1, y1 = box
    return shares * (x1 - x0, y1 - y0) + (x0, y0)


def box_around(points: Points) -> Box:
    """A face box guessed from 5 or 68 points."""
    from fstriplets.faces.align import similarity, transform_points
    from fstriplets.faces.landmarks import five_points

    matrix = similarity(_BOX_POINTS, five_points(points))
    corners = transform_points([[0, 0], [1, 0], [1, 1], [0, 1]], matrix)
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


class GivenDetector:
    """Box and landmarks from the corpus table. Landmarks win; a box alone gives guessed points."""

    name = "given"
    fingerprint = "given-1"

    def __init__(self, config: PipelineConfig) -> None:
        self.weights: dict[str, str] = {}

    def detect(self, photo: Photo, pixels: Pixels) -> list[Detection]:
        """The face the table names; PhotoRejected `no_landmarks` where it names none."""
        if photo.landmarks is not None:
            points = np.asarray(photo.landmarks, np.float64)
            return [Detection(photo.box or box_around(points), points, 1.0, given=True)]
        if photo.box is not None:
            return [Detection(photo.box, points_from_box(photo.box), 1.0)]
        raise PhotoRejected(
            "no_landmarks", "the corpus gives neither landmarks nor a box, and detector is `given`"
        )


class AutoDetector:
    """Given landmarks where the photo has them, else the best detector installed."""

    name = "auto"

    def __init__(self, config: PipelineConfig) -> None:
        self._given = GivenDetector(config)
        self._finder = DETECTORS.get(best_installed())(config)
        self.fingerprint = f"auto({self._given.fingerprint},{self._finder.fingerprint})"
        self.weights = self._finder.weights

    def detect(self, photo: Photo, pixels: Pixels) -> list[Detection]:
        """As the detector it chose."""
        return (self._finder if photo.landmarks is None else self._given).detect(photo, pixels)


def load_detector(config: PipelineConfig) -> Detector:
    """The detector of `config.detector` (not `aligned`, which is no detector but a path of its own).

    Raises:
        ConfigError: unknown name; lists the choices.
    """
    if config.detector not in DETECTORS.names():
        choices = ", ".join(sorted([*DETECTORS.names(), "aligned"]))
        raise ConfigError(f"unknown detector {config.detector!r}; choose one of: {choices}")
    return DETECTORS.get(config.detector)(config)


def best_installed() -> str:
    """The detector `auto` uses for photos without landmarks: yunet, insightface, bundled or lbp."""
    if installed("yunet"):
        return "yunet"
    if installed("scrfd_500m") and _insightface():
        return "insightface"
    return "bundled" if installed("face_detector") else "lbp"


def _insightface() -> bool:
    try:
        DETECTORS.get("insightface")
    except MissingDependency:
        return False
    return True
