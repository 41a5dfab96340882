"""Write one shard: tar, manifest parts, then the stats file that commits them.

The order is the protocol: nothing under its final name is half written, and a shard counts only
when its stats file is there. So a build killed at any point leaves either a finished shard or files
that the next run overwrites.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fstriplets.records import Triplet
from fstriplets.shards.layout import MANIFESTS, manifest_path, shard_path, stats_path
from fstriplets.shards.manifest import parquet_bytes, row_of, table_of
from fstriplets.shards.stats import ShardStats, stats_json
from fstriplets.shards.store import Store
from fstriplets.shards.tar import BLOCK, END, header, padding

__all__ = ["EncodedFace", "Sample", "write_shard"]

#: The members of a sample after its JSON, in tar order.
_IMAGES = ("result", "source", "target")
#: Keys of a sample's JSON; the same in every sample, or Hugging Face drops what comes later.
_META = (
    "kind", "identity_id", "source_id", "target_id", "result_id", "real",
    "edit", "edit_id", "editor", "licence", "consent", "weights_licence",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A triplet with its three encoded images."""

    triplet: Triplet
    source: bytes
    target: bytes
    result: bytes
    target_identity_id: str = ""  #: of true swaps, the only ones that show two people


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFace:
    """One face of `layout: faces`, original or edited, with its encoded image."""

    key: str  #: face_id or edit_id
    identity_id: str
    face_id: str  #: of the unedited face; equals `key` for that one itself
    edit: str  #: empty: unedited
    strength: float
    image: bytes


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int  #: of the content in the tar
    size: int


def write_shard(
    store: Store,
    shard: str,
    split: str,
    samples: Sequence[Sample] | Sequence[EncodedFace],
    manifests: Mapping[str, Iterable[Any]],
    plan_hash: str,
    extension: str = "jpg",
) -> ShardStats:
    """Write a shard and its manifest parts, and commit them.

    Args:
        store: the dataset.
        shard: e.g. `train-000000`.
        split: e.g. `train`.
        samples: Sample for `layout: triplets` (three images each), or EncodedFace for
            `layout: faces` (every face and edit once); in any order, they are written sorted by key.
        manifests: rows (mappings or records) of `photos`, `faces`, `edits` and `triplets`, in the
            order to keep (triplets: sorted here). `split`, `shard`, offsets and sizes are filled in.
            A sample whose triplet has no row gets one.
        plan_hash: of what the bucket was built from; resume compares it.
        extension: of the encoded images, without the dot.

    Returns:
        What was committed. A shard without samples has manifests and stats, and no tar.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
        ValueError: two samples have the same key, a row has an unknown column, or a triplet with
            status ok has no images.
    """
    rows = {name: [row_of(row) for row in manifests.get(name, ())] for name in MANIFESTS}
    layout, members = _layout(samples, rows, extension)
    store.remove(stats_path(shard, split))  # from here on the old shard, if any, no longer counts
    writer = _TarWriter()
    _write_tar(store, shard_path(shard, split), writer, members)
    _place(rows["triplets"], writer.members, shard, extension, layout)
    parts, counts = _write_manifests(store, shard, split, rows)
    stats = ShardStats(
        shard=shard,
        split=split,
        layout=layout,
        samples=len(samples),
        bytes=writer.size,
        sha256=writer.digest.hexdigest() if samples else "",
        plan_hash=plan_hash,
        counts=counts,
        manifests={name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
        manifest_bytes={name: len(data) for name, data in parts.items()},
    )
    store.write(stats_path(shard, split), stats_json(stats))
    return stats


def _layout(
    samples: Sequence[Sample] | Sequence[EncodedFace],
    rows: Mapping[str, list[dict[str, Any]]],
    extension: str,
) -> tuple[str, list[tuple[str, bytes]]]:
    """The layout the samples speak of, and the members of the tar; triplets are sorted in passing."""
    triplets = [sample for sample in samples if isinstance(sample, Sample)]
    faces = [sample for sample in samples if isinstance(sample, EncodedFace)]
    if triplets and faces:
        raise ValueError("a shard holds Samples or EncodedFaces, not both")
    known = {row["triplet_id"] for row in rows["triplets"]}
    rows["triplets"] += [row_of(s.triplet) for s in triplets if s.triplet.triplet_id not in known]
    rows["triplets"].sort(key=lambda row: str(row["triplet_id"]))
    if faces:
        faces.sort(key=lambda face: face.key)
        _refuse_twins([face.key for face in faces])
        return "faces", _face_members(faces, rows, extension)
    triplets.sort(key=lambda sample: sample.triplet.triplet_id)
    _refuse_twins([sample.triplet.triplet_id for sample in triplets])
    return "triplets", _triplet_members(triplets, extension)


class _TarWriter:
    """Turns members into tar bytes, and remembers where each one lies."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self.members: dict[str, _Member] = {}

    def chunks(self, members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
        for name, data in members:
            self.members[name] = _Member(self.size + BLOCK, len(data))
            yield self._count(b"".join((header(name, len(data)), data, padding(len(data)))))
        yield self._count(END)

    def _count(self, chunk: bytes) -> bytes:
        self.size += len(chunk)
        self.digest.update(chunk)
        return chunk


def _write_tar(store: Store, path: str, writer: _TarWriter, members: Sequence[tuple[str, bytes]]) -> None:
    """Write the tar, or remove a former one when there is nothing to write."""
    if members:
        store.write(path, writer.chunks(members))
    else:
        store.remove(path)


def _triplet_members(samples: Sequence[Sample], extension: str) -> list[tuple[str, bytes]]:
    members = []
    for sample in samples:
        key = sample.triplet.triplet_id
        members.append((f"{key}.json", _triplet_json(sample)))
        members += [(f"{key}.{role}.{extension}", getattr(sample, role)) for role in _IMAGES]
    return members


def _triplet_json(sample: Sample) -> bytes:
    meta = {name: getattr(sample.triplet, name) for name in _META}
    if sample.target_identity_id:
        meta["target_identity_id"] = sample.target_identity_id
    return _json(meta | {"strength": float(sample.triplet.strength)})


def _face_members(
    faces: Sequence[EncodedFace], rows: Mapping[str, Sequence[Mapping[str, Any]]], extension: str
) -> list[tuple[str, bytes]]:
    """Every face and edit once, by id: `KEY.json` and `KEY.jpg`."""
    photo_of = {row["face_id"]: row["photo_id"] for row in rows["faces"]}
    photos = {row["photo_id"]: row for row in rows["photos"]}
    edits = {row["edit_id"]: row for row in rows["edits"]}
    members = []
    for face in faces:
        photo = photos.get(photo_of.get(face.face_id), {})
        data = _face_json(face, photo, edits.get(face.key, {}))
        members += [(f"{face.key}.json", data), (f"{face.key}.{extension}", face.image)]
    return members


def _face_json(face: EncodedFace, photo: Mapping[str, Any], edit: Mapping[str, Any]) -> bytes:
    meta = {name: edit.get(name) or "" for name in ("editor", "weights_licence")}
    meta |= {name: photo.get(name) or "" for name in ("photo_id", "licence", "consent")}
    meta |= {"face_id": face.face_id, "identity_id": face.identity_id, "edit": face.edit}
    return _json({**meta, "strength": float(face.strength)})


def _json(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _place(
    rows: Sequence[dict[str, Any]], members: Mapping[str, _Member], shard: str, extension: str, layout: str
) -> None:
    """Put shard, offsets and sizes into the rows of the triplets that were formed."""
    for row in rows:
        if row["status"] != "ok":
            continue
        key = row["triplet_id"]
        if layout == "faces":
            names = {role: f"{row[role + '_id']}.{extension}" for role in _IMAGES}
        else:
            names = {role: f"{key}.{role}.{extension}" for role in _IMAGES} | {"json": f"{key}.json"}
        row["shard"] = shard
        for role, name in names.items():
            if name not in members:
                raise ValueError(f"triplet {key} has status ok, but {name} was not given")
            row[f"{role}_offset"], row[f"{role}_size"] = members[name].offset, members[name].size


def _write_manifests(
    store: Store, shard: str, split: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Write one part a manifest; the parts' bytes, and rows counted by manifest and status."""
    parts, counts = {}, Counter[str]()
    for name in MANIFESTS:
        table = table_of(name, [{"split": split, **row} for row in rows[name]])
        counts.update(f"{name}_{status}" for status in table.column("status").to_pylist())
        parts[name] = parquet_bytes(table)
        store.write(manifest_path(name, shard), parts[name])
    return parts, dict(sorted(counts.items()))


def _refuse_twins(keys: Sequence[str]) -> None:
    for key, following in pairwise(keys):
        if key == following:
            raise ValueError(f"two samples have the key {key}: readers would merge them")
