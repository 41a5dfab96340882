"""Turning heads and projecting points: the coordinate frames of docs/synthetic-faces.md."""

from __future__ import annotations

import numpy as np

from fstriplets.synth.scene import Scene

__all__ = ["PIVOT", "Camera", "Pose", "rotation"]

#: What the head turns about: the top of the neck.
PIVOT = np.array([0, -7.0, -1.5], np.float32)
#: Pixels a model unit covers at zoom 1, as a share of the picture's width.
_SCALE = 0.0305


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """[3, 3] rotation Rx(pitch) Ry(yaw) Rz(roll), degrees.

    yaw > 0 turns the face to the viewer's right, pitch > 0 up, roll > 0 clockwise as seen.
    """
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z, np.float32)


class Pose:
    """Model axes to camera axes: head and shoulders turn apart, blended along the neck."""

    def __init__(self, scene: Scene) -> None:
        self.head = rotation(scene.yaw, scene.pitch, scene.roll)
        self.body = rotation(scene.body_yaw, 0.25 * scene.pitch, 0.2 * scene.roll)

    def __call__(self, points: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
        """Points [..., 3] turned; `weight` [...] is 1 where they go with the head, 0 with the body."""
        local = points - PIVOT
        if np.ndim(weight) == 0 and weight == 1.0:
            return np.asarray(local @ self.head.T + PIVOT, np.float32)
        head, body = local @ self.head.T, local @ self.body.T
        w = np.asarray(weight, np.float32)[..., None]
        return np.asarray(body + (head - body) * w + PIVOT, np.float32)


class Camera:
    """Perspective: camera axes to pixels of a picture `size` wide.

    Attributes:
        scale: pixels a unit at the head's distance.
        distance: units from the camera to the origin.
    """

    def __init__(self, scene: Scene, pose: Pose, size: int) -> None:
        centre = 0.8 * pose(np.array([0, 1.5, 0], np.float32), 1.0)
        self.scale = _SCALE * scene.zoom * size
        self.distance = scene.distance
        self.focal = self.scale * scene.distance
        self.x = size * (0.5 + float(scene.shift[0])) - self.scale * float(centre[0])
        self.y = size * (0.52 + float(scene.shift[1])) + self.scale * float(centre[1])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """[..., 3] float32: x and y in pixels (a pixel's centre is at integer + 0.5), z the distance."""
        z = np.float32(self.distance) - points[..., 2]
        ratio = np.float32(self.focal) / z
        return np.stack([self.x + points[..., 0] * ratio, self.y - points[..., 1] * ratio, z], -1).astype(
            np.float32
        )
