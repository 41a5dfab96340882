"""Eyelids over the eyeballs: some shapes and expressions push them in, here they slide on the eyeball."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from fstriplets.synth.mesh import EYE_L, EYE_R, FACE, Mesh

__all__ = ["lids_outside"]

#: Lids are looked for that near to the eyeball's centre, and kept that far off the eyeball at most, units.
_REACH, _CLEAR = 2.0, 0.04
#: Where the eyeball faces forwards less than this (cosine), lids are not pushed all the way.
_STEEP = np.float32(0.5)


class _Eye(NamedTuple):
    """Vertices round one eye: the front of its ball [B], lids and lashes [L]; how far off these are [L]."""

    ball: np.ndarray
    lids: np.ndarray
    clear: np.ndarray


def lids_outside(vertices: np.ndarray, mesh: Mesh) -> None:
    """Pushes lids and lashes of vertices [V, 3], in the head's axes, out of the eyeballs, in place.

    They move forwards only, so that the opening keeps its shape as seen from the front.
    """
    for eye in _eyes(mesh):
        height, forwards = _above(vertices[eye.ball], vertices[eye.lids])
        vertices[eye.lids, 2] += np.maximum(eye.clear - height, 0) / np.maximum(forwards, _STEEP)


def _above(ball: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height [L] of points [L, 3] above the front of an eyeball [B, 3], and z of its normal there [L]."""
    nearest = ball[cKDTree(ball).query(points)[1]]
    # the front is a cap of a ball: its centre lies about this far behind its middle
    low, high = ball.min(0), ball.max(0)
    centre = (low + high) / 2
    centre[2] = high[2] - (high[0] - low[0]) / 2
    out = nearest - centre
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return ((points - nearest) * out).sum(1), out[:, 2]


@lru_cache(maxsize=2)
def _eyes(mesh: Mesh) -> tuple[_Eye, ...]:
    skin = np.union1d(mesh.faces[mesh.material == FACE], mesh.lashes)
    eyes = []
    for side, centre in zip((EYE_L, EYE_R), mesh.eyes, strict=True):
        ball = np.unique(mesh.faces[mesh.material == side])
        ball = ball[mesh.neutral[ball, 2] > centre[2] + 0.35]
        off = mesh.neutral[skin] - centre
        lids = skin[(np.linalg.norm(off, axis=1) < _REACH) & (off[:, 2] > 0.6)]
        clear = np.minimum(_above(mesh.neutral[ball], mesh.neutral[lids])[0], _CLEAR)
        eyes.append(_Eye(ball, lids, clear.astype(np.float32)))
    return tuple(eyes)
