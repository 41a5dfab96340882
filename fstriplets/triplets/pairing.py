"""Which photo A goes with which photo B: a person's two most different moments, in turn.

A pair teaches most when pose and expression differ (the swapper must take them from the target, not
from the source). Difference is measured on what is known of the faces: yaw and pitch, expression
attributes where the corpus or a classifier gave them, and the mouth, eyes and brows read off the
landmarks. What is unknown counts as no difference.
"""

from __future__ import annotations

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
_NAN = float("nan")


class Pairing:
    """Chooses partners for one person's faces and remembers how often each was used.

    Args:
        faces: at least two, in a seeded order; ties go to that order.
    """

    def __init__(self, faces: Sequence[Face]) -> None:
        features = np.concatenate([_stated(faces), _shapes(faces)], axis=1)
        self._known = ~np.isnan(features)
        self._features = np.where(self._known, features, 0.0)
        self._columns = max(1, int(self._known.any(axis=0).sum()))
        self._uses = np.zeros(len(faces))
        self._rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def partner(self, second: int, taken: Collection[int]) -> int:
        """Index of A for the B at `second`: never `second` itself nor one of `taken`."""
        if second not in self._rows:
            self._rows[second] = self._against(second)
        others, difference = self._rows[second]
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
        n = len(self._uses)
        others = np.arange(second + 1, second + 1 + min(n - 1, _CANDIDATES)) % n
        gap = np.minimum(np.abs(self._features[others] - self._features[second]), 1.0)
        gap *= self._known[others] & self._known[second]
        return others, gap.sum(axis=1) / self._columns


def _stated(faces: Sequence[Face]) -> np.ndarray:
    """Yaw, pitch and expression as the records state them [n, 3], NaN where unknown."""
    return np.array([_pose(face) for face in faces])


def _pose(face: Face) -> tuple[float, float, float]:
    yaw = _NAN if face.yaw is None else face.yaw / _YAW
    pitch = _NAN if face.pitch is None else face.pitch / _PITCH
    if not face.attributes:
        return yaw, pitch, _NAN
    named = [face.attributes[name] for name in _EXPRESSION if name in face.attributes]
    return yaw, pitch, sum(named) / len(named) if named else _NAN


def _shapes(faces: Sequence[Face]) -> np.ndarray:
    """Mouth width and opening, eye opening and brow height [n, 4], NaN where unknown."""
    shapes = np.full((len(faces), 4), _NAN)
    for count, measure in ((68, _shape68), (5, _shape5)):
        rows = [i for i, face in enumerate(faces) if len(face.landmarks) == count]
        if rows:
            shapes[rows] = measure(np.array([faces[i].landmarks for i in rows]))
    return shapes


def _shape68(points: np.ndarray) -> np.ndarray:
    """[n, 68, 2] to [n, 4], in shares of the distance between the eyes."""
    left, right = points[:, 36:42].mean(axis=1), points[:, 42:48].mean(axis=1)
    lids = _distance(points[:, [37, 38, 43, 44]], points[:, [41, 40, 47, 46]]).mean(axis=1)
    brows = _distance(points[:, 17:22].mean(axis=1), left) + _distance(points[:, 22:27].mean(axis=1), right)
    mouth = _distance(points[:, [48, 62]], points[:, [54, 66]])
    measures = np.column_stack([mouth, lids, brows / 2])
    return np.asarray(measures / np.maximum(_distance(left, right) * _SHAPE, 1e-6)[:, None])


def _shape5(points: np.ndarray) -> np.ndarray:
    """[n, 5, 2] to [n, 4]: five points know the width of the mouth only."""
    eyes = _distance(points[:, 0], points[:, 1])
    shapes = np.full((len(points), 4), _NAN)
    shapes[:, 0] = _distance(points[:, 3], points[:, 4]) / np.maximum(eyes * _SHAPE, 1e-6)
    return shapes


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(((a - b) ** 2).sum(axis=-1)))
