"""What is made once a person and drawn in every photo: shape, textures, hair, glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fstriplets.synth.bake import bake_skin
from fstriplets.synth.brows import FaceHair, grow_beard, grow_brows
from fstriplets.synth.hair import Strands, grow_hair
from fstriplets.synth.hairlight import count_strands
from fstriplets.synth.mesh import Mesh, mesh_normals
from fstriplets.synth.openness import sky_openness
from fstriplets.synth.person import Person
from fstriplets.synth.regions import build_regions
from fstriplets.synth.wrinkles import age_shape

__all__ = ["Body", "build_body"]

#: Strands a head, though none grow below the hairline; a photo draws as many as its pixels can show.
STRANDS = 30000
BEARD_STRANDS = 7000
#: Height of the eyes' opening over their width: bounds, and that of the average face.
_NARROW, _ROUND, _USUAL = 0.19, 0.43, 0.30
#: How thick a strand is drawn, units: it stands for several hairs.
STRAND_WIDTH = 0.045


@dataclass(frozen=True, eq=False)
class Body:
    """A person ready to be photographed.

    Attributes:
        person: whose body it is.
        vertices: [V, 3] float32 neutral face, age and weight included; normals: [V, 3].
        openness: [V] share of the light from everywhere that reaches a vertex (openness.py).
        face, back: textures, see bake.py.
        hair: strands on the neutral head, or None; grid: their density (hairlight.py).
        brows, beard: strands on the face.
    """

    person: Person
    vertices: np.ndarray
    normals: np.ndarray
    openness: np.ndarray
    face: np.ndarray
    back: np.ndarray
    hair: Strands | None
    grid: np.ndarray | None
    brows: FaceHair
    beard: FaceHair | None


def build_body(person: Person, mesh: Mesh, like: Body | None = None) -> Body:
    """The body of a person.

    Args:
        like: a body of the same person before an edit; what the edit left alone is taken from it.
    """
    regions = build_regions(mesh)
    if like is not None and _same(person, like.person, "shape", "age", "sagging", "chubby"):
        vertices, normals, openness = like.vertices, like.normals, like.openness
    else:
        vertices = mesh.shape(person.shape)
        vertices = vertices + age_shape(
            mesh, person.age, person.sagging, person.chubby, vertices, mesh_normals(vertices, mesh)
        )
        vertices = vertices + _opened(mesh, vertices)
        normals = mesh_normals(vertices, mesh)
        openness = sky_openness(vertices, normals, mesh)
    painted = ("texture", "age", "hair", "hair_colour", "grey", "beard", "moustache", "smile_map", "finish")
    if like is not None and _same(person, like.person, *painted):
        face, back = like.face, like.back
    else:
        face, back = bake_skin(person, mesh, regions)
    if like is not None and vertices is like.vertices and person.hair == like.person.hair:
        hair, grid = like.hair, like.grid
    else:
        hair = grow_hair(mesh, vertices, normals, person.hair, STRANDS)
        grid = count_strands(hair.points, STRAND_WIDTH) if hair is not None else None
    brows = (
        like.brows
        if like is not None and _same(person, like.person, "brow", "seed")
        else grow_brows(mesh, person)
    )
    if like is not None and _same(person, like.person, "beard", "moustache", "beard_length", "seed"):
        beard = like.beard
    else:
        beard = grow_beard(mesh, regions, person, BEARD_STRANDS)
    return Body(person, vertices, normals, openness, face, back, hair, grid, brows, beard)


def _opened(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    """Offsets [V, 3] that keep neutral eyes between narrow and round, whatever the shape of the lids."""
    points = vertices[mesh.landmarks]
    offset = np.zeros_like(vertices)
    for first, side in ((36, "R"), (42, "L")):
        p = points[first : first + 6]
        height = np.linalg.norm(p[1] - p[5]) + np.linalg.norm(p[2] - p[4])
        # signed: the lids of some shapes cross
        height *= np.sign((p[1] - p[5])[1] + (p[2] - p[4])[1])
        ratio = height / (2 * np.linalg.norm(p[0] - p[3]))
        wanted = _NARROW + (_ROUND - _NARROW) / (1 + np.exp(-(ratio - _USUAL) / 0.07))
        weights = np.zeros(len(mesh.names), np.float32)
        weights[mesh.index(f"eyeBlink_{side}")] = np.clip((ratio - wanted) / _USUAL, -1.2, 0.7)
        offset += mesh.pose_expression(weights)
    return offset


def _same(a: Person, b: Person, *fields: str) -> bool:
    """Whether two people agree in some fields; arrays are compared by identity first."""
    for name in fields:
        p, q = getattr(a, name), getattr(b, name)
        if p is q:
            continue
        if isinstance(p, np.ndarray):
            if not np.array_equal(p, q):
                return False
        elif p != q:
            return False
    return True
