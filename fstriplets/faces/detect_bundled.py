"""`bundled`: the face detector that ships with fstriplets, trained on synthetic people alone.

The default where no public detector is installed. The network finds faces of 12 to 150 px, so a photo is
looked at small, for the large faces, and again as large as the smallest face that `quality.min_face` lets
pass calls for. A photo in which no sure face is found is tried once more larger, then small with a margin (a
face that fills the picture).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from fstriplets.config import PipelineConfig
from fstriplets.faces.detectors import Detection
from fstriplets.models.bundled import bundled_network, one_thread
from fstriplets.models.networks.face_detector import FaceDetector, decode
from fstriplets.models.weights import entry
from fstriplets.records import Photo

__all__ = ["BundledDetector", "suppress"]

_SMALL, _LARGE = 224, 1024  # px of the longer side: of the first look, at most
_FACE = 20  # px at which the network finds faces safely
_MOST = 150  # px: larger faces are left to a smaller look
_STEP = 1.5  # a second look must be so much larger to be worth it
_MARGIN = 0.25
_OVERLAP = 0.3
_KEEP = 50
_STRIDE = 32

Array = npt.NDArray[np.float32]


class BundledDetector:
    """The bundled network on the CPU, one thread."""

    name = "bundled"

    def __init__(self, config: PipelineConfig) -> None:
        sha256 = entry("face_detector").sha256
        self.weights = {"face_detector": sha256}
        self.fingerprint = f"bundled-1:{sha256[:12]}"
        self._sure = config.quality.min_score
        # Found below the gate too, so that the row says `low_score` rather than `no_face`.
        self._threshold = min(self._sure, 0.3)
        self._min_face = config.quality.min_face
        self._network = bundled_network("face_detector", FaceDetector)

    def detect(self, photo: Photo, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        """Faces of a photo, the largest first."""
        longest = max(pixels.shape[:2])
        side = float(np.clip(longest * _FACE / self._min_face, _SMALL, _LARGE))
        # Small photos are enlarged at most twofold: there is nothing more to see in them.
        first, side = min(_SMALL, 2.0 * longest), min(side, 2.0 * longest)
        looks = [(first, 0.0)] + ([(side, 0.0)] if side > _STEP * first else [])
        found = _best([answer for wanted, margin in looks for answer in self._run(pixels, wanted, margin)])
        for wanted, margin in ((min(2 * side, 2.0 * longest, _LARGE), 0.0), (first, _MARGIN)):
            if any(answer.score >= self._sure for answer in found):
                break
            found = _best(found + self._run(pixels, wanted, margin))
        return sorted(found, key=_area, reverse=True)

    def _run(self, pixels: npt.NDArray[np.uint8], side: float, margin: float) -> list[Detection]:
        """Answers of one look: the longer side `side` px, with a margin as a share of it."""
        height, width = pixels.shape[:2]
        scale, edge = side / max(height, width), round(margin * side)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=how)
        right, bottom = (-(n + 2 * edge) % _STRIDE for n in size)
        small = cv2.copyMakeBorder(
            small, edge, edge + bottom, edge, edge + right, cv2.BORDER_CONSTANT, value=(127, 127, 127)
        )
        scores, boxes, points = answers(self._network, small)
        sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        most = np.inf if side <= _SMALL else _MOST
        kept = np.flatnonzero((scores >= self._threshold) & (sides <= most))
        ratio = np.array([width / size[0], height / size[1]])
        return [_detection(boxes[k], points[k], scores[k], ratio, edge) for k in kept]


def answers(network: FaceDetector, pixels: npt.NDArray[np.uint8]) -> tuple[Array, Array, Array]:
    """Scores [N] in 0..1, boxes [N, 4] and points [N, 5, 2] of all cells; sides multiples of 32."""
    with one_thread():
        photo = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        levels = network((photo.float() - 127.5) / 127.5)
        parts = [decode(level, stride) for level, stride in zip(levels, network.strides, strict=True)]
        scores, boxes, points = (torch.cat(column, dim=1)[0] for column in zip(*parts, strict=True))
        return scores.sigmoid().numpy(), boxes.numpy(), points.numpy()


def suppress(boxes: npt.NDArray[Any], scores: npt.NDArray[Any], limit: float = _OVERLAP) -> npt.NDArray[Any]:
    """Indices of the answers that no better one overlaps (or holds within it), best first."""
    order = np.argsort(-scores, kind="stable")
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        inner = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        inner = np.prod(np.maximum(inner, 0), axis=1)
        shared = inner / np.maximum(area[best] + area[order] - inner, 1e-9)
        order = order[shared <= limit]
    return np.array(kept, np.intp)


def _best(found: list[Detection]) -> list[Detection]:
    """Of answers that overlap, the surest."""
    if not found:
        return []
    boxes, scores = np.array([answer.box for answer in found]), np.array([answer.score for answer in found])
    return [found[k] for k in suppress(boxes, scores)[:_KEEP]]


def _detection(
    box: Array, points: Array, score: float, ratio: npt.NDArray[np.float64], margin: int
) -> Detection:
    scaled = (np.concatenate([box.reshape(2, 2), points]) - margin + 0.5) * ratio - 0.5
    (x0, y0), (x1, y1) = scaled[:2]
    return Detection((float(x0), float(y0), float(x1), float(y1)), scaled[2:], float(score))


def _area(found: Detection) -> float:
    x0, y0, x1, y1 = found.box
    return (x1 - x0) * (y1 - y0)
