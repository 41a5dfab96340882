"""Where things are on a face: its frame, a 3D pose from 68 points, dense flows from a few moves.

Flows are interpolated with Wendland's compactly supported functions (Advances in Computational
Mathematics 4, 1995): they meet every control point exactly and are exactly zero a fixed distance away,
so nothing bends in the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Frame", "Pose3D", "apply_flow", "curve", "dense_flow", "fit_pose", "frame_of", "smoothstep"]

Array = np.ndarray

#: A generic adult face, 1 = distance of the pupils; x to the viewer's right, y down, z to the viewer.
#: landmark index -> (x, y, z, weight in the fit); hand-set from average anthropometry.
_CANONICAL: dict[int, tuple[float, float, float, float]] = {
    36: (-0.72, 0.00, -0.12, 1.0), 39: (-0.27, 0.03, 0.00, 1.0),
    42: (0.27, 0.03, 0.00, 1.0), 45: (0.72, 0.00, -0.12, 1.0),
    27: (0.00, -0.08, 0.18, 0.7), 30: (0.00, 0.58, 0.50, 0.8), 33: (0.00, 0.74, 0.28, 0.8),
    31: (-0.24, 0.68, 0.14, 0.6), 35: (0.24, 0.68, 0.14, 0.6),
    48: (-0.40, 1.12, 0.06, 0.35), 54: (0.40, 1.12, 0.06, 0.35),
    8: (0.00, 1.85, 0.10, 0.2), 2: (-1.10, 0.75, -0.85, 0.15), 14: (1.10, 0.75, -0.85, 0.15),
}  # fmt: skip
#: Distance of the camera in the same unit: a portrait from about 1.2 m.
_CAMERA = 20.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A face's own axes in the picture.

    Attributes:
        origin: [2] between the eyes, pixels.
        right, down: [2] unit vectors.
        unit: distance of the pupils as if the head faced the camera, pixels.
    """

    origin: Array
    right: Array
    down: Array
    unit: float

    def to_picture(self, points: Array) -> Array:
        """[N, 2] in face units (x right, y down, from between the eyes) → pixels."""
        offsets = points[:, :1] * self.right + points[:, 1:2] * self.down
        return np.asarray(self.origin + self.unit * offsets, np.float32)

    def to_face(self, points: Array) -> Array:
        """[..., 2] pixels → face units."""
        offset = (points - self.origin) / self.unit
        return np.stack([offset @ self.right, offset @ self.down], -1)

    def grid(self, height: int, width: int) -> tuple[Array, Array]:
        """Face coordinates of every pixel: x [H, W], y [H, W] float32."""
        xs = (np.arange(width, dtype=np.float32) - self.origin[0]) / self.unit
        ys = ((np.arange(height, dtype=np.float32) - self.origin[1]) / self.unit)[:, None]
        return (
            (xs * self.right[0] + ys * self.right[1]).astype(np.float32),
            (xs * self.down[0] + ys * self.down[1]).astype(np.float32),
        )


def frame_of(points: Array) -> Frame:
    """The frame of 68 points. Turning the head shortens the eyes' distance, not eyes to mouth."""
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    origin = (left + right) / 2
    mouth = points[48:60].mean(0)
    across = right - left
    distance = float(np.hypot(*across))
    axis = across / max(distance, 1e-6)
    down = np.array([-axis[1], axis[0]])
    length = float((mouth - origin) @ down)
    return Frame(origin, axis, down, max(distance, 0.92 * length, 1.0))


@dataclass(frozen=True, slots=True)
class Pose3D:
    """A pinhole pose: rotation [3, 3], translation [2] px, scale px per unit."""

    rotation: Array
    shift: Array
    scale: float

    def project(self, points: Array) -> Array:
        """[N, 3] canonical units → [N, 2] pixels."""
        turned = points @ self.rotation.T
        depth = _CAMERA / (_CAMERA - turned[:, 2:])
        return np.asarray(self.shift + self.scale * turned[:, :2] * depth, np.float64)

    @property
    def yaw(self) -> float:
        """Degrees; > 0: the nose points to the viewer's right."""
        return float(np.degrees(np.arctan2(self.rotation[0, 2], self.rotation[2, 2])))


def fit_pose(points: Array) -> Pose3D:
    """Pose of a generic head from 68 points (POSIT, DeMenthon & Davis 1995, weighted)."""
    table = np.array([(*value, key) for key, value in _CANONICAL.items()])
    model, weight, index = table[:, :3], table[:, 3:4], table[:, 4].astype(int)
    image = points[index].astype(np.float64)
    homogeneous = np.hstack([model, np.ones((len(model), 1))])
    image = points[index].astype(np.float64)
    for _ in range(4):
        solution = np.linalg.lstsq(homogeneous * weight, image * weight, rcond=None)[0].T
        rotation, scale = _nearest_rotation(solution[:, :3])
        shift = solution[:, 3]
        depth = _CAMERA / (_CAMERA - (model @ rotation.T)[:, 2:])
        image = shift + (points[index] - shift) / depth  # as seen from infinitely far
    return Pose3D(rotation, shift, scale)


def _nearest_rotation(affine: Array) -> tuple[Array, float]:
    u, s, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, np.cross(rows[0], rows[1])]), float(s.mean())


def curve(points: Array, samples: int, closed: bool = False) -> Array:
    """A smooth Catmull-Rom curve through [N, 2] points → [samples, 2]."""
    points = np.asarray(points, np.float64)
    if closed:
        padded = np.vstack([points[-1], points, points[:2]])
    else:
        padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    spans = len(padded) - 3
    t = np.linspace(0, spans, samples, endpoint=not closed)
    i = np.minimum(t.astype(int), spans - 1)
    u = (t - i)[:, None]
    a, b, c, d = (padded[i + k] for k in range(4))
    return np.asarray(
        0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3)
    )


def smoothstep(values: Array | float, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger one."""
    t = np.clip((np.asarray(values, np.float32) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def dense_flow(points: Array, moves: Array, radius: float, height: int, width: int) -> Array:
    """A smooth backward flow that brings each point's surroundings to point + move.

    Args:
        points: [N, 2] where things are, pixels; moves of zero pin their place.
        moves: [N, 2] pixels.
        radius: reach of a point, pixels; beyond it nothing moves.

    Returns:
        [H, W, 2] float32: add it to the pixel grid to know where to read. Scaled down where it would
        fold the picture.
    """
    targets = points + moves
    system = _wendland(targets, targets, radius).astype(np.float64) + 1e-4 * np.eye(len(points))
    weights = np.linalg.solve(system, -moves).astype(np.float32)
    step = max(1.0, radius / 14)
    columns, rows = int(np.ceil(width / step)) + 1, int(np.ceil(height / step)) + 1
    gx, gy = np.meshgrid((np.arange(columns) + 0.5) * step - 0.5, (np.arange(rows) + 0.5) * step - 0.5)
    grid = np.stack([gx.ravel(), gy.ravel()], -1)
    coarse = (_wendland(grid, targets, radius) @ weights).reshape(rows, columns, 2)
    coarse *= _unfolded(coarse, step)
    matrix = np.array([[step, 0, (step - 1) / 2], [0, step, (step - 1) / 2]], np.float64)
    flow: Array = cv2.warpAffine(
        coarse, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return flow


def _wendland(a: Array, b: Array, radius: float) -> Array:
    """The kernel between points [N, 2] and [M, 2] → [N, M] float32."""
    dx = a[:, :1].astype(np.float32) - b[:, 0].astype(np.float32)
    dy = a[:, 1:].astype(np.float32) - b[:, 1].astype(np.float32)
    r = np.sqrt(dx * dx + dy * dy) / np.float32(radius)
    inside = np.maximum(1 - r, 0)
    inside *= inside
    return np.asarray(inside * inside * (4 * r + 1), np.float32)


def _unfolded(flow: Array, step: float) -> float:
    """Largest factor <= 1 that keeps every cell of the grid at 15 % of its size or more."""
    dy, dx = np.gradient(flow, step, axis=(0, 1))
    for factor in np.linspace(1, 0.1, 19):
        a, b = 1 + factor * dx[..., 0], factor * dy[..., 0]
        c, d = factor * dx[..., 1], 1 + factor * dy[..., 1]
        if (a * d - b * c).min() > 0.15 and a.min() > 0.15 and d.min() > 0.15:
            return float(factor)
    return 0.1


def apply_flow(image: Array, flow: Array) -> tuple[Array, Array]:
    """Read `image` [H, W, C] float32 through a backward flow.

    Returns:
        The warped picture, and a mask [H, W]: 1 where it moved by a quarter pixel or more, 0 where it
        did not move at all.
    """
    height, width = flow.shape[:2]
    gx, gy = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    warped = cv2.remap(
        image, gx + flow[..., 0], gy + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    length = np.hypot(flow[..., 0], flow[..., 1])
    mask = np.clip((length - 0.02) / 0.25, 0, 1).astype(np.float32)
    return warped, mask
