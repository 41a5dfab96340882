"""Read a shard's bytes, front to back, as samples.

An own tar reader, because the usual ones trust too much: `tarfile` and webdataset read a tar that was
cut at a member boundary without a word, and webdataset runs `.pyd` members and `pipe:` URLs. Here
members are data, nothing is executed or extracted, and a short tar is an error.
"""

from __future__ import annotations

import json
import mmap
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import fsspec

from fstriplets.errors import DatasetError
from fstriplets.records import content_id
from fstriplets.shards.layout import manifest_path
from fstriplets.shards.manifest import read_part
from fstriplets.shards.store import Store
from fstriplets.shards.tar import BLOCK
from fstriplets.shards.urls import ShardUrl
from fstriplets.triplets.assemble import merge_terms
from fstriplets.triplets.kinds import KINDS

__all__ = ["StoredSample", "read_samples"]

ROLES = ("source", "target", "result")
#: Type flags of files; links, folders and PAX or GNU annotations are passed over.
_REGULAR = (b"0", b"\0")
#: What a sample's JSON must tell.
_NEEDED = ("real", "identity_id", *(f"{role}_id" for role in ROLES))
_EMPTY = bytes(BLOCK)


@dataclass(slots=True)
class StoredSample:
    """A triplet as it lies in the shard: encoded images and what is known of them."""

    key: str
    meta: dict[str, Any]
    source: bytes | memoryview
    target: bytes | memoryview
    result: bytes | memoryview | None  #: None: nobody knows it (vanilla)

    def unedited(self) -> tuple[bytes | memoryview, str]:
        """The real member's bytes and id."""
        role = str(self.meta["real"])
        return getattr(self, role), str(self.meta[role + "_id"])


def read_samples(
    shard: ShardUrl, pairs: random.Random | None = None
) -> Iterator[StoredSample | DatasetError]:
    """The samples of a shard, in stored order; for `layout: faces` in the order of its triplet table.

    A sample that is damaged comes as the error instead; when the tar itself is damaged, the error is
    the last thing that comes. Whoever reads decides whether to raise.

    Args:
        pairs: for `layout: faces`: draws the source of every pair_identity triplet anew, from the
            person's photos.
    """
    try:
        for key, members in _groups(shard):
            if _is_face(members):
                yield from _from_faces(shard, pairs)
                return
            if pairs is not None:
                raise DatasetError(f"{shard.url} stores whole triplets; fresh_pairs needs `layout: faces`")
            yield _triplet(shard, key, members)
    except DatasetError as error:
        yield error


def _groups(shard: ShardUrl) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Members by key: everything before the first dot of the name, contiguous in the tar."""
    current: str | None = None
    members: dict[str, bytes] = {}
    for name, data in _members(shard):
        key, _, extension = name.partition(".")
        if key != current:
            if current is not None:
                yield current, members
            current, members = key, {}
        members[extension] = data
    if current is not None:
        yield current, members


def _members(shard: ShardUrl) -> Iterator[tuple[str, bytes]]:
    with _open(shard.url) as file:
        while True:
            block = file.read(BLOCK)
            if block == _EMPTY:
                return
            size = _checked_size(shard, block)
            data = file.read(size + -size % BLOCK)
            if len(data) < size:
                raise _cut_short(shard)
            if block[156:157] in _REGULAR:
                yield block[:100].rstrip(b"\0").decode("utf-8", "replace"), data[:size]


def _open(url: str) -> IO[bytes]:
    try:
        if "://" not in url and "::" not in url:
            return open(url, "rb", buffering=1 << 20)
        return cast("IO[bytes]", fsspec.open(url, "rb").open())
    except FileNotFoundError as error:
        raise DatasetError(f"{url} is missing") from error


def _checked_size(shard: ShardUrl, block: bytes) -> int:
    if len(block) < BLOCK:
        raise _cut_short(shard)
    try:
        stated = int(block[148:156].split(b"\0")[0], 8)
        size = int(block[124:136].split(b"\0")[0], 8)
    except ValueError:
        stated, size = -1, 0
    if sum(block) - sum(block[148:156]) + 8 * 0x20 != stated:
        raise DatasetError(f"{shard.url} is damaged: a tar header does not match its checksum")
    return size


def _cut_short(shard: ShardUrl) -> DatasetError:
    return DatasetError(f"{shard.url} is cut short: the end of the archive is missing")


def _is_face(members: dict[str, bytes]) -> bool:
    return all("." not in extension for extension in members)


def _triplet(shard: ShardUrl, key: str, members: dict[str, bytes]) -> StoredSample | DatasetError:
    by_role = {extension.partition(".")[0]: data for extension, data in members.items()}
    missing = [role for role in ("json", *ROLES) if role not in by_role]
    if missing:
        return DatasetError(f"{shard.url}: sample {key} has no member {key}.{missing[0]}")
    try:
        meta = json.loads(by_role["json"])
        lacking = [name for name in _NEEDED if not isinstance(meta[name], str)]
    except (ValueError, KeyError, TypeError) as error:
        return DatasetError(f"{shard.url}: member {key}.json is no sample record ({error!r})")
    if lacking or meta["real"] not in ROLES:
        return DatasetError(f"{shard.url}: member {key}.json is no sample record ({lacking or meta['real']})")
    return StoredSample(key, meta, *(by_role[role] for role in ROLES))


def _from_faces(shard: ShardUrl, pairs: random.Random | None) -> Iterator[StoredSample]:
    """Form the triplets of a shard whose tar holds each face once."""
    rows = [row for row in _triplet_table(shard) if row["status"] == "ok"]
    content = _content(shard.url)
    for row in rows:
        if any(row[f"{role}_offset"] + row[f"{role}_size"] > len(content) for role in ROLES):
            raise _cut_short(shard)
    if pairs is not None:
        rows = _paired_anew(rows, _photos_of(shard, content), pairs)
    for row in rows:
        places = [(row[f"{role}_offset"], row[f"{role}_size"]) for role in ROLES]
        yield StoredSample(row["triplet_id"], row, *(content[o : o + size] for o, size in places))


def _triplet_table(shard: ShardUrl) -> list[dict[str, Any]]:
    folder, _, name = shard.url.rpartition("/")
    dataset = folder.rsplit("/", 2)[0] if folder.count("/") > 1 else "."
    stem = name.removesuffix(".tar")
    try:
        rows: list[dict[str, Any]] = read_part(Store(dataset), "triplets", stem).to_pylist()
    except FileNotFoundError as error:
        path = f"{dataset}/{manifest_path('triplets', stem)}"
        raise DatasetError(f"{shard.url} stores faces; its triplet table {path} is missing") from error
    return rows


def _photos_of(shard: ShardUrl, content: memoryview) -> dict[str, list[dict[str, Any]]]:
    """The unedited faces in the tar by person: what their JSON says, with `offset` and `size`."""
    people: dict[str, list[dict[str, Any]]] = {}
    position, meta = 0, {}
    while (block := bytes(content[position : position + BLOCK])) != _EMPTY:
        size = _checked_size(shard, block)
        position += BLOCK
        if block[:100].rstrip(b"\0").endswith(b".json"):
            meta = json.loads(bytes(content[position : position + size]))
        elif not meta["edit"]:
            people.setdefault(meta["identity_id"], []).append({**meta, "offset": position, "size": size})
        position += size + -size % BLOCK
    return people


def _paired_anew(
    rows: list[dict[str, Any]], people: dict[str, list[dict[str, Any]]], rng: random.Random
) -> list[dict[str, Any]]:
    paired = []
    for row in rows:
        if KINDS[row["kind"]].photos == 2:
            second = row["result_id"]
            faces = people[row["identity_id"]]
            result = next(face for face in faces if face["face_id"] == second)
            source = rng.choice([face for face in faces if face["face_id"] != second])
            row = row | {
                "source_id": source["face_id"],
                "source_offset": source["offset"],
                "source_size": source["size"],
                "licence": merge_terms(source["licence"], result["licence"]),
                "consent": merge_terms(source["consent"], result["consent"]),
            }
            ids = (row["identity_id"], row["kind"], row["source_id"], row["target_id"], second)
            row["triplet_id"] = content_id(*ids)
        paired.append(row)
    return paired


def _content(url: str) -> memoryview:
    """The whole shard: mapped when it is local, read otherwise."""
    with _open(url) as file:
        if "://" not in url and os.fstat(file.fileno()).st_size:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return memoryview(file.read())
