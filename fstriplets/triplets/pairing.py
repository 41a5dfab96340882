"""Which photo A goes with which photo B: a person's two most different moments, in turn.

A pair teaches most when pose and expression differ (the swapper must take them from the target, not
from the source). Difference is measured on what is known of the faces: yaw and pitch, expression
attributes where the corpus or a classifier gave them, and the mouth, eyes and brows read off the
landmarks. What is unknown counts as no difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np

from fstriplets.records import Face

__all__ = ["Pairing"]

#: What counts as a full difference of 1: degrees, and shares of the distance between the eyes.
_YAW, _PITCH, _SHAPE = 40.0, 25.0, 0.25
#: Attributes that speak of expression, in the words of common tables (CelebA, FairFace, ARKit).
_EXPRESSION = ("expression", "smile", "smiling", "grin", "happiness", "mouth_open", "mouth_slightly_open")
#: How much difference one earlier use of a photo as A outweighs; keeps the use of photos even.
_USE = 0.15
#: People with more photos than this are compared with so many others, not with all.
_CANDIDATES = 128


class Pairing:
    """Chooses partners for one person's faces and remembers how often each was used.

    Args:
        faces: at least two, in a seeded order; ties go to that order.
    """

    def __init__(self, faces: Sequence[Face]) -> None:
        self._features = np.array([_features(face) for face in faces], dtype=np.float32)
        # What one of the two faces does not know cannot tell them apart.
        known = ~np.isnan(self._features)
        self._weights = known.any(axis=0) / max(1, int(known.any(axis=0).sum()))
        self._uses = np.zeros(len(faces), dtype=np.float32)
        jitter = [int.from_bytes(hashlib.sha256(f.face_id.encode()).digest()[:4], "little") for f in faces]
        self._jitter = (np.array(jitter, dtype=np.float32) / 2**32) * 0.01
        self._differences: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def partner(self, second: int, taken: Collection[int]) -> int:
        """Index of A for the B at `second`: never `second` itself nor one of `taken`."""
        others, difference = self._against(second)
        score = difference - _USE * self._uses[others]
        if taken:
            score[np.isin(others, list(taken))] = -np.inf
        first = int(others[int(score.argmax())])
        if first in taken:  # every candidate is taken: look at the faces beyond them
            first = next(i for i in range(len(self._uses)) if i != second and i not in taken)
        self._uses[first] += 1
        return first

    def _against(self, second: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the other faces, nearest in the seeded order first, and how they differ [n]."""
        if second not in self._differences:
            n = len(self._uses)
            others = (second + 1 + np.arange(min(n - 1, _CANDIDATES))) % n
            gap = np.abs(self._features[others] - self._features[second])
            gap = np.minimum(np.nan_to_num(gap, nan=0.0), 1.0)
            self._differences[second] = (others, gap @ self._weights + self._jitter[others])
        return self._differences[second]


def _features(face: Face) -> list[float]:
    """Scaled so that a gap of 1 is a full difference; NaN where unknown."""
    nan = float("nan")
    yaw = nan if face.yaw is None else face.yaw / _YAW
    pitch = nan if face.pitch is None else face.pitch / _PITCH
    named = [face.attributes[name] for name in _EXPRESSION if name in face.attributes]
    smile = sum(named) / len(named) if named else nan
    return [yaw, pitch, smile, *_shape(face.landmarks)]


def _shape(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Mouth width and opening, eye opening and brow height, in eye distances (68 or 5 points)."""
    nan = float("nan")
    if len(points) == 68:
        left, right = _middle(points[36:42]), _middle(points[42:48])
        eyes = _distance(left, right) or 1.0
        opening = _distance(points[62], points[66])
        lids = sum(_distance(points[a], points[b]) for a, b in ((37, 41), (38, 40), (43, 47), (44, 46))) / 4
        brows = (_distance(_middle(points[17:22]), left) + _distance(_middle(points[22:27]), right)) / 2
        scale = 1.0 / (eyes * _SHAPE)
        return (_distance(points[48], points[54]) * scale, opening * scale, lids * scale, brows * scale)
    if len(points) == 5:
        eyes = _distance(points[0], points[1]) or 1.0
        return (_distance(points[3], points[4]) / (eyes * _SHAPE), nan, nan, nan)
    return (nan, nan, nan, nan)


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return (sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points))


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5)
