"""One shard of true swaps: its people's photos, and their faces in one another's photos.

Every person is drawn in a few photos, and each photo serves as source and as target. The result is rendered
in the target's scene and cut out by the *target's* true landmarks, so target and result agree in every pixel
that the swap does not touch. What is costly is a head with another's hair, so a pair is swapped in all photos
of the target's person before the next pair.

In the manifests a result is an edit of the target's face: edit `true_swap`, editor `synth`, and the person
who is seen, the source's, as its identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fstriplets.faces.align import similarity, transform_points, warp
from fstriplets.faces.quality import look_at
from fstriplets.faces.templates import template_points
from fstriplets.records import Edit, Face, Photo, PlannedEdit, PlannedTriplet, content_id
from fstriplets.shards import ImageCodec, Sample, ShardStats, Store, write_shard
from fstriplets.synth.corpus import LICENCE
from fstriplets.synth.swaps import Group, SwapPlan
from fstriplets.triplets import TRUE_SWAP, form_triplet

if TYPE_CHECKING:
    from fstriplets.synth.person import Person
    from fstriplets.synth.render import Photo as Drawn
    from fstriplets.synth.scene import Scene
    from fstriplets.synth.studio import Studio

__all__ = ["draw_shard"]

#: Photos are drawn so much larger than the crops that cutting a face out does not enlarge it.
_LARGER = 1.25
_EDITOR = "synth"


@dataclass(frozen=True, eq=False)
class _Shot:
    """A photo of somebody, and the face cut out of it."""

    person: Person
    scene: Scene
    photo: Photo
    face: Face
    image: bytes
    matrix: npt.NDArray[np.float64]


@dataclass(eq=False)
class _Rows:
    """What a shard gathers."""

    photos: list[dict[str, Any]] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    edits: dict[str, Edit] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


def draw_shard(plan: SwapPlan, group: Group, store: Store) -> ShardStats:
    """Draws and commits a shard.

    Raises:
        OutputError: the dataset cannot be written.
    """
    studio, rows, codec = _studio(), _Rows(), ImageCodec()
    shots = [
        [_photograph(studio, plan, index, k, codec, rows) for k in range(plan.photos)]
        for index in group.people
    ]
    for first, second in _pairs(plan, group, shots):
        _swap(studio, plan, first, second, codec, rows)
    manifests = {"photos": rows.photos, "faces": rows.faces, "edits": rows.edits.values()}
    return write_shard(
        store, group.shard, group.split, rows.samples, manifests, group.plan_hash(plan), codec.extension
    )


@lru_cache(maxsize=1)
def _studio() -> Studio:
    from fstriplets.synth.studio import Studio

    return Studio(keep=1)


def _photograph(studio: Studio, plan: SwapPlan, index: int, k: int, codec: ImageCodec, rows: _Rows) -> _Shot:
    """A person's k-th photo, its face, and the rows of both."""
    seed, identity_id = plan.identity_seed(index), plan.identity_id(index)
    person, scene = studio.person(seed), studio.scene(seed * 1009 + k, plan.max_yaw)
    side = round(plan.size * _LARGER)
    drawn = studio.photo(person, scene, side)
    uri = f"synth:{identity_id}/{k:02d}"
    photo = Photo(content_id(identity_id, uri), identity_id, uri, LICENCE, "synthetic")
    matrix = similarity(drawn.truth.landmarks5, template_points("ffhq", plan.size))
    crop = warp(drawn.pixels, matrix, plan.size)
    face = _face(photo, drawn, matrix, crop)
    names = ("photo_id", "identity_id", "uri", "licence", "consent", "status", "reason", "message")
    row = {name: getattr(photo, name) for name in names}
    rows.photos.append({**row, "width": side, "height": side})
    rows.faces.append(face)
    return _Shot(person, scene, photo, face, codec.encode(crop), matrix)


def _face(photo: Photo, drawn: Drawn, matrix: npt.NDArray[np.float64], crop: npt.NDArray[np.uint8]) -> Face:
    seen, truth = look_at(crop), drawn.truth
    yaw, pitch, roll = (float(angle) for angle in truth.pose)
    return Face(
        face_id=content_id(photo.identity_id, crop.tobytes()),
        photo_id=photo.photo_id,
        identity_id=photo.identity_id,
        box=truth.box,
        landmarks=tuple((float(x), float(y)) for x, y in transform_points(truth.landmarks68, matrix)),
        transform=tuple(float(value) for value in matrix.ravel()),
        score=1.0,
        sharpness=seen.sharpness,
        brightness=seen.brightness,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        attributes=truth.attributes,
    )


def _pairs(plan: SwapPlan, group: Group, shots: list[list[_Shot]]) -> Iterator[tuple[_Shot, _Shot]]:
    """Source and target of every swap, `plan.swaps` of each person as source; all of a pair together."""
    for number, index in enumerate(group.people):
        rng = np.random.default_rng([plan.identity_seed(index), 67])
        others = [other for other in range(len(group.people)) if other != number]
        targets = [shot for other in rng.permutation(others) for shot in shots[other]]
        sources = [shots[number][k] for k in rng.permutation(plan.photos)]
        for turn, target in enumerate(targets[: plan.swaps]):
            yield sources[turn % len(sources)], target


def _swap(
    studio: Studio, plan: SwapPlan, first: _Shot, second: _Shot, codec: ImageCodec, rows: _Rows
) -> None:
    """The first one's face in the second one's photo."""
    drawn = studio.swapped(first.person, second.person, second.scene, round(plan.size * _LARGER))
    result = codec.encode(warp(drawn.pixels, second.matrix, plan.size))
    fingerprint = f"{_EDITOR}-{plan.settings()['renderer']}"
    edit = Edit(
        edit_id=content_id(second.face.face_id, TRUE_SWAP.name, first.photo.identity_id, fingerprint),
        face_id=second.face.face_id,
        identity_id=first.photo.identity_id,
        edit=TRUE_SWAP.name,
        strength=1.0,
        editor=_EDITOR,
        fingerprint=fingerprint,
        seed=first.person.seed,
    )
    planned = PlannedTriplet(
        TRUE_SWAP.name,
        first.face.face_id,
        second.face.face_id,
        PlannedEdit(second.face.face_id, TRUE_SWAP.name, 1.0, _EDITOR, first.person.seed),
    )
    triplet = form_triplet(planned, edit, first.photo, second.photo)
    rows.edits[edit.edit_id] = edit
    rows.samples.append(Sample(triplet, first.image, second.image, result, second.photo.identity_id))
