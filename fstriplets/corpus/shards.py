"""Tar shards of photos, read where they lie: nothing is ever extracted.

A photo's person is, in this order: `identity_id` in the `KEY.json` beside `KEY.jpg` (webdataset's
layout), the text of `KEY.cls`, or the member's folder (`PERSON/photo.jpg`; a folder that a whole shard
shares, as in `lfw/PERSON/photo.jpg`, is left off). The json may also hold `licence, consent, box,
landmarks, attributes`. A photo's uri, `shard.tar#member@offset+size`, is all that `read` needs.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fstriplets.corpus.base import MAX_PHOTO_BYTES, Terms
from fstriplets.corpus.cells import consent_of, parse_attributes, parse_box, parse_landmarks
from fstriplets.corpus.tars import Member, expand_braces, members, open_tar
from fstriplets.errors import CorpusError, PhotoRejected
from fstriplets.records import Photo

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ShardsCorpus"]

_URI = re.compile(r"(?s)(.+?\.(?:tar\.gz|tgz|tar))#(.*)@(\d+)\+(\d+)", re.IGNORECASE)
_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_BATCH = 20_000
#: What a KEY.json may say about its photos.
_FIELDS = ("licence", "license", "consent", "box", "landmarks", "attributes")


class ShardsCorpus:
    """See the module's docstring.

    Args:
        spec: a tar (plain or gzip), a folder of tars, or a brace pattern; local or a URL.
        terms: licence and consent of photos whose shard names none.
    """

    def __init__(self, spec: str | Path, terms: Terms | None = None) -> None:
        self._spec = os.fspath(spec)
        self.root = _root(self._spec)
        self.ignored: Counter[str] = Counter()
        self._terms = terms or Terms()

    def identities(self) -> Iterator[tuple[str, list[Photo]]]:
        """Every person once, gathered over all shards: reads each tar's headers, holds an index.

        Raises:
            CorpusError: no shard, a shard that is no tar or cut short, no member with a person.
        """
        self.ignored.clear()
        index = self._index()
        identity: str | None = None
        photos: list[Photo] = []
        for start in range(0, index.num_rows, _BATCH):
            part = index.slice(start, _BATCH)
            for row in zip(*(part[name].to_pylist() for name in part.column_names), strict=True):
                if row[0] != identity:
                    if identity is not None:
                        yield identity, photos
                    identity, photos = row[0], []
                photos.append(self._photo(*row))
        if identity is not None:
            yield identity, photos

    def read(self, photo: Photo) -> bytes:
        """The member's bytes, cut out of its shard."""
        found = _URI.fullmatch(photo.uri)
        if not found or ".." in found[1].split("/") or (os.path.isabs(found[1])):
            raise PhotoRejected("missing", f"{photo.uri} is no photo of these shards", "failed")
        offset, size = int(found[3]), int(found[4])
        if size > MAX_PHOTO_BYTES:
            raise PhotoRejected("huge", f"{photo.uri} has {size:,} bytes: too many for a photo")
        try:
            with open_tar(f"{self.root}/{found[1]}") as file:
                file.seek(offset)
                data: bytes = file.read(size)
        except FileNotFoundError:
            raise PhotoRejected("missing", f"the shard {found[1]} is gone", "failed") from None
        except (CorpusError, OSError, EOFError) as error:
            raise PhotoRejected("unreadable", f"cannot read {found[1]}: {error}", "failed") from error
        if len(data) != size:
            raise PhotoRejected("truncated", f"the shard {found[1]} ends within {found[2]}", "failed")
        return data

    def _index(self) -> pa.Table:
        """One row per photo of all shards, sorted: identity, uri, meta (json or null), problem (or null)."""
        import pyarrow as pa

        names = ("identity_id", "uri", "meta", "problem")
        schema = pa.schema([(name, pa.large_string()) for name in names])
        parts = []
        for shard in _list_shards(self._spec, self.root):
            rows = self._shard_rows(shard)
            if rows:
                columns = [list(column) for column in zip(*rows, strict=True)]
                parts.append(pa.table(dict(zip(names, columns, strict=True)), schema=schema))
        if not parts:
            raise CorpusError(
                f"no photo with a person in the shards {self._spec}: keep photos as PERSON/photo.jpg in the"
                f' tar, or put {{"identity_id": …}} into KEY.json beside KEY.jpg'
            )
        whole = pa.concat_tables(parts).combine_chunks()
        return whole.sort_by([("identity_id", "ascending"), ("uri", "ascending")])

    def _shard_rows(self, shard: str) -> list[tuple[str, str, str | None, str | None]]:
        found = list(members(f"{self.root}/{shard}", self.ignored))
        shared = _shared_folder(found)
        rows = []
        for member in found:
            meta = dict(member.meta)
            identity = meta.pop("identity_id", None)
            identity = _folder_identity(member.name, shared) if identity in (None, "") else str(identity)
            if not identity:
                self.ignored["members without a person"] += 1
                continue
            known = {key: meta[key] for key in _FIELDS if meta.get(key) not in (None, "", [])}
            uri = f"{shard}#{member.name}@{member.offset}+{member.size}"
            rows.append((identity, uri, json.dumps(known) if known else None, member.problem))
        return rows

    def _photo(self, identity: str, uri: str, meta: str | None, problem: str | None) -> Photo:
        known: dict[str, Any] = json.loads(meta) if meta else {}
        parsed: dict[str, Any] = {}
        parsers = {"box": parse_box, "landmarks": parse_landmarks, "attributes": parse_attributes}
        for name, parse in parsers.items():
            if name in known:
                try:
                    parsed[name] = parse(known[name])
                except (ValueError, TypeError) as error:
                    where = uri.rpartition("@")[0]
                    raise CorpusError(f"{self.root}/{where}: {name} in its json: {error}") from None
        licence = known.get("licence") or known.get("license")
        rejected = None
        if problem:
            reason, _, message = problem.partition(":")
            rejected = ("rejected", reason, message)
        return self._terms.photo(
            identity,
            uri,
            licence=str(licence) if licence else None,
            consent=consent_of(known.get("consent")),
            rejected=rejected,
            **parsed,
        )


def _root(spec: str) -> str:
    """The folder that shard names are relative to."""
    lower = spec.lower()
    if lower.endswith(_SUFFIXES):
        fixed = spec.partition("{")[0]
        root = fixed.rpartition("/")[0]
        return root if "://" in spec else os.path.abspath(root or ".")
    return spec.rstrip("/") if "://" in spec else os.path.abspath(spec)


def _list_shards(spec: str, root: str) -> list[str]:
    """Shard names relative to the root, in order. Raises CorpusError if there is none."""
    if spec.lower().endswith(_SUFFIXES):
        absolute = spec if "://" in spec else os.path.abspath(spec)
        return sorted({path[len(root) :].lstrip("/") for path in expand_braces(absolute)})
    try:
        if "://" in spec:
            import fsspec

            filesystem, path = fsspec.core.url_to_fs(spec)
            names = [entry.rstrip("/").rpartition("/")[2] for entry in filesystem.ls(path, detail=False)]
        else:
            names = os.listdir(root)
    except OSError as error:
        raise CorpusError(f"cannot list the shards in {spec}: {error.strerror or error}") from error
    shards = sorted(name for name in names if name.lower().endswith(_SUFFIXES))
    if not shards:
        raise CorpusError(f"there is no .tar, .tar.gz or .tgz in {spec}")
    return shards


def _parts(name: str) -> list[str]:
    """Folders of a member that can name a person: neither root, `.` nor `..`."""
    return [part for part in name.split("/")[:-1] if part not in ("", ".", "..")]


def _shared_folder(found: list[Member]) -> bool:
    """Whether every photo lies two folders deep under one and the same top folder."""
    folders = [_parts(member.name) for member in found if "identity_id" not in member.meta]
    return (
        bool(folders)
        and all(len(parts) >= 2 for parts in folders)
        and len({parts[0] for parts in folders}) == 1
    )


def _folder_identity(name: str, shared: bool) -> str:
    parts = _parts(name)[1 if shared else 0 :]
    return parts[0] if parts else ""
