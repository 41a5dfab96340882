"""Tar headers, walked without extracting: which members are photos, and where their bytes lie."""

from __future__ import annotations

import gzip
import json
import os
import re
import tarfile
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import IO, Any

from fstriplets.corpus.folder import is_sidecar
from fstriplets.errors import CorpusError

__all__ = ["Member", "expand_braces", "members", "open_tar"]

_MAX_META = 1 << 20  # bytes of a KEY.json; larger ones are no metadata of a photo
_UNPACKED = 2  # gzip shards a process keeps unpacked
_CODE_SUFFIXES = frozenset({".pyd", ".so", ".dll", ".exe", ".cls", ".index", ".idx"})
_unpacked: OrderedDict[str, IO[bytes]] = OrderedDict()


@dataclass(slots=True)
class Member:
    """A photo inside a tar.

    Attributes:
        name: as the tar has it.
        offset, size: of its bytes in the (unpacked) tar.
        problem: "reason: message" if it must not be read, else None.
        meta: what KEY.json says.
    """

    name: str
    offset: int
    size: int
    problem: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def members(url: str, ignored: Counter[str]) -> Iterator[Member]:
    """Photos of a tar in order, with their keys' metadata.

    Raises:
        CorpusError: the tar is missing, damaged or cut short.
    """
    try:
        yield from _members(url, ignored)
    except OSError as error:
        raise CorpusError(f"cannot read the shard {url}: {error.strerror or error}") from error


def _members(url: str, ignored: Counter[str]) -> Iterator[Member]:
    with open_tar(url) as file:
        key: str | None = None
        group: list[Member] = []
        meta: dict[str, Any] = {}
        for info in _headers(url, file):
            if info.isdir():
                continue
            folder, _, base = info.name.rpartition("/")
            this = f"{folder}/{base.partition('.')[0]}"
            if this != key:
                yield from _with_meta(group, meta)
                key, group, meta = this, [], {}
            suffix = os.path.splitext(base)[1].lower()
            if suffix in (".json", ".cls") and info.isreg():
                meta = _read_meta(file, info, suffix, ignored) | meta
            elif is_sidecar(base) or suffix in _CODE_SUFFIXES:
                ignored[f"{suffix or 'hidden'} files"] += 1
            else:
                group.append(Member(info.name, info.offset_data, info.size, _problem(info)))
        yield from _with_meta(group, meta)


def _with_meta(group: list[Member], meta: dict[str, Any]) -> list[Member]:
    for member in group:
        member.meta = meta
    return group


def _problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return f"link_member:{info.name} is a link; links in shards are not followed"
    if not info.isreg() or info.sparse is not None:
        return f"not_a_file:{info.name} is no regular file"
    if info.name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", info.name):
        return f"unsafe_path:{info.name} points outside its shard"
    try:
        info.name.encode()
    except UnicodeEncodeError:
        return f"bad_name:the member's name {info.name!a} is not UTF-8"
    return None


def _headers(url: str, file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Every header, and a check that the tar was not cut short (tarfile stops there without a word)."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or it keeps every header
                _make_utf8(info)
                yield info
            end = tar.offset
            file.seek(end)
            block = file.read(512)
    except tarfile.TarError as error:
        raise CorpusError(
            f"the shard {url} is damaged or no tar: {error}; fetch it again or leave it out"
        ) from error
    if len(block) < 512 or block.strip(b"\0"):
        raise CorpusError(
            f"the shard {url} is cut short or damaged at byte {end:,} (it lacks its end marker);"
            f" fetch it again or leave it out"
        )


def _make_utf8(info: tarfile.TarInfo) -> None:
    """Spell out bytes that are no UTF-8: manifests could not hold the name."""
    try:
        info.name.encode()
    except UnicodeEncodeError:
        info.name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _read_meta(file: IO[bytes], info: tarfile.TarInfo, suffix: str, ignored: Counter[str]) -> dict[str, Any]:
    if info.size > _MAX_META:
        ignored[f"{suffix} files too large for metadata"] += 1
        return {}
    file.seek(info.offset_data)
    data = file.read(info.size)
    try:
        if suffix == ".cls":
            return {"identity_id": data.decode().strip()}
        meta = json.loads(data)
    except (ValueError, RecursionError):
        ignored[f"unreadable {suffix} files"] += 1
        return {}
    return meta if isinstance(meta, dict) else {}


@contextmanager
def open_tar(url: str) -> Iterator[IO[bytes]]:
    """A tar's bytes, seekable. A gzip tar is unpacked once a process into an unnamed temporary file.

    Raises:
        CorpusError: a gzip tar is damaged, or unpacks to far more than it weighs.
        OSError: the file cannot be opened.
    """
    packed = url.lower().endswith((".gz", ".tgz"))
    if packed and url in _unpacked:
        _unpacked.move_to_end(url)
        _unpacked[url].seek(0)
        yield _unpacked[url]
        return
    if "://" in url:
        import fsspec

        opened = fsspec.open(url, "rb").open()
    else:
        opened = open(url, "rb")  # noqa: SIM115
    with opened as file:
        if not packed:
            yield file
            return
        unpacked = _unpack(url, file)
    _unpacked[url] = unpacked
    while len(_unpacked) > _UNPACKED:
        _unpacked.popitem(last=False)[1].close()
    unpacked.seek(0)
    yield unpacked


def _unpack(url: str, file: IO[bytes]) -> IO[bytes]:
    """Photos hardly compress: a gzip that grows more than fiftyfold is a bomb."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    limit = 50 * size + (64 << 20)
    unpacked: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with gzip.open(file) as source:
            while block := source.read(1 << 20):
                unpacked.write(block)
                if unpacked.tell() > limit:
                    raise CorpusError(f"the shard {url} unpacks to more than {limit:,} bytes: left alone")
    except (EOFError, gzip.BadGzipFile) as error:
        unpacked.close()
        raise CorpusError(f"the shard {url} is no whole gzip file: {error}") from error
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..12}.tar` and `{a,b}.tar`, as shells and webdataset expand them."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if i % 2 == 0 else _choices(piece) for i, piece in enumerate(pieces)]
    return ["".join(parts) for parts in product(*choices)]


def _choices(inner: str) -> list[str]:
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inner)
    if not span:
        return inner.split(",")
    low, high = int(span[1]), int(span[2])
    return [str(number).zfill(len(span[1])) for number in range(low, high + 1)]
