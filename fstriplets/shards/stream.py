"""Read a shard's bytes, front to back, as samples.

An own tar reader, because the usual ones trust too much: `tarfile` and webdataset read a tar that was
cut at a member boundary without a word, and webdataset runs `.pyd` members and `pipe:` URLs. Here
members are data, nothing is executed or extracted, and a short tar is an error.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import fsspec

from fstriplets.errors import DatasetError
from fstriplets.shards.manifest import read_part
from fstriplets.shards.store import Store
from fstriplets.shards.tar import BLOCK
from fstriplets.shards.urls import ShardUrl

__all__ = ["StoredSample", "read_samples"]

ROLES = ("source", "target", "result")
_REGULAR = (b"0", b"\0")
#: Headers that only annotate the next member (PAX, GNU) or hold no data of interest (folders, links).
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


def read_samples(shard: ShardUrl) -> Iterator[StoredSample | DatasetError]:
    """The samples of a shard, in stored order; for `layout: faces` in the order of its triplet table.

    A sample that is damaged comes as the error instead; when the tar itself is damaged, the error is
    the last thing that comes. Whoever reads decides whether to raise.
    """
    try:
        for key, members in _groups(shard):
            if _is_face(members):
                yield from _from_faces(shard)
                return
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
        _ = meta["real"], meta["identity_id"]
    except (ValueError, KeyError, TypeError) as error:
        return DatasetError(f"{shard.url}: member {key}.json is no sample record ({error})")
    return StoredSample(key, meta, *(by_role[role] for role in ROLES))


def _from_faces(shard: ShardUrl) -> Iterator[StoredSample]:
    """Form the triplets of a shard whose tar holds each face once."""
    folder, _, name = shard.url.rpartition("/")
    dataset = folder.rsplit("/", 2)[0] if folder.count("/") > 1 else "."
    try:
        table = read_part(Store(dataset), "triplets", name.removesuffix(".tar"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{shard.url} stores faces; its triplet table is missing:"
            f" {dataset}/manifests/triplets/{name.removesuffix('.tar')}.parquet"
        ) from error
    content = _content(shard.url)
    for row in table.to_pylist():
        if row["status"] != "ok":
            continue
        places = [(row[f"{role}_offset"], row[f"{role}_size"]) for role in ROLES]
        if any(offset + size > len(content) for offset, size in places):
            raise _cut_short(shard)
        yield StoredSample(row["triplet_id"], row, *(content[o : o + s] for o, s in places))


def _content(url: str) -> memoryview:
    """The whole shard: mapped when it is local, read otherwise."""
    with _open(url) as file:
        if "://" not in url and os.fstat(file.fileno()).st_size:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return memoryview(file.read())
