"""One face as the edits see it: pixels, points, frame; a canvas that remembers where it was painted."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import Frame, Pose3D, fit_pose, frame_of

__all__ = ["Canvas", "Portrait"]

Array = np.ndarray


class Portrait:
    """A face to edit.

    Args:
        image: float32 [H, W, 3] RGB in 0..1.
        points: [68, 2] float32 pixels.
    """

    def __init__(self, image: Array, points: Array) -> None:
        self.image = image
        self.points = np.asarray(points, np.float32)
        self.height, self.width = image.shape[:2]
        self.frame: Frame = frame_of(self.points)

    @property
    def unit(self) -> float:
        """Distance of the pupils as if frontal, pixels: every length scales with it."""
        return self.frame.unit

    @cached_property
    def pose(self) -> Pose3D:
        return fit_pose(self.points)

    @cached_property
    def grid(self) -> tuple[Array, Array]:
        """Face coordinates of every pixel, x and y [H, W]."""
        return self.frame.grid(self.height, self.width)

    def blur(self, image: Array, sigma: float) -> Array:
        """Gaussian blur by `sigma` face units."""
        blurred: Array = cv2.GaussianBlur(
            image, (0, 0), max(0.3, sigma * self.unit), borderType=cv2.BORDER_REPLICATE
        )
        return blurred

    def polygon(self, points: Array, feather: float = 0.0) -> Array:
        """Filled polygon [N, 2] pixels → [H, W] float32 in 0..1, anti-aliased, feathered by face units."""
        canvas = np.zeros((self.height, self.width), np.uint8)
        fixed = np.round(np.asarray(points) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], 255, cv2.LINE_AA, 4)
        mask = canvas.astype(np.float32) / 255
        return self.blur(mask, feather) if feather else mask


@dataclass(slots=True)
class Canvas:
    """The picture being made. `mask` grows with everything painted."""

    image: Array  # float32 [H, W, 3]
    mask: Array = field(init=False)  # float32 [H, W]

    def __post_init__(self) -> None:
        self.image = self.image.copy()
        self.mask = np.zeros(self.image.shape[:2], np.float32)

    def paint(self, image: Array, alpha: Array) -> None:
        """Lay `image` ([H, W, 3] or a colour) over the picture with `alpha` [H, W] in 0..1."""
        alpha = np.where(alpha < 1 / 512, np.float32(0), np.clip(alpha, 0, 1).astype(np.float32))
        self.image += alpha[..., None] * (image - self.image)
        self.mask = np.maximum(self.mask, alpha)

    def shade(self, factor: Array) -> None:
        """Multiply by `factor` [H, W] or [H, W, 3]; 1 leaves a pixel as it is."""
        factor = factor if factor.ndim == 3 else factor[..., None]
        touched = np.abs(factor - 1).max(-1)
        keep = touched < 1 / 512
        self.image *= np.where(keep[..., None], np.float32(1), factor)
        self.mask = np.maximum(self.mask, np.where(keep, 0, np.clip(touched * 8, 0.02, 1)))
