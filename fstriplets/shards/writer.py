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

__all__ = ["Sample", "write_shard"]

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


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int  #: of the content in the tar
    size: int


def write_shard(
    store: Store,
    shard: str,
    split: str,
    samples: Sequence[Sample],
    manifests: Mapping[str, Iterable[Any]],
    plan_hash: str,
    *,
    extension: str = "jpg",
    layout: str = "triplets",
    images: Mapping[str, bytes] | None = None,
) -> ShardStats:
    """Write a shard and its manifest parts, and commit them.

    Args:
        store: the dataset.
        shard: e.g. `train-000000`.
        split: e.g. `train`.
        samples: in any order; they are written sorted by triplet id.
        manifests: rows (mappings or records) of `photos`, `faces`, `edits` in the order to keep,
            and of `triplets` that were not formed (status rejected or failed). Rows of the samples
            are made here, and `split` is filled in where it is missing.
        plan_hash: of what the bucket was built from; resume compares it.
        extension: of the encoded images, without the dot.
        layout: `triplets` (three images a sample), or `faces` (every face and edit once).
        images: for `faces`, further encoded images by face or edit id, of no triplet yet.

    Returns:
        What was committed. A shard without samples has manifests and stats, and no tar.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
        ValueError: two samples have the same key, or a row has an unknown column.
    """
    ordered = sorted(samples, key=lambda sample: sample.triplet.triplet_id)
    _refuse_twins([sample.triplet.triplet_id for sample in ordered])
    store.remove(stats_path(shard, split))  # from here on the old shard, if any, no longer counts
    writer = _TarWriter()
    if layout == "faces":
        rows = {name: [row_of(r) for r in manifests.get(name, ())] for name in MANIFESTS}
        members = _face_members(ordered, rows, images or {}, extension)
    else:
        rows = {name: list(manifests.get(name, ())) for name in MANIFESTS}
        members = _triplet_members(ordered, extension)
    count = _write_tar(store, shard_path(shard, split), writer, members)
    made = [_triplet_row(sample, writer.members, shard, extension, layout) for sample in ordered]
    parts, counts = _write_manifests(store, shard, split, {**rows, "triplets": [*made, *rows["triplets"]]})
    stats = ShardStats(
        shard=shard,
        split=split,
        layout=layout,
        samples=count,
        bytes=writer.size if count else 0,
        sha256=writer.digest.hexdigest() if count else "",
        plan_hash=plan_hash,
        counts=counts,
        manifests={name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
        manifest_bytes={name: len(data) for name, data in parts.items()},
    )
    store.write(stats_path(shard, split), stats_json(stats))
    return stats


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


def _write_tar(store: Store, path: str, writer: _TarWriter, members: Sequence[tuple[str, bytes]]) -> int:
    """Write the tar, or remove a former one when there is nothing to write; number of samples."""
    if not members:
        store.remove(path)
        return 0
    store.write(path, writer.chunks(members))
    return sum(name.endswith(".json") for name, _ in members)


def _triplet_members(samples: Sequence[Sample], extension: str) -> list[tuple[str, bytes]]:
    members = []
    for sample in samples:
        key = sample.triplet.triplet_id
        members.append((f"{key}.json", _triplet_json(sample.triplet)))
        members += [(f"{key}.{role}.{extension}", getattr(sample, role)) for role in _IMAGES]
    return members


def _triplet_json(triplet: Triplet) -> bytes:
    meta = {name: getattr(triplet, name) for name in _META}
    return _json(meta | {"strength": float(triplet.strength)})


def _face_members(
    samples: Sequence[Sample],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    images: Mapping[str, bytes],
    extension: str,
) -> list[tuple[str, bytes]]:
    """Every face and edit once, by id: `KEY.json` and `KEY.jpg`."""
    pixels = dict(images)
    for sample in samples:
        triplet = sample.triplet
        ids = (triplet.source_id, triplet.target_id, triplet.result_id)
        pixels.update(zip(ids, (sample.source, sample.target, sample.result), strict=True))
    faces = {row["face_id"]: row for row in rows["faces"]}
    edits = {row["edit_id"]: row for row in rows["edits"]}
    photos = {row["photo_id"]: row for row in rows["photos"]}
    members = []
    for key in sorted(pixels):
        edit = edits.get(key)
        face_id = edit["face_id"] if edit else key
        photo = photos.get(faces.get(face_id, {}).get("photo_id"), {})
        members.append((f"{key}.json", _face_json(face_id, faces.get(face_id, {}), edit or {}, photo)))
        members.append((f"{key}.{extension}", pixels[key]))
    return members


def _face_json(
    face_id: str, face: Mapping[str, Any], edit: Mapping[str, Any], photo: Mapping[str, Any]
) -> bytes:
    names = ("edit", "edit_id", "editor", "weights_licence")
    meta = {name: edit.get(name) or "" for name in names}
    meta |= {name: photo.get(name) or "" for name in ("licence", "consent", "photo_id")}
    identity = face.get("identity_id") or edit.get("identity_id") or ""
    strength = float(edit.get("strength") or 0.0)
    return _json({**meta, "face_id": face_id, "identity_id": identity, "strength": strength})


def _json(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _triplet_row(
    sample: Sample, members: Mapping[str, _Member], shard: str, extension: str, layout: str
) -> dict[str, Any]:
    """The manifest row of a written triplet, with the place of each member in the tar."""
    triplet = sample.triplet
    row = row_of(triplet, shard=shard)
    places = {role: f"{triplet.triplet_id}.{role}.{extension}" for role in _IMAGES}
    if layout == "faces":
        places = {role: f"{row[role + '_id']}.{extension}" for role in _IMAGES}
    else:
        places["json"] = f"{triplet.triplet_id}.json"
    for role, name in places.items():
        row[f"{role}_offset"], row[f"{role}_size"] = members[name].offset, members[name].size
    return row


def _write_manifests(
    store: Store, shard: str, split: str, rows: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Write one part a manifest; the parts' bytes, and rows counted by manifest and status."""
    parts, counts = {}, Counter[str]()
    for name in MANIFESTS:
        table = table_of(name, [{"split": split, **row_of(row)} for row in rows[name]])
        counts.update(f"{name}_{status}" for status in table.column("status").to_pylist())
        parts[name] = parquet_bytes(table)
        store.write(manifest_path(name, shard), parts[name])
    return parts, dict(sorted(counts.items()))


def _refuse_twins(keys: Sequence[str]) -> None:
    for key, following in pairwise(keys):
        if key == following:
            raise ValueError(f"two samples have the key {key}: readers would merge them")
