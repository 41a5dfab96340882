"""From a photo and its fit to a texture: each texel of the face's UV layout looks up its pixel.

What the fit misses, a regularised thin plate spline (Bookstein 1989) corrects twice: in the photo, so
that the 68 landmarks fall on their vertices, and in the layout, so that the 468 points of the mesh fall
where they fall on the average face. Without the second, brows, lips and lids of several people do not
line up and their statistics blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numba
import numpy as np
import numpy.typing as npt

from fstriplets.synth.skin.fit import PhotoFit, project

if TYPE_CHECKING:
    from fstriplets.synth.facemodel import FaceModel

__all__ = ["Atlas", "Unwrapped", "mesh_in_layout", "unwrap", "vertex_normals", "warp_field"]

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Unwrapped:
    """One photo in the UV layout, before its light is taken out."""

    colour: FloatArray  #: [T, T, 3] linear RGB, 0..1
    normal: FloatArray  #: [T, T, 3] unit, camera frame (x right, y up, z to the camera)


class Atlas:
    """The UV layout of the face's skin at `size` texels a side; row 0 is v = 1."""

    def __init__(self, model: FaceModel, size: int) -> None:
        skin = model.material == list(model.materials).index("M_Face")
        corners = np.asarray(model.uv_faces[skin])
        place = np.stack([model.uv[:, 0], 1 - model.uv[:, 1]], 1).astype(np.float32) * size - 0.5
        self.size = size
        self.faces = np.asarray(model.faces[skin])
        triangle, self._weight = _raster_layout(place, corners.astype(np.int64), size)
        self.inside = triangle >= 0  #: [T, T] bool
        self._corner = self.faces[np.maximum(triangle, 0)]
        self.position = self.gather(model.neutral)  #: [T, T, 3] neutral model position of each texel
        uv_of = np.zeros((len(model.neutral), 2), np.float32)
        uv_of[self.faces] = place[corners]
        self.landmarks = uv_of[model.landmarks68]  #: [68, 2] texels (x, y)

    def gather(self, attribute: FloatArray) -> FloatArray:
        """Interpolate a vertex attribute [V, C] to texels [T, T, C]."""
        picked = attribute.astype(np.float32)[self._corner]
        value: FloatArray = (picked * self._weight[..., None]).sum(2)
        return np.asarray(value * self.inside[..., None])


def unwrap(
    model: FaceModel, atlas: Atlas, photo: npt.NDArray[np.uint8], fit: PhotoFit, marks: FloatArray
) -> tuple[Unwrapped, FloatArray]:
    """Look up each texel of `atlas` in `photo`.

    Args:
        model: the face model.
        atlas: its UV layout.
        photo: uint8 [H, W, 3] RGB.
        fit: the photo's fit.
        marks: [68, 2] landmarks, pixels of the photo.

    Returns:
        The texture, and the place in the photo (pixels) that each texel took its colour from, [T, T, 2].
    """
    from scipy.spatial.transform import Rotation

    pixels, _ = project(fit.vertices, fit.pose)
    place = atlas.gather(pixels)
    field = warp_field(pixels[model.landmarks68], marks, photo.shape[:2])
    place = (place + _look(field, place)).astype(np.float32)
    linear = (photo.astype(np.float32) / 255) ** 2.2
    colour = _look(linear, place, cv2.INTER_CUBIC)
    turn = Rotation.from_rotvec(fit.pose[:3]).as_matrix()
    normal = atlas.gather(vertex_normals(fit.vertices, model.faces) @ turn.T)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
    return Unwrapped(np.clip(colour, 0, 1), normal), place


def mesh_in_layout(atlas: Atlas, place: FloatArray, normal: FloatArray, mesh: FloatArray) -> FloatArray:
    """Texel coordinates of the 468 mesh points of one photo, [468, 2]; NaN where no texel is within 3 pixels.

    Args:
        atlas: the UV layout.
        place: [T, T, 2] pixels, from `unwrap`.
        normal: [T, T, 3] of the same photo; texels that look away are not candidates.
        mesh: [468, 2] landmarks in pixels.
    """
    from scipy.spatial import cKDTree

    seen = atlas.inside & (normal[..., 2] > 0.15)
    row, col = np.nonzero(seen)
    distance, nearest = cKDTree(place[seen]).query(mesh)
    found = np.stack([col[nearest], row[nearest]], 1).astype(np.float64)
    found[distance > 3] = np.nan
    return found


def align_layout(image: FloatArray, found: FloatArray, average: FloatArray) -> FloatArray:
    """Move a texture [T, T, C] so that its mesh points lie where the average face has them."""
    good = np.isfinite(found).all(1) & np.isfinite(average).all(1)
    good &= np.where(good, np.abs(found - average).max(1) < 14, False)
    size = image.shape[0]
    field = warp_field(average[good], found[good], (size, size), stiffness=60)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float32)
    return _look(image, grid + field, cv2.INTER_CUBIC)


def warp_field(
    start: FloatArray, end: FloatArray, shape: Sequence[int], stiffness: float = 20.0, step: int = 8
) -> FloatArray:
    """Smooth displacement, float32 [H, W, 2] pixels, that carries points `start` to `end` (both [N, 2])."""

    def kernel(squared: FloatArray) -> FloatArray:
        return np.asarray(squared * np.log(squared + 1e-6))

    unit = 200.0  # pixels; keeps the system well conditioned
    points, count = start / unit, len(start)
    bend = kernel(((points[:, None] - points[None]) ** 2).sum(-1)) + np.eye(count) * stiffness * 1e-3
    affine = np.c_[np.ones(count), points]
    system = np.block([[bend, affine], [affine.T, np.zeros((3, 3))]])
    solution = np.linalg.solve(system, np.r_[end - start, np.zeros((3, 2))])
    rows, cols = np.mgrid[0 : shape[0] : step, 0 : shape[1] : step]
    grid = np.stack([cols, rows], -1).reshape(-1, 2) / unit
    moved = kernel(((grid[:, None] - points[None]) ** 2).sum(-1)) @ solution[:count]
    moved += np.c_[np.ones(len(grid)), grid] @ solution[count:]
    coarse = moved.reshape(*rows.shape, 2).astype(np.float32)
    # Grid point k stands for pixel k * step exactly; cv2.resize would shift by half a step.
    full = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), -1).astype(np.float32) / step
    return _look(coarse, full, cv2.INTER_CUBIC)


def vertex_normals(vertices: FloatArray, faces: npt.NDArray[np.integer[Any]]) -> FloatArray:
    """Area-weighted unit normals, [V, 3]."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    normal = np.zeros_like(vertices)
    for axis in range(3):
        for k in range(3):
            normal[:, axis] += np.bincount(faces[:, k], flat[:, axis], len(vertices))
    return np.asarray(normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9))


def _look(image: FloatArray, place: FloatArray, how: int = cv2.INTER_LINEAR) -> FloatArray:
    x, y = (np.ascontiguousarray(place[..., k], dtype=np.float32) for k in (0, 1))
    return np.asarray(cv2.remap(image, x, y, how, borderMode=cv2.BORDER_REPLICATE))


@numba.njit(cache=True)
def _raster_layout(place, corners, size):  # type: ignore[no-untyped-def]
    """Triangle index and barycentric weights of each texel; edges overlap so that no seam stays empty."""
    triangle = np.full((size, size), -1, np.int32)
    weight = np.zeros((size, size, 3), np.float32)
    for f in range(corners.shape[0]):
        a, b, c = place[corners[f, 0]], place[corners[f, 1]], place[corners[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        top, bottom = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
        left, right = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
        for y in range(max(0, int(top)), min(size - 1, int(bottom) + 1) + 1):
            for x in range(max(0, int(left)), min(size - 1, int(right) + 1) + 1):
                u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                if u > -0.02 and v > -0.02 and 1 - u - v > -0.02:
                    triangle[y, x] = f
                    weight[y, x, 0], weight[y, x, 1], weight[y, x, 2] = u, v, 1 - u - v
    return triangle, weight
