"""Part labels of an aligned face: which pixel is skin, hair, lips, glasses …

The parts are those of the synthetic faces' truth, so that edits, masks and training speak of the same thing.
`bundled` asks the face analyser; `landmarks` fills the polygons of the 68 points, knows nothing of hair,
ears, neck or glasses, and needs no weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.faces.landmarks import five_points, template68
from fstriplets.models.weights import installed
from fstriplets.registry import Registry

__all__ = ["PARSERS", "PARTS", "BundledParser", "LandmarkParser", "Parser", "load_parser"]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

#: Part labels: value -> name; the same as synth.regions.LABELS.
PARTS = (
    "background", "skin", "brows", "eyes", "nose", "mouth", "lips", "hair", "glasses", "beard",
    "neck", "ears", "cloth",
)  # fmt: skip


class Parser(Protocol):
    """A parser backend.

    Attributes:
        name, fingerprint, weights: as of detectors.
    """

    name: str
    fingerprint: str
    weights: dict[str, str]

    def labels(self, crop: Pixels, landmarks: Points) -> Pixels:
        """Crop uint8 [S, S, 3] with [5|68, 2] landmarks → uint8 [S, S], values of PARTS."""
        ...


PARSERS: Registry[Callable[[], Parser]] = Registry(
    "parser",
    {
        "bundled": "fstriplets.faces.parse:BundledParser",
        "landmarks": "fstriplets.faces.parse:LandmarkParser",
    },
    group="fstriplets.parsers",
)


def load_parser(name: str = "auto") -> Parser:
    """The parser of that name; `auto` is bundled, or landmarks in an installation without weights."""
    if name == "auto":
        name = "bundled" if installed("face_analyser") else "landmarks"
    return PARSERS.get(name)()


class BundledParser:
    """Parts of the face analyser, a 64 px map over its view enlarged to the crop."""

    name = "bundled"

    def __init__(self) -> None:
        from fstriplets.faces.analyser import shared_analyser

        self._analyser = shared_analyser()
        self.weights = dict(self._analyser.weights)
        self.fingerprint = f"parts-1:{self._analyser.fingerprint}"

    def labels(self, crop: Pixels, landmarks: Points) -> Pixels:
        """[S, S]."""
        return self._analyser.read(crop, landmarks).labels(crop.shape[0])


#: Part -> the closed lines of landmarks that bound it, painted in this order.
_OUTLINES: dict[str, list[list[int]]] = {
    "brows": [[17, 18, 19, 20, 21], [22, 23, 24, 25, 26]],
    "eyes": [list(range(36, 42)), list(range(42, 48))],
    "nose": [[27, 31, 32, 33, 34, 35]],
    "lips": [list(range(48, 60))],
    "mouth": [list(range(60, 68))],
}
_FOREHEAD = 0.55  # of the height from brows to chin


class LandmarkParser:
    """Polygons of the landmarks; the forehead is half an ellipse on the brows."""

    name = "landmarks"
    fingerprint = "parts-landmarks-1"

    def __init__(self) -> None:
        self.weights: dict[str, str] = {}

    def labels(self, crop: Pixels, landmarks: Points) -> Pixels:
        """[S, S]; looks at the landmarks only."""
        points = np.asarray(landmarks, np.float64)
        points = points if len(points) == 68 else template68(five_points(points))
        drawn = np.zeros(crop.shape[:2], np.uint8)
        _fill(drawn, np.vstack([points[:17], _forehead(points)]), "skin")
        for name, lines in _OUTLINES.items():
            for line in lines:
                outline = points[line]
                if name == "brows":  # the points are its upper edge
                    thick = 0.12 * (points[41] - points[19])
                    outline = np.vstack([outline - thick / 2, outline[::-1] + thick])
                _fill(drawn, outline, name)
        return drawn


def _forehead(points: Points) -> Points:
    """From the right end of the jaw line over the top to its left end: [15, 2]."""
    across = (points[16] - points[0]) / 2
    middle = (points[16] + points[0]) / 2
    up = (points[17:27].mean(axis=0) - points[8]) * _FOREHEAD
    angle = np.linspace(0.1, np.pi - 0.1, 15)[:, None]
    return np.asarray(middle + across * np.cos(angle) + up * np.sin(angle))


def _fill(drawn: Pixels, outline: Points, part: str) -> None:
    polygon = np.rint(outline * 16).astype(np.int32)
    cv2.fillPoly(drawn, [polygon], (PARTS.index(part),), cv2.LINE_8, 4)
