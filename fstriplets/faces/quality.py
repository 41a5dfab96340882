"""Quality of a face crop: sharpness, brightness, near-duplicate hash. Lean: they run on every photo.

**Sharpness** is the spread of the Laplacian over the spread of the luma, in the middle of the face,
at 128 px: `100 * mean(Laplacian(g)^2) / (var(g) + 25)`, where g is the luma of the face from brows to
mouth (`templates.face_window`) brought to 128 px by area averaging (or bilinear, from smaller crops).
Divided by the contrast, it does not take a dark or flat picture for a blurred one; taken at a fixed
size, it does not depend on `image_size` or on the camera: an enlarged small face scores low, which is
what one wants to know. The 25 (a deviation of 5 grey levels) keeps noise on an empty crop from counting
as detail.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.faces.templates import face_window

__all__ = ["Appearance", "bits_apart", "look_at", "perceptual_hash"]

Pixels = npt.NDArray[np.uint8]

_SIDE = 128
_FLAT = 25.0


@dataclass(frozen=True, slots=True)
class Appearance:
    """What the pixels alone say about a crop."""

    sharpness: float
    brightness: float  #: mean luma of the middle of the face, 0..255


def look_at(crop: Pixels, window: tuple[float, float, float, float] = face_window("ffhq")) -> Appearance:
    """Sharpness and brightness of a crop, uint8 [S, S, 3] RGB.

    Args:
        window: x0, y0, x1, y1 of the face's middle, shares of the side.
    """
    x0, y0, x1, y1 = (round(share * crop.shape[0]) for share in window)
    face = cv2.cvtColor(crop[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    if face.shape != (_SIDE, _SIDE):
        how = cv2.INTER_AREA if min(face.shape) > _SIDE else cv2.INTER_LINEAR
        face = cv2.resize(face, (_SIDE, _SIDE), interpolation=how)
    mean, spread = cv2.meanStdDev(face)
    # The Laplacian's mean is 0 up to the border, so its mean square is its variance, ten times quicker.
    detail = cv2.norm(cv2.Laplacian(face, cv2.CV_16S), cv2.NORM_L2SQR) / _SIDE**2
    sharpness = 100.0 * detail / (float(spread[0, 0]) ** 2 + _FLAT)
    return Appearance(sharpness, float(mean[0, 0]))


def perceptual_hash(crop: Pixels) -> int:
    """64-bit DCT hash of a crop: signs of its 8 x 8 lowest frequencies against their median.

    Survives recompression, resizing and small changes of exposure; two photos of one person differ in
    about 20 bits.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    while grey.shape[0] % 128 == 0:  # halving is what OpenCV does fastest
        grey = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
    grey = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()
    # The first value is the mean brightness: it says nothing of structure and would skew the median.
    bits = low > np.partition(low[1:], 31)[31]  # median of 63; np.median costs more than the rest
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def bits_apart(a: int, b: int) -> int:
    """In how many of their 64 bits two hashes differ."""
    return (a ^ b).bit_count()
