"""Where the matter of an edit goes, a picture the `flow-gan` network reads beside the photo.

For glasses it is the frame, drawn from the landmarks in the head's pose, and its lenses where they are
dark; for edits of the hair the hair there is, as the face parser sees it (`warp.hair_mask`). What a network
of its size cannot place sharply by itself it then only has to shade.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import fit_pose
from fstriplets.edits.warp.hair_mask import hair_mask
from fstriplets.edits.warp.portrait import Portrait
from fstriplets.models.networks.flow_gan import SIDE

__all__ = ["ON_HAIR", "glasses_layout", "hair_layout"]

#: Edits that are about the hair there is.
ON_HAIR = frozenset({"aging", "hair_colour", "hair_fringe", "hair_bald", "hair_cut"})
#: Round, square, aviator, browline: half width, half height, exponent of the outline, droop outwards, half
#: the rim's thickness, how much thicker it is above; 1 = distance of the pupils.
_SHAPES = (
    (0.347, 0.331, 2.0, 0.000, 0.016, 1.0),
    (0.395, 0.282, 3.6, 0.016, 0.027, 1.0),
    (0.411, 0.347, 2.5, -0.040, 0.013, 1.0),
    (0.395, 0.290, 2.9, 0.016, 0.015, 2.6),
)
#: Sunglasses are so much larger.
_DARK = 1.08
#: Place of a lens' middle beside and below the middle of the eyes; of the front before it; how much the
#: front wraps round the face.
_BESIDE, _BELOW, _BEFORE, _WRAP = 0.508, 0.03, 0.24, 0.14
#: Where temples end: above the ear.
_EAR = np.array([1.24, -0.14, -1.35])
#: Distances of the pupils that a temple must stick out beyond the frame to be seen.
_SHOWN = 0.17
#: Drawn so many times larger, with so many fractional bits.
_LARGER, _BITS = 4, 4


def hair_layout(photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The hair of an aligned face, uint8 [SIDE, SIDE, 3] with landmarks [68, 2]: float32 [SIDE, SIDE].

    All zero on a bald head and under a hat.
    """
    return hair_mask(Portrait(photo.astype(np.float32) / 255, landmarks))


def glasses_layout(landmarks: np.ndarray, style: int, dark: bool) -> np.ndarray:
    """A frame on an aligned face.

    Args:
        landmarks: [68, 2] pixels of the aligned face of SIDE pixels.
        style: row of the table of shapes; dark: sunglasses, whose lenses count.

    Returns:
        float32 [SIDE, SIDE] 0..1.
    """
    pose = fit_pose(np.asarray(landmarks, np.float64))
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    offset = (eyes - pose.project(np.array([[-0.5, 0.0, -0.05], [0.5, 0.0, -0.05]]))).mean(0)
    canvas = np.zeros((SIDE * _LARGER, SIDE * _LARGER), np.uint8)

    def place(points: np.ndarray) -> np.ndarray:
        return np.asarray((pose.project(points) + offset + 0.5) * _LARGER - 0.5)

    def fill(points: np.ndarray, value: int = 255) -> None:
        fixed = np.rint(place(points) * 2**_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], value, cv2.LINE_AA, _BITS)

    wide, high, power, droop, rim, heavy = _SHAPES[style]
    size = _DARK if dark else 1.0
    beside = max(_BESIDE, wide * size + 0.09)
    outline = _outline(wide * size, high * size, power, droop)
    thick = rim * np.where(outline[:, 1] < 0.1 * high, heavy, 1.0)
    for side in (1.0, -1.0):
        fill(_on_face(outline, thick, side, beside))
        if not dark:
            fill(_on_face(outline, -thick, side, beside), 0)
    for side in (1.0, -1.0):
        arm = _arm(place, side, beside + wide * size, 0.25 * high, max(rim, 0.018))
        if arm is not None:
            fill(arm)
    inner = beside - wide * size
    x = np.linspace(-inner, inner, 15)
    arch = 0.06 * (1 - (x / inner) ** 2)
    top, low = (
        np.stack([x, _BELOW - 0.09 - arch + s * max(rim, 0.016), _BEFORE + 0.5 * arch], 1) for s in (-1, 1)
    )
    fill(np.vstack([top, low[::-1]]))
    return np.asarray(cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / np.float32(255))


def _outline(wide: float, high: float, power: float, droop: float) -> np.ndarray:
    """The middle of a rim round its lens: [N, 2], x outwards, y down."""
    a = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    radius = (np.abs(np.cos(a)) ** power + np.abs(np.sin(a)) ** power) ** (-1 / power)
    x, y = wide * np.cos(a) * radius, -high * np.sin(a) * radius
    return np.stack([x, y - droop * x / wide * np.clip(-np.sin(a), 0, 1)], 1)


def _on_face(outline: np.ndarray, grow: np.ndarray, side: float, beside: float) -> np.ndarray:
    """An outline, grown [N], on one side of the face: [N, 3], x to the viewer's right, y down, z forwards."""
    x, y = (outline * (1 + grow / np.hypot(*outline.T))[:, None]).T
    x = side * (beside + x)
    return np.stack([x, _BELOW + y, _BEFORE - _WRAP * np.maximum(np.abs(x) - 0.16, 0) ** 2], 1)


def _arm(
    place: Callable[[np.ndarray], np.ndarray], side: float, edge: float, lift: float, half: float
) -> np.ndarray | None:
    """The temple on one side, [N, 3]; None where the frame or the head hides it."""
    hinge = np.array([side * (edge + 0.02), _BELOW - lift, _BEFORE - _WRAP * (edge - 0.14) ** 2])
    ear = _EAR * [side, 1, 1]
    ends, nose = place(np.stack([hinge, ear])), place(np.array([[0.0, 0.0, 0.2]]))[0]
    across = place(np.array([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]))
    outward = (ends[0] - nose) / max(float(np.linalg.norm(ends[0] - nose)), 1e-6)
    shown = float((ends[1] - ends[0]) @ outward) / float(np.linalg.norm(across[1] - across[0]))
    if shown < _SHOWN:
        return None
    along = hinge + np.linspace(0, 1, 9)[:, None] * (ear - hinge)
    up = np.array([0.0, half, 0.0])
    return np.asarray(np.vstack([along - up, (along + up)[::-1]]))
