"""Similarity alignment: five points of a photo onto a crop template, and the warp itself.

The transform is Umeyama's least-squares similarity (1991), as ArcFace uses it. Two things differ from
the usual `warpAffine` call: a photo much larger than the crop is first shrunk by area averaging, so
that fine hair does not alias; and where the crop leaves the photo, it is mirrored and blurred rather
than black, because a hard black edge is something a GAN learns to draw (FFHQ's script does the same).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["invert", "outside_share", "similarity", "transform_points", "warp"]

Points = npt.NDArray[np.float64]
Affine = npt.NDArray[np.float64]  # [2, 3]
Pixels = npt.NDArray[np.uint8]


def similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> Affine:
    """Least-squares similarity (rotation, uniform scale, shift; no mirroring) from points to points.

    Args:
        source, target: [N, 2] points, N >= 2.

    Returns:
        [2, 3] affine matrix that takes source to target.

    Raises:
        ValueError: all source points coincide, or something is not finite.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre_a, centre_b = a.mean(axis=0), b.mean(axis=0)
    a, b = a - centre_a, b - centre_b
    spread = float((a * a).sum())
    if not np.isfinite(a).all() or not np.isfinite(b).all() or spread < 1e-9:
        raise ValueError("points coincide or are not finite")
    # In the plane Umeyama's SVD reduces to two sums: the best rotation-scale is a complex division.
    cos = float((a * b).sum()) / spread
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    if cos * cos + sin * sin < 1e-12:
        raise ValueError("points have no similarity: they are mirrored")
    return np.hstack([linear, (centre_b - linear @ centre_a)[:, None]])


def transform_points(points: npt.ArrayLike, matrix: npt.ArrayLike) -> Points:
    """[N, 2] points through a [2, 3] affine."""
    m = np.asarray(matrix, np.float64).reshape(2, 3)
    moved: Points = np.asarray(points, np.float64) @ m[:, :2].T + m[:, 2]
    return moved


def invert(matrix: npt.ArrayLike) -> Affine:
    """The inverse of a [2, 3] affine."""
    m = np.asarray(matrix, np.float64).reshape(2, 3)
    linear = np.linalg.inv(m[:, :2])
    return np.hstack([linear, (-linear @ m[:, 2])[:, None]])


def outside_share(matrix: npt.ArrayLike, width: int, height: int, size: int) -> float:
    """Share (0..1) of a crop's area that lies outside its photo."""
    corners = np.array([[-0.5, -0.5], [size - 0.5, -0.5], [size - 0.5, size - 0.5], [-0.5, size - 0.5]])
    inverse = invert(matrix)
    x, y = transform_points(corners, inverse).T
    if x.min() >= -0.5 and y.min() >= -0.5 and x.max() <= width - 0.5 and y.max() <= height - 0.5:
        return 0.0
    steps = (np.arange(64) + 0.5) * (size / 64) - 0.5
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    x, y = transform_points(grid, inverse).T
    inside = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    return float(1 - inside.mean())


def warp(photo: Pixels, matrix: npt.ArrayLike, size: int) -> Pixels:
    """Cut the crop out of a photo.

    Args:
        photo: uint8 [H, W, 3].
        matrix: [2, 3], photo pixels to crop pixels, a similarity.
        size: side of the crop.

    Returns:
        uint8 [size, size, 3]. What lies outside the photo is mirrored and blurred.
    """
    m = np.asarray(matrix, np.float64).reshape(2, 3)
    height, width = photo.shape[:2]
    outside = outside_share(m, width, height, size)
    region, m = _region(photo, m, size)
    region, m = _shrink(region, m)
    crop: Pixels = cv2.warpAffine(
        region, m, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return _soften(crop, matrix, width, height) if outside > 0 else crop


def _region(photo: Pixels, matrix: Affine, size: int) -> tuple[Pixels, Affine]:
    """The part of the photo the crop needs, so that shrinking does not touch the rest."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64)
    x, y = transform_points(corners, invert(matrix)).T
    margin = 4 + 2 / float(np.hypot(matrix[0, 0], matrix[1, 0]))
    height, width = photo.shape[:2]
    x0, y0 = (int(np.clip(v.min() - margin, 0, limit - 1)) for v, limit in ((x, width), (y, height)))
    x1, y1 = (int(np.clip(v.max() + margin, 1, limit)) for v, limit in ((x, width), (y, height)))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (x0, y0)
    return photo[y0:y1, x0:x1], moved


def _shrink(region: Pixels, matrix: Affine) -> tuple[Pixels, Affine]:
    """Area-average a region down to about the crop's resolution; leaves the last factor to the warp."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale >= 0.75:  # cubic interpolation is still free of visible aliasing
        return region, matrix
    height, width = region.shape[:2]
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(region, (new_width, new_height), interpolation=cv2.INTER_AREA)
    ratio = np.array([width / new_width, height / new_height])
    moved = matrix.copy()
    # A small pixel's centre u is the photo's (u + 0.5) * ratio - 0.5.
    moved[:, 2] += matrix[:, :2] @ (0.5 * ratio - 0.5)
    moved[:, :2] = matrix[:, :2] * ratio
    return small, moved


def _soften(crop: Pixels, matrix: npt.ArrayLike, width: int, height: int) -> Pixels:
    """Blur the mirrored part, more with the distance from the photo's edge."""
    size = crop.shape[0]
    corners = [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]]
    edge = transform_points(corners, matrix)
    beyond = np.full((size, size), 255, np.uint8)
    # Sixteenths of a pixel; far corners are clipped, OpenCV draws with 32 bits.
    polygon = np.clip(np.rint(edge * 16), -(2**26), 2**26).astype(np.int32)
    cv2.fillConvexPoly(beyond, polygon, 0, cv2.LINE_8, 4)
    distance = cv2.distanceTransform(beyond, cv2.DIST_L2, 3)
    soft = np.minimum(distance * np.float32(1 / (0.03 * size)), np.float32(1))
    small = cv2.resize(crop, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(size * 0.005, 0.5), borderType=cv2.BORDER_REFLECT_101)
    blurred = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    mixed: Pixels = cv2.blendLinear(crop, blurred, 1 - soft, soft)
    return mixed
