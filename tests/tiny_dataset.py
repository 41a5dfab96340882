"""A dataset of flat-coloured faces, written with the real plan, codec and writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fstriplets.config import PipelineConfig
from fstriplets.records import Edit, Face, Photo, PlannedEdit, content_id
from fstriplets.shards import EncodedFace, ImageCodec, Sample, ShardStats, Store, write_shard
from fstriplets.triplets import form_triplet, plan_triplets

SIZE = 32


def make_face(identity_id: str, number: int, **known: object) -> Face:
    """A face with five landmarks and whatever else is given."""
    return Face(
        face_id=content_id(identity_id, "face", str(number)),
        photo_id=content_id(identity_id, "photo", str(number)),
        identity_id=identity_id,
        box=(0.0, 0.0, 32.0, 32.0),
        landmarks=((10.0, 12.0), (22.0, 12.0), (16.0, 18.0), (11.0, 24.0), (21.0, 24.0)),
        transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        score=0.9,
        sharpness=10.0,
        brightness=120.0,
        **known,  # type: ignore[arg-type]
    )


def colour(name: str) -> np.ndarray:
    """A flat image whose colour follows from the id, so that members can be recognised."""
    value = int(content_id(name)[:6], 16)
    rgb = [32 + (value >> shift & 0xFF) % 192 for shift in (16, 8, 0)]
    return np.full((SIZE, SIZE, 3), rgb, dtype=np.uint8)


def make_splits(folder: Path) -> Path:
    """The folder, with a shard of `train` and one of `val` in it, of two people each."""
    make_shard(folder, 0, people=2, photos=2)
    make_shard(folder, 9, people=2, photos=2, split="val")
    return folder


def make_shard(
    store: Store | str | Path,
    number: int = 0,
    *,
    people: int = 3,
    photos: int = 4,
    split: str = "train",
    layout: str = "triplets",
    image_format: str = "jpeg",
    reject: str = "",
) -> ShardStats:
    """Write one shard. Edits named `reject` are turned down. No two numbers share a person."""
    store = store if isinstance(store, Store) else Store(store)
    config = PipelineConfig()
    codec = ImageCodec(image_format)
    rows: dict[str, list[object]] = {"photos": [], "faces": [], "edits": [], "triplets": []}
    samples: list[Sample] = []
    encoded: dict[str, EncodedFace] = {}
    for person in range(people):
        identity_id = f"{split}-{number}-{person}"
        faces = [make_face(identity_id, i, yaw=i * 10.0) for i in range(photos)]
        taken = {
            f.photo_id: Photo(f.photo_id, identity_id, f"{f.photo_id}.jpg", "CC0", "drawn") for f in faces
        }
        rows["photos"] += [_photo_row(photo) for photo in taken.values()]
        rows["faces"] += faces
        edits: dict[object, Edit] = {}
        by_id = {face.face_id: face for face in faces}
        for planned in plan_triplets(identity_id, faces, config):
            edit = edits.setdefault(planned.edit, _edit(planned.edit, identity_id, reject))
            first, second = (taken[by_id[i].photo_id] for i in (planned.first, planned.second))
            triplet = form_triplet(planned, edit, first, second)
            rows["triplets"].append(triplet)
            if triplet.status != "ok":
                continue
            ids = (triplet.source_id, triplet.target_id, triplet.result_id)
            images = [codec.encode(colour(i)) for i in ids]
            samples.append(Sample(triplet, *images))
            for name, image in zip(ids, images, strict=True):
                edited = name == edit.edit_id
                encoded[name] = EncodedFace(
                    name,
                    identity_id,
                    edit.face_id if edited else name,
                    edit.edit if edited else "",
                    edit.strength if edited else 0.0,
                    image,
                )
        rows["edits"] += edits.values()
    content = list(encoded.values()) if layout == "faces" else samples
    return write_shard(store, f"{split}-{number:06d}", split, content, rows, "plan", codec.extension)


def _photo_row(photo: Photo) -> dict[str, object]:
    names = ("photo_id", "identity_id", "uri", "licence", "consent", "status", "reason", "message")
    return {name: getattr(photo, name) for name in names}


def _edit(planned: PlannedEdit, identity_id: str, reject: str) -> Edit:
    edit = planned.edit
    turned_down = edit == reject
    return Edit(
        edit_id=content_id(planned.face_id, edit, f"{planned.strength:.4f}"),
        face_id=planned.face_id,
        identity_id=identity_id,
        edit=edit,
        strength=planned.strength,
        editor="none",
        fingerprint="test",
        seed=planned.seed,
        weights_licence="research only",
        values={"identity_similarity": 0.5, "age_change": 0.1},
        status="rejected" if turned_down else "ok",
        reason="identity_max" if turned_down else "",
        message="too alike" if turned_down else "",
    )
