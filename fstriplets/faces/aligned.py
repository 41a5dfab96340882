"""`aligned`: the photos are face crops already. Resized, never warped; landmarks of the template.

The path with the least work per photo: what is the same for all crops is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.errors import PhotoRejected
from fstriplets.faces.align import similarity, transform_points
from fstriplets.faces.detectors import box_around
from fstriplets.faces.templates import MEAN_68, template_points

__all__ = ["FINGERPRINT", "Canonical", "as_crop", "canonical"]

FINGERPRINT = "aligned-1"
_SQUARE = 0.02  # by so much a crop's sides may differ

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """The face every crop of a template is taken to hold."""

    points: npt.NDArray[np.float64]  #: [68, 2] crop pixels
    landmarks: tuple[tuple[float, float], ...]  #: the same, as manifests have them
    box: tuple[float, float, float, float]  #: shares of the side


@cache
def canonical(crop: str, size: int) -> Canonical:
    """Mean landmarks and box of a template at `size` pixels."""
    from_ffhq = similarity(template_points("ffhq", size), template_points(crop, size))
    points = transform_points(np.asarray(MEAN_68) * size - 0.5, from_ffhq)
    points.setflags(write=False)
    x0, y0, x1, y1 = ((v + 0.5) / size for v in box_around(template_points(crop, size)))
    landmarks = tuple((float(x), float(y)) for x, y in points)
    return Canonical(points, landmarks, (x0, y0, x1, y1))


def as_crop(pixels: Pixels, size: int) -> tuple[Pixels, npt.NDArray[np.float64]]:
    """A photo that is a crop, at the wanted size, and the affine that took it there.

    Raises:
        PhotoRejected: `not_square`.
    """
    height, width = pixels.shape[:2]
    if abs(height - width) > _SQUARE * max(height, width):
        raise PhotoRejected(
            "not_square", f"{width} x {height} is no face crop: detector `aligned` takes square photos"
        )
    scale = np.array([size / width, size / height])
    matrix = np.array([[scale[0], 0, 0.5 * scale[0] - 0.5], [0, scale[1], 0.5 * scale[1] - 0.5]])
    if (height, width) == (size, size):
        return pixels, matrix
    how = cv2.INTER_AREA if size < width else cv2.INTER_CUBIC
    return cv2.resize(pixels, (size, size), interpolation=how), matrix
