"""The mesh that is drawn: the face model less what is drawn another way, with masks and skinning.

The model's tear fluid, eye occlusion and eye blend meshes are dropped, its iris meshes too (the eye is
painted on the outer eyeball), and its lashes are kept apart because they are blended. Below the
collar bone the identity modes fade out, so that one set of clothes fits everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fstriplets.synth.facemodel import FaceModel
from fstriplets.synth.raster import interpolate, raster, vertex_normals
from fstriplets.synth.traits import trait_modes

__all__ = [
    "BACK",
    "CLOTH",
    "EYE_L",
    "EYE_R",
    "FACE",
    "FRAME",
    "GUMS",
    "TEETH",
    "UV_SIZE",
    "Mesh",
    "build_mesh",
    "mesh_normals",
]

#: Material numbers of the drawn mesh.
FACE, BACK, EYE_L, EYE_R, TEETH, GUMS, CLOTH, FRAME = range(8)
#: Side of the face's texture, texels.
UV_SIZE = 512
#: Teeth are drawn that much wider than in the model, which leaves gaps between them.
_TOOTH_WIDER = 0.11
#: Side of the texture of the back of the head.
BACK_SIZE = 256

_MATERIALS = {
    "M_Face": FACE,
    "M_BackHead": BACK,
    "M_ScleraLeft": EYE_L,
    "M_ScleraRight": EYE_R,
    "M_Teeth": TEETH,
    "M_GumsTongue": GUMS,
}


@dataclass(frozen=True, eq=False)
class Mesh:
    """What every photo is drawn from.

    Attributes:
        neutral: [V, 3] the model's vertices.
        identity: [151, V*3] (the face model's modes, then `traits.TRAITS`) and expression: [53, V*3],
            flat for one matrix product.
        names: the expressions' names.
        faces: [F, 3] drawn triangles, material: [F] their numbers.
        welded: [F, 3] the same triangles before seam vertices were doubled; parent: [V] the vertex
            each one is a copy of.
        uv: [V, 2] texture coordinates in the material's own tile, v down; of teeth see `_place_teeth`.
        lashes: [L, 3] triangles of the lashes, apart.
        head: [V] 1 where a vertex turns with the head, 0 where with the body.
        landmarks: [68] vertex indices.
        position: [512, 512, 3] canonical position of each texel of the face's texture.
        inside: [512, 512] bool: the texel is on the mesh.
        position_back, inside_back: the same for the back of the head, 256 texels a side.
        cavity: [512, 512] how deep a texel lies in a hollow of the neutral face (ears, nostrils, corners of
            the eyes), about 0..1.
        eyes: canonical centre of the left and right eyeball, [2, 3], and their radius.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    names: tuple[str, ...]
    faces: np.ndarray
    welded: np.ndarray
    parent: np.ndarray
    material: np.ndarray
    uv: np.ndarray
    lashes: np.ndarray
    head: np.ndarray
    landmarks: np.ndarray
    position: np.ndarray
    inside: np.ndarray
    position_back: np.ndarray
    inside_back: np.ndarray
    cavity: np.ndarray
    eyes: np.ndarray
    eye_radius: float

    def index(self, name: str) -> int:
        """Row of the expression called `name`."""
        return self.names.index(name)

    def shape(self, identity: np.ndarray) -> np.ndarray:
        """[V, 3] neutral face of a person with identity weights [151]."""
        return np.asarray(self.neutral + (identity.astype(np.float32) @ self.identity).reshape(-1, 3))

    def pose_expression(self, expression: np.ndarray) -> np.ndarray:
        """[V, 3] offsets of expression weights [53]."""
        used = np.flatnonzero(expression)
        if len(used) == 0:
            return np.zeros_like(self.neutral)
        return np.asarray(expression[used].astype(np.float32) @ self.expression[used]).reshape(-1, 3)


@lru_cache(maxsize=2)
def build_mesh(model: FaceModel) -> Mesh:
    """The drawn mesh of a face model, built once a process."""
    number = np.full(len(model.materials), -1)
    for name, value in _MATERIALS.items():
        number[model.materials.index(name)] = value
    material = number[model.material]
    kept = material >= 0
    faces, material = np.ascontiguousarray(model.faces[kept]), material[kept].astype(np.int32)
    original = faces.copy()
    copied = _split_seam(faces, material, len(model.neutral))
    parent = np.concatenate([np.arange(len(model.neutral)), copied]).astype(np.int32)
    uv = _vertex_uv(model, kept, faces, len(parent))
    neutral = np.ascontiguousarray(model.neutral[parent])
    seen = _inner_parts(neutral, faces, material)
    faces, original, material = faces[seen], original[seen], material[seen]
    lashes = model.faces[model.material == model.materials.index("M_EyeLashes")]
    _place_teeth(neutral, faces[material == TEETH], uv)
    height = neutral[:, 1]
    fade = _smoothstep((height + 13.0) / 4.0)[:, None]
    position, inside = _position_map(neutral, faces[material == FACE], uv, UV_SIZE)
    position_back, inside_back = _position_map(neutral, faces[material == BACK], uv, BACK_SIZE)
    centres, radius = _eyes(neutral, faces, material)
    modes = np.concatenate([model.identity, trait_modes(model)])
    return Mesh(
        neutral=neutral,
        identity=np.ascontiguousarray((modes[:, parent] * fade).reshape(len(modes), -1)),
        expression=np.ascontiguousarray(
            (model.expression[:, parent] * fade).reshape(len(model.expression), -1)
        ),
        names=model.expression_names,
        faces=faces,
        welded=original,
        parent=parent,
        material=material,
        uv=uv,
        lashes=np.ascontiguousarray(lashes),
        head=_smoothstep((height + 12.5) / 7.0).astype(np.float32),
        landmarks=model.landmarks68,
        position=position,
        inside=inside,
        position_back=position_back,
        inside_back=inside_back,
        cavity=_cavity(neutral, original, faces[material == FACE], uv, len(model.neutral)),
        eyes=centres,
        eye_radius=radius,
    )


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _split_seam(faces: np.ndarray, material: np.ndarray, vertices: int) -> np.ndarray:
    """Doubles the vertices that face and back of the head share (they need two texture coordinates).

    Changes `faces` in place; returns the vertices copied, in order of their new indices.
    """
    back = material == BACK
    shared = np.intersect1d(faces[material == FACE], faces[back])
    lookup = np.arange(vertices, dtype=np.int32)
    lookup[shared] = vertices + np.arange(len(shared), dtype=np.int32)
    faces[back] = lookup[faces[back]]
    return shared


def _inner_parts(neutral: np.ndarray, faces: np.ndarray, material: np.ndarray) -> np.ndarray:
    """[F] bool: which faces can ever be seen.

    With the back of the head come the walls of the mouth, which become gums in place, and eyeballs inside
    the eyeballs.
    """
    back = np.flatnonzero(material == BACK)
    label = _pieces(faces[back], len(neutral))[faces[back, 0]]
    numbers = np.unique(label)
    widths = [np.ptp(neutral[faces[back[label == k]], 0]) for k in numbers]
    order = numbers[np.argsort(-np.array(widths))]  # the head, the mouth, two eyeballs
    material[back[label == order[1]]] = GUMS
    seen = np.ones(len(faces), bool)
    seen[back[np.isin(label, order[2:])]] = False
    return seen


def _pieces(faces: np.ndarray, count: int) -> np.ndarray:
    """[count] number of the connected piece each vertex belongs to."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), np.int8), edges.T), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _vertex_uv(model: FaceModel, kept: np.ndarray, faces: np.ndarray, vertices: int) -> np.ndarray:
    """[V, 2] texture coordinates a vertex, within the tile of its material, v down."""
    uv = np.zeros((vertices, 2), np.float32)
    tile = model.uv[model.uv_faces[kept]]
    uv[faces] = tile - np.floor(tile.mean(1, keepdims=True))
    uv[:, 1] = 1 - uv[:, 1]
    return uv


def _place_teeth(neutral: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> None:
    """Closes the gaps between teeth, and writes over their texture coordinates, both in place.

    u is 4 times the number of the tooth (0 in the middle .. 7) + 1.5 + the place across it (-1..1); v the
    distance from the biting edge, units, and 10 more in the lower row.
    """
    label = _pieces(faces, len(neutral))
    used = np.unique(faces)
    teeth = [used[label[used] == k] for k in np.unique(label[used])]
    middles = np.array([neutral[tooth].mean(0) for tooth in teeth])
    upper = middles[:, 1] > middles[:, 1].mean()
    for row in (upper, ~upper):
        order = np.flatnonzero(row)
        order = order[np.argsort(np.arctan2(middles[order, 0], middles[order, 2] - middles[order, 2].min()))]
        along = np.gradient(middles[order][:, [0, 2]], axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        for place, (k, way) in enumerate(zip(order, along, strict=True)):
            tooth = neutral[teeth[k]]
            across = (tooth - tooth.mean(0))[:, [0, 2]] @ way
            across -= (across.max() + across.min()) / 2
            neutral[teeth[k][:, None], [0, 2]] += _TOOTH_WIDER * across[:, None] * way
            number = int(abs(place - (len(order) - 1) / 2))
            high = tooth[:, 1] - tooth[:, 1].min() if row is upper else 10 + tooth[:, 1].max() - tooth[:, 1]
            uv[teeth[k]] = np.stack([4 * number + 1.5 + across / np.abs(across).max(), high], 1)


def _position_map(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Canonical position of each texel, grown over the edge of the chart by its nearest texels."""
    flat = np.concatenate([uv * (size - 1) + 0.5, np.full((len(uv), 1), 2.0)], 1).astype(np.float32)
    _, triangle, weights = raster(flat, faces, size, size)
    inside = triangle >= 0
    position = interpolate(triangle, weights, faces, vertices)
    _, label = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros((label.max() + 1, 3), np.float32)
    table[label[inside]] = position[inside]
    return table[label], inside


def _eyes(vertices: np.ndarray, faces: np.ndarray, material: np.ndarray) -> tuple[np.ndarray, float]:
    centres, radii = [], []
    for eye in (EYE_L, EYE_R):
        points = vertices[np.unique(faces[material == eye])]
        low, high = points.min(0), points.max(0)
        centre = (low + high) / 2
        # the cornea bulges forward: take the radius across, and set the centre that far behind the back
        radius = float((high[0] - low[0]) / 2)
        centre[2] = low[2] + radius
        centres.append(centre)
        radii.append(radius)
    return np.array(centres, np.float32), float(np.mean(radii))


def _cavity(
    neutral: np.ndarray, welded: np.ndarray, face: np.ndarray, uv: np.ndarray, count: int
) -> np.ndarray:
    """How far the surface lies below its own smoothed shape, over the face's texture."""
    vertices = np.zeros_like(neutral)
    vertices[:count] = neutral[:count]
    pairs = np.concatenate([welded[:, [0, 1]], welded[:, [1, 2]], welded[:, [2, 0]]])
    degree = np.bincount(pairs.ravel(), minlength=len(neutral)).clip(1)[:, None]
    normals = vertex_normals(vertices, welded)
    smooth = vertices.astype(np.float64)
    total = np.zeros(len(neutral))
    for k in range(1, 25):
        around = np.stack(
            [np.bincount(pairs.ravel(), smooth[pairs[:, ::-1].ravel(), d], len(neutral)) for d in range(3)], 1
        )
        smooth = 0.5 * smooth + 0.5 * around / degree
        if k in (4, 12, 24):
            total += np.clip(((smooth - vertices) * normals).sum(1), 0, 1.0)
    depth = np.zeros((len(neutral), 1), np.float32)
    depth[:, 0] = total
    flat = np.concatenate([uv * (UV_SIZE - 1) + 0.5, np.full((len(uv), 1), 2.0)], 1).astype(np.float32)
    _, triangle, weights = raster(flat, face, UV_SIZE, UV_SIZE)
    return np.asarray(cv2.GaussianBlur(interpolate(triangle, weights, face, depth)[..., 0], (0, 0), 1.0))


def mesh_normals(vertices: np.ndarray, mesh: Mesh) -> np.ndarray:
    """[V, 3] unit normals of posed vertices, smooth across the seam."""
    normals = vertex_normals(np.ascontiguousarray(vertices, dtype=np.float32), mesh.welded)
    return np.asarray(normals[mesh.parent])
