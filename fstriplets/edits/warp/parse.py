"""Skin without a network: a Gaussian of the cheeks' colours inside a head-shaped outline."""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import curve, smoothstep
from fstriplets.edits.warp.portrait import Portrait

__all__ = ["face_outline", "features", "skin_mask", "skin_tone"]

Array = np.ndarray


def face_outline(portrait: Portrait, top: float = -1.0) -> Array:
    """Jaw and forehead as a closed polygon [N, 2] pixels; `top`: height of its crown, face units."""
    points = portrait.points
    face = portrait.frame.to_face(points)
    left, right = face[0], face[16]
    middle = (face[27, 0] + face[21:23, 0].mean()) / 2
    arc = np.array(
        [
            right,
            [right[0] * 0.96 + middle * 0.04, top * 0.45],
            [right[0] * 0.70 + middle * 0.30, top * 0.86],
            [middle, top],
            [left[0] * 0.70 + middle * 0.30, top * 0.86],
            [left[0] * 0.96 + middle * 0.04, top * 0.45],
            left,
        ]
    )
    crown = portrait.frame.to_picture(curve(arc, 40))
    return np.vstack([curve(points[:17], 60), crown])


def skin_tone(portrait: Portrait) -> Array:
    """[3] median RGB of the cheeks, 0..1."""
    cheeks = _cheeks(portrait)
    return np.asarray(np.median(portrait.image[cheeks], axis=0), np.float32)


def _cheeks(portrait: Portrait) -> Array:
    """Boolean [H, W]: cheeks, nose and the middle of the forehead, where skin is sure."""
    points = portrait.points
    brow = portrait.frame.to_face(points[17:27])
    forehead = portrait.frame.to_picture(
        np.array([brow[3], brow[6], brow[6] + [0, -0.22], brow[3] + [0, -0.22]])
    )
    mask = portrait.polygon(forehead)
    for corners in ((1, 3, 4, 48, 31, 41), (15, 13, 12, 54, 35, 46)):
        polygon = points[list(corners)]
        mask += portrait.polygon(polygon.mean(0) + 0.75 * (polygon - polygon.mean(0)))
    sure: Array = mask > 0.5
    if sure.sum() < 16:
        sure = portrait.polygon(points[:17]) > 0.5
    return sure


def _likeness(portrait: Portrait) -> Array:
    """How skin-coloured each pixel is [H, W] 0..1: chroma strictly, brightness leniently."""
    lab = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB)
    sample = lab[_cheeks(portrait)]
    middle = np.median(sample, 0)
    spread = 1.4826 * np.median(np.abs(sample - middle), 0)
    spread = np.maximum(spread * [3.2, 2.4, 2.4], [16.0, 5.0, 5.0])
    offset = (lab - middle) / spread
    offset[..., 0] = np.where(offset[..., 0] > 0, offset[..., 0] * 0.7, offset[..., 0])
    return np.asarray(np.exp(-0.5 * (offset**2).sum(-1)), np.float32)


def features(portrait: Portrait, feather: float = 0.03) -> Array:
    """Eyes, brows, nostrils and lips [H, W] 0..1: what skin edits leave alone."""
    points = portrait.points
    mask = np.zeros((portrait.height, portrait.width), np.float32)
    for eye in (points[36:42], points[42:48]):
        mask = np.maximum(mask, portrait.polygon(eye.mean(0) + 1.25 * (eye - eye.mean(0))))
    mask = np.maximum(mask, portrait.polygon(curve(points[48:60], 60, closed=True)))
    for brow in (points[17:22], points[22:27]):
        mask = np.maximum(mask, portrait.polygon(_thick(brow, 0.09 * portrait.unit)))
    return np.asarray(np.clip(portrait.blur(mask, feather) * 1.3, 0, 1))


def _thick(line: Array, width: float) -> Array:
    """A polyline [N, 2] made a band of half width `width` px."""
    line = curve(line, 24)
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.vstack([line + width * normal, (line - width * normal)[::-1]])


def skin_mask(portrait: Portrait, top: float = -1.15) -> Array:
    """Skin of the face [H, W] 0..1: soft-edged, without eyes, brows and lips."""
    outline = portrait.polygon(face_outline(portrait, top), 0.03)
    inner = portrait.polygon(face_outline(portrait, -0.45), 0.10)  # below the hairline: surely face
    coloured = portrait.blur(smoothstep(_likeness(portrait), 0.04, 0.35), 0.03)
    return np.asarray(outline * np.maximum(coloured, 0.35 * inner) * (1 - features(portrait)))
