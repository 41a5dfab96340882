"""Where the features of a face are, as pictures the `flow-gan` network reads beside the photo.

A network of its size would have to learn from the edits alone where eyes, lips and chin lie; the landmarks
say it. Sixteen channels are the distances of each cell to eight points, five are the drawn features.
"""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.models.networks.flow_gan import CELLS, GUIDE, SIDE

__all__ = ["MIRRORED", "face_guide"]

#: Landmark -> its mirror image's, so that the left eye is always on the left.
MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
     39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
#: Open lines and closed areas drawn in one channel each.
_LINES = (((0, 17),), ((17, 22), (22, 27), (27, 31), (31, 36)))
_AREAS = (((36, 42), (42, 48)), ((48, 60),), ((60, 68),))
#: Fractional bits of drawn coordinates.
_BITS = 4


def face_guide(landmarks: np.ndarray) -> np.ndarray:
    """The guide of an aligned face.

    Args:
        landmarks: [68, 2] pixels of the aligned face of SIDE pixels.

    Returns:
        float32 [GUIDE, CELLS, CELLS].
    """
    points = (np.asarray(landmarks, np.float32) + 0.5) * (CELLS / SIDE) - 0.5
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    anchors = np.stack([*eyes, points[30], points[48], points[54], points[8], points[2], points[14]])
    guide = np.zeros((GUIDE, CELLS, CELLS), np.float32)
    line = np.arange(CELLS, dtype=np.float32)
    spread = np.float32(4 / CELLS)
    guide[0:16:2] = (line[None, None, :] - anchors[:, 0, None, None]) * spread
    guide[1:16:2] = (line[None, :, None] - anchors[:, 1, None, None]) * spread
    fixed = np.rint(np.clip(points, -CELLS, 2 * CELLS) * 2**_BITS).astype(np.int32)
    for channel, spans in enumerate(_LINES + _AREAS):
        canvas = np.zeros((CELLS, CELLS), np.uint8)
        parts = [fixed[a:b] for a, b in spans]
        if channel < len(_LINES):
            cv2.polylines(canvas, parts, False, 255, 1, cv2.LINE_AA, _BITS)
        else:
            for part in parts:
                cv2.fillPoly(canvas, [part], 255, cv2.LINE_AA, _BITS)
        guide[16 + channel] = canvas / np.float32(255)
    return guide
