"""What is known of a synthetic photo: landmarks, parts, depth, pose, expression, attributes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fstriplets.synth.jit import compiled
from fstriplets.synth.mesh import BACK, CLOTH, EYE_L, EYE_R, FACE, FRAME, GUMS, TEETH, Mesh
from fstriplets.synth.person import Person
from fstriplets.synth.regions import LABELS
from fstriplets.synth.scene import Scene

__all__ = [
    "FIVE",
    "Seen",
    "Truth",
    "attributes",
    "brow_points",
    "dense_indices",
    "five_points",
    "label_picture",
    "lip_weights",
]

#: Landmarks of the 68 whose means are the five points: right eye, left eye, nose, right and left mouth corner
#: (the person's own sides; right comes first because it lies to the viewer's left).
FIVE = (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,))


class Seen(NamedTuple):
    """Which surface each sample of a picture shows.

    Attributes:
        triangle: [H, W] row of `faces` or -1; weights: [H, W, 2] of its first two corners.
        faces: [F, 3], material: [F]; uv: [V, 2] and canonical: [V, 3] of the vertices.
    """

    triangle: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    uv: np.ndarray
    canonical: np.ndarray


#: Where points of the lips lie between the corner of the mouth (0) and its middle (1), and where brow points
#: lie between the inner end of the brow (0) and the outer one, in annotations of the 68 points (300-W mean).
_LIPS = {49: 0.37, 50: 0.74, 59: 0.36, 58: 0.72, 61: 0.69, 67: 0.69}
_BROWS = (1.0, 0.81, 0.54, 0.26, 0.0)
#: Rings of the lips: outer and inner; and the number of each lip point on the other side of the face.
_RINGS = (range(48, 60), range(60, 68))
_ACROSS = {49: 53, 50: 52, 59: 55, 58: 56, 61: 63, 67: 65}


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of one photo; shapes, units and frames in docs/synthetic-faces.md.

    Attributes:
        landmarks68: [68, 2] float32 pixels; landmarks5: [5, 2]; dense: [N, 2], visible: [N] bool.
        box: (x0, y0, x1, y1) of the face.
        labels: [H, W] uint8, values of LABELS.
        depth: [H, W] float32 distance from the camera plane, units; inf where background.
        pose: (yaw, pitch, roll) degrees.
        expression: [53] weights; identity: [151] shape weights.
        attributes: name -> number.
    """

    landmarks68: np.ndarray
    landmarks5: np.ndarray
    dense: np.ndarray
    visible: np.ndarray
    box: tuple[float, float, float, float]
    labels: np.ndarray
    depth: np.ndarray
    pose: tuple[float, float, float]
    expression: np.ndarray
    identity: np.ndarray
    attributes: dict[str, float]


def five_points(landmarks68: np.ndarray) -> np.ndarray:
    """[5, 2] of [68, 2]."""
    return np.stack([landmarks68[list(k)].mean(0) for k in FIVE])


@lru_cache(maxsize=2)
def lip_weights(mesh: Mesh) -> np.ndarray:
    """[68, 68]: the landmarks out of the face model's own, which spaces its lip points otherwise.

    Points of the lips move along the model's outline (a closed Catmull-Rom spline) to where annotators
    put them; all others stay.
    """
    out = np.eye(68, dtype=np.float32)
    x = mesh.neutral[mesh.landmarks, 0]
    step = np.linspace(0, 1, 101)[:-1]
    cubic = 0.5 * np.stack(
        [-step + 2 * step**2 - step**3, 2 - 5 * step**2 + 3 * step**3, step + 4 * step**2 - 3 * step**3,
         step**3 - step**2], 1
    )  # fmt: skip
    for ring in _RINGS:
        count = len(ring)
        spline = np.zeros((count * len(step), 68), np.float32)
        for k in range(count):
            for j in range(4):
                spline[k * len(step) : (k + 1) * len(step), ring[(k + j - 1) % count]] += cubic[:, j]
        for near, share in _LIPS.items():
            if near not in ring:
                continue
            wanted = abs(x[ring[0]]) * (1 - share)  # the middle lies at 0
            for point in (near, _ACROSS[near]):
                # among the curve between the point's neighbours
                at = (np.arange(-len(step), len(step)) + (point - ring[0]) * len(step)) % len(spline)
                out[point] = spline[at[np.argmin(np.abs(np.abs(spline[at] @ x) - wanted))]]
    return out


def brow_points(middles: np.ndarray) -> np.ndarray:
    """[10, 2] landmarks 17..26 along the drawn brows.

    Args:
        middles: [S, 2] pixels of the middle of each hair; the person's right brow first, then the left
            one, each evenly from the nose to the temple.
    """
    half = len(middles) // 2
    span = np.polynomial.polynomial.polyvander((np.arange(half) + 0.5) / half, 3)
    at = np.polynomial.polynomial.polyvander(np.array(_BROWS), 3)
    right, left = (at @ np.linalg.lstsq(span, part, rcond=None)[0] for part in np.split(middles, 2))
    return np.concatenate([right, left[::-1]])


@lru_cache(maxsize=2)
def dense_indices(mesh: Mesh) -> np.ndarray:
    """Vertices of the dense landmarks: every eighth of the face's front."""
    face = np.unique(mesh.faces[mesh.material == FACE])
    p = mesh.neutral[face]
    return np.asarray(face[(p[:, 2] > 0) & (p[:, 1] > -9) & (p[:, 1] < 9.5)][::8])


def attributes(person: Person, scene: Scene, mesh: Mesh, eyewear: int) -> dict[str, float]:
    """Numbers for the corpus table; binary ones are 0 or 1."""
    weights = scene.expression
    smile = float(weights[mesh.index("mouthSmile_L")] + weights[mesh.index("mouthSmile_R")]) / 2
    return {
        "age": round(person.age, 1),
        "beard": round(person.beard, 3),
        "moustache": round(person.moustache, 3),
        "chubbiness": round(person.chubby, 3),
        "skin_tone": round(person.tone, 4),
        "grey_hair": round(person.grey, 3),
        "bald": float(person.hair.name == "bald"),
        "glasses": float(eyewear >= 0 and scene.tint < 0.5),
        "sunglasses": float(eyewear >= 0 and scene.tint >= 0.5),
        "smile": round(smile, 3),
        "mouth_open": round(float(weights[mesh.index("jawOpen")]), 3),
    }


@compiled
def label_picture(  # type: ignore[no-untyped-def]
    seen, regions, brow, beard, hair, lens, step
):
    """Part labels [H/step, W/step] uint8 from the surfaces seen and what covers them."""
    triangle, weights, faces, material, uv, canonical = seen
    height, width = triangle.shape[0] // step, triangle.shape[1] // step
    out = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            f = triangle[y * step, x * step]
            if f >= 0:
                m = material[f]
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                w0, w1 = weights[y * step, x * step, 0], weights[y * step, x * step, 1]
                w2 = 1 - w0 - w1
                if m == 0:
                    u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
                    v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
                    u, v = int(u * (regions.shape[1] - 1) + 0.5), int(v * (regions.shape[0] - 1) + 0.5)
                    out[y, x] = regions[
                        min(max(v, 0), regions.shape[0] - 1), min(max(u, 0), regions.shape[1] - 1)
                    ]
                elif m == 1:
                    high = w0 * canonical[a, 1] + w1 * canonical[b, 1] + w2 * canonical[c, 1]
                    out[y, x] = 10 if high < -2.5 else 1
                elif m == 2 or m == 3:
                    out[y, x] = 3
                elif m == 4 or m == 5:
                    out[y, x] = 5
                elif m == 6:
                    out[y, x] = 12
                else:
                    out[y, x] = 8
            p = h = w = g = 0.0
            for i in range(step):
                for j in range(step):
                    p += brow[y * step + i, x * step + j]
                    w += beard[y * step + i, x * step + j]
                    h += hair[y * step + i, x * step + j]
                    g += lens[y * step + i, x * step + j]
            area = step * step
            if out[y, x] != 8:
                if p > 0.4 * area:
                    out[y, x] = 2
                if w > 0.4 * area:
                    out[y, x] = 9
                if g > 0.5 * area:
                    out[y, x] = 8
            if h > 0.35 * area:
                out[y, x] = 7
    return out


_ = (BACK, CLOTH, EYE_L, EYE_R, FRAME, GUMS, TEETH, LABELS)
