"""`lbp`: the cascade of local binary patterns that scikit-image ships. Nothing to download.

The fallback of a fresh machine. It finds upright, roughly frontal faces and gives a box without score
or landmarks: five points are guessed from the box, and the landmarker, where one is installed, finds
better ones. Expect crops that sit a few per cent off where it is not.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.faces.detectors import Detection, points_from_box
from fstriplets.models.cache import cached_model
from fstriplets.models.weights import file_sha256
from fstriplets.records import Photo

__all__ = ["LbpDetector"]

#: Longer sides tried, in pixels, until a face is found.
_SIDES = (320, 640)
_SCORE = 0.5  # the cascade says yes or no
_SMALLEST = 28  # px; the cascade's own window is 24
# Five points in the cascade's boxes as shares: medians over 68 photos against YuNet's points.
_POINTS = np.array([[0.31, 0.39], [0.69, 0.39], [0.50, 0.608], [0.34, 0.774], [0.66, 0.774]])


class LbpDetector:
    """Ahonen et al. 2006 / Liao et al. 2007, through skimage.feature.Cascade."""

    name = "lbp"

    def __init__(self, config: PipelineConfig) -> None:
        from pathlib import Path

        from skimage.data import lbp_frontal_face_cascade_filename

        path = lbp_frontal_face_cascade_filename()
        sha256 = file_sha256(Path(path))
        self.weights = {"skimage_lbp_frontal_face": sha256}
        self.fingerprint = f"lbp-1:{sha256[:12]}"
        self._cascade = cached_model("lbp", sha256, lambda: _load(path))

    def detect(self, photo: Photo, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        """Faces of a photo, the largest first."""
        longest = max(pixels.shape[:2])
        for side in _SIDES:
            found = self._run(pixels, min(1.0, side / longest))
            if found or side >= longest:
                break
        return found

    def _run(self, pixels: npt.NDArray[np.uint8], scale: float) -> list[Detection]:
        height, width = pixels.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
        if min(size) < _SMALLEST:
            return []
        rows = self._cascade.detect_multi_scale(
            img=small,
            scale_factor=1.15,
            step_ratio=1,
            min_size=(_SMALLEST, _SMALLEST),
            max_size=(max(size), max(size)),
            intersection_score_threshold=0.25,
        )
        ratio = np.array([width / size[0], height / size[1]])
        return [_detection(box, ratio) for box in _merge(rows)]


def _load(path: str) -> Any:
    from skimage.feature import Cascade

    return Cascade(path)


def _merge(rows: list[dict[str, int]]) -> list[npt.NDArray[np.float64]]:
    """One box a face, the largest first: the cascade often answers twice, one box inside another."""
    boxes = [np.array([r["c"], r["r"], r["c"] + r["width"], r["r"] + r["height"]], float) for r in rows]
    boxes.sort(key=lambda box: float(box[0] - box[2]))
    groups: list[list[npt.NDArray[np.float64]]] = []
    for box in boxes:
        home = next((group for group in groups if _covered(box, group[0]) > 0.6), None)
        if home is None:
            groups.append([box])
        elif box[2] - box[0] > 0.5 * (home[0][2] - home[0][0]):  # smaller ones are eyes and mouths
            home.append(box)
    return [np.mean(group, axis=0) for group in groups]


def _covered(inner: npt.NDArray[np.float64], outer: npt.NDArray[np.float64]) -> float:
    """Share of a box that lies in another."""
    low, high = np.maximum(inner[:2], outer[:2]), np.minimum(inner[2:], outer[2:])
    return float(np.prod(np.maximum(high - low, 0)) / np.prod(inner[2:] - inner[:2]))


def _detection(found: npt.NDArray[np.float64], ratio: npt.NDArray[np.float64]) -> Detection:
    x0, y0, x1, y1 = (float(v) for v in (found.reshape(2, 2) * ratio).ravel())
    box = (x0, y0, x1, y1)
    return Detection(box, points_from_box(box, _POINTS), _SCORE)
