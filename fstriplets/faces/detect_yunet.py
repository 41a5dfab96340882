"""`yunet`: YuNet (Wu et al. 2023) through cv2.FaceDetectorYN. The default when its weights are installed.

The network finds faces of about 10 to 300 px, so large photos are shrunk first: as far as the smallest
face that `quality.min_face` lets pass is still 16 px. A photo in which nothing is found is tried again
larger, then smaller with a margin (a face that fills the picture).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.errors import WeightsError
from fstriplets.faces.detectors import Detection
from fstriplets.models.cache import cached_model
from fstriplets.models.weights import entry, require
from fstriplets.records import Photo

__all__ = ["YuNetDetector"]

_SIDES = (320, 1280)  # px of the longer side: at least, at most
_FACE = 16  # px at which the network finds faces safely
_MARGIN = 0.25
_NMS = 0.3
_KEEP = 50


class YuNetDetector:
    """YuNet on the CPU."""

    name = "yunet"

    def __init__(self, config: PipelineConfig) -> None:
        sha256 = entry("yunet").sha256
        path = require("yunet")
        self.weights = {"yunet": sha256}
        self.fingerprint = f"yunet-1:{sha256[:12]}"
        # Found below the gate too, so that the row says `low_score` rather than `no_face`.
        self._threshold = min(config.quality.min_score, 0.3)
        self._min_face = config.quality.min_face
        self._network = cached_model("yunet", sha256, lambda: _load(str(path)))

    def detect(self, photo: Photo, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        """Faces of a photo, the largest first."""
        longest = max(pixels.shape[:2])
        low, high = _SIDES
        side = int(np.clip(longest * _FACE / self._min_face, low, high))
        # Small photos are enlarged at most twofold: there is nothing more to see in them.
        passes = [(min(side, longest), 0.0), (min(2 * side, 2 * longest, high), 0.0), (low, _MARGIN)]
        for wanted, margin in passes:
            found = self._run(pixels, wanted / longest, round(margin * wanted))
            if found:
                return found
        return []

    def _run(self, pixels: npt.NDArray[np.uint8], scale: float, margin: int) -> list[Detection]:
        height, width = pixels.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=how)
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        # To multiples of 32, the largest stride: OpenCV 5 takes no other sizes in dynamic models.
        right, bottom = (-(n + 2 * margin) % 32 for n in size)
        small = cv2.copyMakeBorder(
            small, margin, margin + bottom, margin, margin + right, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
        self._network.setInputSize((small.shape[1], small.shape[0]))
        self._network.setScoreThreshold(self._threshold)
        _, rows = self._network.detect(small)
        if rows is None:
            return []
        ratio = np.array([width / size[0], height / size[1]])
        found = [_detection(row, ratio, margin) for row in rows]
        return sorted(found, key=_area, reverse=True)


def _load(path: str) -> Any:
    logs = cv2.utils.logging
    level = logs.getLogLevel()
    logs.setLogLevel(logs.LOG_LEVEL_ERROR)  # OpenCV 5 warns about a target nobody asked for
    try:
        return cv2.FaceDetectorYN.create(path, "", (320, 320), 0.3, _NMS, _KEEP)
    except cv2.error as error:
        raise WeightsError(
            f"OpenCV {cv2.__version__} cannot load {path}: {str(error).strip().splitlines()[-1]};"
            " upgrade opencv-python, or choose another detector (insightface, lbp)"
        ) from error
    finally:
        logs.setLogLevel(level)


def _detection(row: Any, ratio: npt.NDArray[np.float64], margin: int) -> Detection:
    x, y, w, h = (float(v) for v in row[:4])
    x0, y0 = ((x - margin) * ratio[0], (y - margin) * ratio[1])
    # Points are in YuNet's words right eye first: the person's right, the picture's left.
    points = (row[4:14].reshape(5, 2).astype(np.float64) - margin + 0.5) * ratio - 0.5
    return Detection((x0, y0, x0 + w * ratio[0], y0 + h * ratio[1]), points, float(row[14]))


def _area(found: Detection) -> float:
    x0, y0, x1, y1 = found.box
    return (x1 - x0) * (y1 - y0)
