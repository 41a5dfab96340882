"""Complexion: where a person's skin is redder, darker or paler than the learned components make it.

The statistics keep only what eight people of one studio share: nobody's eye sockets, cheeks, lips or forehead
have a colour of their own. Each of these is one region of the layout with its own change of colour, drawn
independently of the others; spreads are set by hand. A smooth uneven field stands for the blotches no region
describes. It is for the eye: a recogniser hardly sees it, and wider draws look like a disease.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["add_complexion", "calm_colours"]

FloatArray = npt.NDArray[np.floating[Any]]

#: Log change of linear-ish RGB for one unit of blood, of melanin, and of plain shade.
_BLOOD = np.array([0.02, -0.20, -0.16], np.float32)
_MELANIN = np.array([-0.12, -0.20, -0.26], np.float32)
#: Region -> blobs (x from the middle, y, half width, half height; texels of 512) on both sides of the face,
#: and mean and spread of blood and melanin.
_REGIONS: dict[
    str, tuple[tuple[tuple[float, float, float, float], ...], tuple[float, float, float, float]]
] = {
    "upper lid": (((73, 122, 38, 17),), (0.0, 0.15, 0.15, 0.45)),
    "crease": (((66, 131, 32, 7),), (0.05, 0.15, 0.2, 0.45)),
    "under eye": (((68, 163, 30, 10),), (0.05, 0.25, 0.1, 0.45)),
    "inner corner": (((40, 140, 13, 18),), (0.05, 0.15, 0.1, 0.35)),
    "cheek": (((108, 205, 42, 34),), (0.05, 0.35, 0.0, 0.2)),
    "nose": (((0, 205, 26, 24), (28, 218, 14, 14)), (0.1, 0.32, 0.0, 0.15)),
    "bridge": (((0, 160, 16, 32),), (0.0, 0.2, -0.05, 0.25)),
    "forehead": (((0, 62, 110, 34),), (0.0, 0.25, 0.05, 0.35)),
    "upper lip": (((0, 243, 46, 9),), (0.0, 0.15, 0.0, 0.2)),
    "mouth corner": (((62, 292, 16, 24),), (0.0, 0.15, 0.05, 0.25)),
    "chin": (((0, 345, 40, 18),), (0.0, 0.2, 0.0, 0.2)),
    "jaw": (((120, 300, 34, 50),), (0.0, 0.35, 0.0, 0.25)),
    "temple": (((150, 130, 26, 40),), (0.0, 0.25, 0.05, 0.35)),
}
#: Outline of the lips, texels of 512.
_LIPS = (
    (199, 286),
    (217, 260),
    (239, 252),
    (256, 254),
    (273, 252),
    (295, 260),
    (313, 286),
    (303, 314),
    (284, 326),
)
_LIPS_LOW = ((256, 329), (228, 326), (208, 314))
#: Share of the table's spreads that people have.
_VARIETY = 0.5
_LIP_SPREAD = (0.4, 0.5)  # of blood and melanin
#: Most that a patch of skin, lips, and lids differ from plain skin in colour; most that one is paler.
_SKIN_COLOUR, _LIP_COLOUR, _EYE_COLOUR, _PALEST = 0.07, 0.20, 0.045, 0.035
_EYES = ("upper lid", "crease", "under eye", "inner corner")  # the first regions
_BLOTCHES = ((9, 0.035), (22, 0.03))  # cells across, spread of melanin and blood


def add_complexion(ratio: FloatArray, rng: np.random.Generator) -> FloatArray:
    """`ratio` [512, 512, 3] (colour over plain skin) with one person's own complexion."""
    masks = _masks()
    even = _VARIETY * rng.standard_normal((len(masks), 2))
    odd = 0.12 * rng.standard_normal((len(masks), 2))  # left and right are not quite the same
    size = ratio.shape[0]
    blood, melanin = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    across = (np.arange(size, dtype=np.float32) / (size - 1) - 0.5)[None] * 2
    side = np.tanh(4 * across)
    for k, (mask, (b, sb, m, sm)) in enumerate(zip(masks, _amounts(), strict=True)):
        blood += mask * (b + sb * even[k, 0] + sb * odd[k, 0] * side)
        melanin += mask * (m + sm * even[k, 1] + sm * odd[k, 1] * side)
    for cells, spread in _BLOTCHES:
        for field, gain in ((blood, 1.0), (melanin, 0.7)):
            field += spread * gain * _smooth(rng, cells, size)
    # little blood makes skin grey, less than that green: paleness ends early, redness does not
    blood = np.where(blood < 0, 0.35 * np.tanh(blood / 0.35), 1.3 * np.tanh(blood / 1.3))
    melanin = np.where(melanin < 0, 0.6 * np.tanh(melanin / 0.6), 1.6 * np.tanh(melanin / 1.6))
    change = 0.55 * (blood[..., None] * _BLOOD + melanin[..., None] * _MELANIN)
    return np.asarray(ratio * np.exp(change), np.float32)


def calm_colours(ratio: FloatArray) -> FloatArray:
    """`ratio` [512, 512, 3] with patches of strong colour brought back to what skin shows without make-up.

    Components, complexion and blotches add up; where they agree, skin turns green, violet or orange, eyelids
    red, and mouth or eye sockets white. Only hue, saturation and paleness of whole patches are bent: how dark
    a place is, and all fine detail, stay.
    """
    size = ratio.shape[0]
    small = np.log(np.maximum(cv2.resize(ratio, (128, 128), interpolation=cv2.INTER_AREA), 0.05))
    hue = cv2.GaussianBlur(small - small.mean(-1, keepdims=True), (0, 0), 1.5)
    strength = np.linalg.norm(hue, axis=-1, keepdims=True) + 1e-6
    most = _most_colour()
    change = hue * (most * np.tanh(strength / most) / strength - 1)
    pale = np.maximum(cv2.GaussianBlur(small.mean(-1), (0, 0), 2.5), 0)[..., None]
    change += _PALEST * np.tanh(pale / _PALEST) - pale
    return np.asarray(ratio * np.exp(cv2.resize(change, (size, size))), np.float32)


@lru_cache(maxsize=1)
def _most_colour() -> FloatArray:
    """[128, 128, 1] how far the colour of a place may be from that of plain skin, log RGB."""
    lips = cv2.resize(_masks()[-1], (128, 128), interpolation=cv2.INTER_AREA)
    eyes = np.maximum.reduce(_masks()[: len(_EYES)])
    eyes = cv2.resize(eyes, (128, 128), interpolation=cv2.INTER_AREA)
    most = _SKIN_COLOUR + (_LIP_COLOUR - _SKIN_COLOUR) * lips + (_EYE_COLOUR - _SKIN_COLOUR) * eyes
    return np.asarray(most[..., None], np.float32)


def _amounts() -> list[tuple[float, float, float, float]]:
    return [amounts for _, amounts in _REGIONS.values()] + [(0.1, _LIP_SPREAD[0], 0.1, _LIP_SPREAD[1])]


@lru_cache(maxsize=1)
def _masks(size: int = 512) -> tuple[FloatArray, ...]:
    """One soft mask a region, the lips last, each [512, 512] in 0..1."""
    row, col = np.mgrid[0:size, 0:size].astype(np.float32)
    off = np.abs(col - (size - 1) / 2)
    masks = []
    for blobs, _ in _REGIONS.values():
        parts = [np.exp(-((((off - x) / w) ** 2 + ((row - y) / h) ** 2) ** 1.3)) for x, y, w, h in blobs]
        masks.append(np.maximum.reduce(parts).astype(np.float32))
    lips = np.zeros((size, size), np.float32)
    cv2.fillPoly(lips, [np.array(_LIPS + _LIPS_LOW, np.int32)], 1.0)
    return (*masks, cv2.GaussianBlur(lips, (0, 0), 3.5))


def _smooth(rng: np.random.Generator, cells: int, size: int) -> FloatArray:
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC))
