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

__all__ = ["Appearance", "bits_apart", "look_at", "perceptual_hash", "registered_correlation"]

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


def registered_correlation(a: Pixels, b: Pixels) -> float:
    """How alike the fine structure of two crops is once one is laid exactly over the other: -1..1.

    The hash alone cannot tell a photo saved twice from two studio photos of a minute: a detector puts
    its points a few pixels elsewhere in a smaller copy, while a smile moves less than that. So the
    pictures are registered first (affine, ECC of Evangelidis and Psarakis 2008), at 64 px, and their
    detail is correlated. Copies, recompressed, halved, cut or grey: above 0.985; neutral against
    smiling of the same sitting: up to 0.978 (docs/faces.md).
    """
    one, two = _register_view(a), _register_view(b)
    matrix = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)
    try:
        _, matrix = cv2.findTransformECC(one, two, matrix, cv2.MOTION_AFFINE, stop, None, 3)
    except cv2.error:  # it does not converge: these are different pictures
        return -1.0
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(two, matrix, one.shape[::-1], flags=how, borderMode=cv2.BORDER_REFLECT_101)
    first, second = _detail(one), _detail(moved)
    power = float((first * first).sum() * (second * second).sum())
    return float((first * second).sum()) / power**0.5 if power > 0 else -1.0


def _register_view(crop: Pixels) -> npt.NDArray[np.float32]:
    side = crop.shape[0]
    head = crop[round(0.20 * side) : round(0.90 * side), round(0.15 * side) : round(0.85 * side)]
    grey = cv2.resize(cv2.cvtColor(head, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.float32)


def _detail(view: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    fine = (view - cv2.GaussianBlur(view, (0, 0), 6.4))[6:-6, 6:-6]
    return np.asarray(fine - fine.mean(), np.float32)


def bits_apart(a: int, b: int) -> int:
    """In how many of their 64 bits two hashes differ."""
    return (a ^ b).bit_count()
