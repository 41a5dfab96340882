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
        )
        ratio = np.array([width / size[0], height / size[1]])
        return sorted((_detection(row, ratio) for row in rows), key=lambda d: d.box[0] - d.box[2])


def _load(path: str) -> Any:
    from skimage.feature import Cascade

    return Cascade(path)


def _detection(row: dict[str, int], ratio: npt.NDArray[np.float64]) -> Detection:
    x0, y0 = row["c"] * ratio[0], row["r"] * ratio[1]
    box = (x0, y0, x0 + row["width"] * ratio[0], y0 + row["height"] * ratio[1])
    return Detection(box, points_from_box(box, _POINTS), _SCORE, exact=False)
