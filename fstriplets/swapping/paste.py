"""From a swapped crop back into the photo: where to, in which colours, and what stays in front.

The mask is what a parser calls face, so the target's hair, glasses, hands, hats and background stay as they
are; it fades out inside the face, never outside it. Colours are brought to the target's by mean and spread in
CIELAB within that mask (Reinhard et al. 2001). Pixels the mask does not reach keep their exact values, and
only the crop's part of the photo is worked on, in bands, however large the photo is.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.faces.align import invert, transform_points
from fstriplets.faces.parse import PARTS, LandmarkParser
from fstriplets.swapping.picture import Picture

__all__ = ["face_mask", "match_colour", "paste"]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]
Shape = npt.NDArray[np.bool_]

_FACE = tuple(PARTS.index(name) for name in ("skin", "brows", "eyes", "nose", "mouth", "lips", "beard"))
_GLASSES = PARTS.index("glasses")
# Shares of the crop's side.
_BEYOND = 0.05  # how far from the landmarks' outline a parser is believed
_FADE, _FADE_EDGE = 0.06, 0.04  # towards the face's outline, and towards the crop's
_FADE_IN_FRONT = 0.012  # towards what is in front of the face
_ROUND = 0.016  # gaps and thorns of the parser's outline
_LENS = 0.025  # half the width from which a part of glasses is a lens
_MOSTLY_LENS = 0.15  # of the glasses' area
_DARK = 0.55  # of the face's brightness: a darker lens hides what is behind it
_SPECK = 0.003  # of the crop's area
_MIN_SHARE = 0.005  # of the crop: less face than that gives no statistics
_SPREAD = (0.6, 1.7)  # how far the match may change contrast
_BAND = 512  # rows


def face_mask(crop: Pixels, labels: Pixels, landmarks: Points) -> Mask:
    """How much of the swapped face each pixel of a crop takes.

    Args:
        crop: target, uint8 [S, S, 3].
        labels: its parts, uint8 [S, S], values of faces.parse.PARTS.
        landmarks: [5|68, 2] crop pixels; the mask stays near their outline.

    Returns:
        float32 [S, S] in 0..1; exactly 0 outside the face.
    """
    size = crop.shape[0]
    near = (LandmarkParser().labels(crop, landmarks) > 0).astype(np.uint8)
    reach = 2 * max(1, round(_BEYOND * size)) + 1
    near = cv2.dilate(near, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    face = np.isin(labels, _FACE) & (near > 0)
    worn = (labels == _GLASSES) & (near > 0)
    kept = _kept_glasses(crop, face, worn)
    face = _without_specks(face | worn) & ~kept
    solid = _rounded(face | worn, max(1, round(_ROUND * size)))
    outline = _rise(solid, _FADE * size)
    inner = _rise(face, max(1.5, _FADE_IN_FRONT * size))
    edge = np.arange(size, dtype=np.float32)
    edge = _smooth(np.minimum(edge, edge[::-1]) / (_FADE_EDGE * size))
    mask: Mask = np.minimum(np.minimum(outline, inner), np.minimum(edge[:, None], edge[None, :]))
    return mask


def _kept_glasses(crop: Pixels, face: Shape, worn: Shape) -> Shape:
    """The part of what a parser calls glasses that stays the target's.

    Frames stay, and so do sunglasses. Where the parser calls clear lenses glasses too, it cannot tell the
    frame from the eyes behind it: then nothing stays, and the swap, which keeps glasses too, is shown.
    """
    if worn.sum() < _SPECK * worn.size or not face.any():
        return np.zeros_like(worn)
    reach = round(_LENS * crop.shape[0])
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    wide = cv2.morphologyEx(worn.astype(np.uint8), cv2.MORPH_OPEN, element) > 0
    if wide.sum() < _MOSTLY_LENS * worn.sum():
        return worn
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    dark = np.median(luma[wide]) < _DARK * np.median(luma[face])
    return worn if dark else np.zeros_like(worn)


def _without_specks(face: Shape) -> Shape:
    """The face with its small holes filled: a parser's doubt, not something in front of it."""
    _, parts, found, _ = cv2.connectedComponentsWithStats((~face).astype(np.uint8), connectivity=8)
    small = found[:, cv2.CC_STAT_AREA] < _SPECK * face.size
    small[0] = False  # the face itself
    return np.asarray(face | small[parts])


def _rounded(shape: Shape, reach: int) -> Shape:
    """Without the thin gaps between the parts of a face, and without thorns."""
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    filled = cv2.morphologyEx(shape.astype(np.uint8), cv2.MORPH_CLOSE, element)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * reach + 1, 4 * reach + 1))
    return np.asarray(cv2.morphologyEx(filled, cv2.MORPH_OPEN, element) > 0)


def _rise(shape: Shape, width: float) -> Mask:
    """0 outside a shape, rising to 1 over `width` pixels inside it."""
    padded = cv2.copyMakeBorder(shape.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return _smooth(distance / np.float32(width))


def _smooth(x: npt.NDArray[Any]) -> Mask:
    x = np.clip(x, 0, 1).astype(np.float32)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def match_colour(swapped: Pixels, target: Pixels, mask: Mask) -> npt.NDArray[np.float32]:
    """The swapped crop in the target's light and tone.

    Args:
        swapped, target: uint8 [S, S, 3] sRGB.
        mask: float32 [S, S]; what is compared.

    Returns:
        float32 [S, S, 3], 0..255; unchanged where the mask holds too little to compare.
    """
    if float(mask.mean()) < _MIN_SHARE:
        return swapped.astype(np.float32)
    ours, theirs = (cv2.cvtColor(x.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for x in (swapped, target))
    (our_mean, our_spread), (mean, spread) = _statistics(ours, mask), _statistics(theirs, mask)
    gain = np.clip(spread / np.maximum(our_spread, 1e-3), *_SPREAD)
    moved = ((ours - our_mean) * gain + mean).astype(np.float32)
    return np.asarray(np.clip(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), 0, 1) * 255, np.float32)


def _statistics(lab: npt.NDArray[np.float32], mask: Mask) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    weights = mask / mask.sum(dtype=np.float64)
    mean = np.einsum("ij,ijk->k", weights, lab.astype(np.float64))
    spread = np.sqrt(np.einsum("ij,ijk->k", weights, (lab - mean) ** 2))
    return mean, spread


def paste(picture: Picture, into: npt.NDArray[Any], crop: npt.NDArray[Any], mask: Mask, matrix: Any) -> None:
    """Lay a crop over a photo.

    Args:
        picture: tells which values the photo has.
        into: its pixels [H, W, 3], changed in place where the mask reaches.
        crop: [S, S, 3] sRGB 0..255. mask: float32 [S, S].
        matrix: [2, 3], photo pixels to crop pixels.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    reach = np.array([columns[0] - 1, columns[-1] + 1]), np.array([rows[0] - 1, rows[-1] + 1])
    corners = np.stack(np.meshgrid(*reach), axis=-1).reshape(-1, 2)
    x, y = transform_points(corners, invert(matrix)).T
    height, width = into.shape[:2]
    x0, x1 = max(0, int(np.floor(x.min()))), min(width, int(np.ceil(x.max())) + 1)
    y0, y1 = max(0, int(np.floor(y.min()))), min(height, int(np.ceil(y.max())) + 1)
    if x0 >= x1:
        return
    colours, inverse = _shrunk(crop.astype(np.float32), invert(matrix))
    weights, _ = _shrunk(mask, invert(matrix))
    top = float(np.iinfo(into.dtype).max)
    for start in range(y0, y1, _BAND):
        end = min(start + _BAND, y1)
        box = (x0, start, x1, end)
        weight = _placed(weights, inverse, box, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        touched = weight > 0
        if not touched.any():
            continue
        laid = _placed(colours, inverse, box, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
        laid = picture.native(np.clip(laid, 0, 255))
        region = into[start:end, x0:x1]
        mixed = region + weight[..., None] * (laid - region)
        region[touched] = np.clip(np.rint(mixed[touched]), 0, top).astype(into.dtype)


def _shrunk(crop: npt.NDArray[np.float32], inverse: Affine) -> tuple[npt.NDArray[np.float32], Affine]:
    """A crop larger than its face in the photo, averaged down to that size; and its way into the photo."""
    scale = float(np.hypot(inverse[0, 0], inverse[1, 0]))
    size = crop.shape[0]
    small = max(4, round(size * scale))
    if scale >= 0.75 or small >= size:
        return crop, inverse
    ratio = size / small
    moved = inverse.copy()
    moved[:, 2] += inverse[:, :2] @ np.full(2, 0.5 * ratio - 0.5)  # centres: u -> (u + 0.5) ratio - 0.5
    moved[:, :2] *= ratio
    return cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA), moved


def _placed(
    crop: npt.NDArray[np.float32], inverse: Affine, box: tuple[int, int, int, int], how: int, border: int
) -> npt.NDArray[np.float32]:
    """A crop in a part of the photo: x0, y0, x1, y1."""
    x0, y0, x1, y1 = box
    shifted = inverse.copy()
    shifted[:, 2] -= (x0, y0)
    placed = cv2.warpAffine(crop, shifted, (x1 - x0, y1 - y0), flags=how, borderMode=border)
    return np.asarray(placed, np.float32)
