"""Downloads of weights: resumed where they broke off, verified before they count as installed."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fstriplets.errors import WeightsError
from fstriplets.models.weights.store import file_sha256, install, require, weights_folder
from fstriplets.models.weights.table import WeightsEntry, entry

__all__ = ["pull"]

Progress = Callable[[int, int], None]
_BLOCK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_PAUSE = 0.5  # seconds before the second try, doubled before each further one


def pull(name: str, *, attempts: int = 3, progress: Progress | None = None) -> Path:
    """Download the weights `name` into the weights folder and verify them.

    A download that broke off stays as `.FILE.part` and is resumed by the next call, where the server
    takes range requests. Addresses may be http(s)://, file:// or anything fsspec opens (s3://, gs://).

    Args:
        attempts: tries before giving up; each resumes the last.
        progress: called with (bytes so far, bytes in all).

    Raises:
        WeightsError: no address known, unreachable, or the bytes are not the registered ones.
    """
    wanted = entry(name)
    if wanted.bundled:
        return require(name)
    if not wanted.url:
        raise WeightsError(
            f"no public address is known for {name!r}: get {wanted.file} from"
            f" {wanted.source or 'its authors'} and run: fstriplets weights import {wanted.file}"
        )
    folder = weights_folder()
    final, part = folder / wanted.file, folder / f".{wanted.file}.part"
    if final.is_file() and file_sha256(final) == wanted.sha256:
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"cannot write weights to {folder}: {error}") from error
    _with_retries(wanted, part, attempts, progress)
    return _accept(wanted, part)


def _with_retries(wanted: WeightsEntry, part: Path, attempts: int, progress: Progress | None) -> None:
    for attempt in range(1, attempts + 1):
        error = _try(wanted, part, progress)
        if error is None:
            return
        permanent = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410)
        if permanent or attempt == attempts:
            raise WeightsError(
                f"cannot download {wanted.name!r} from {wanted.url}: {error}; without a network take a"
                f" local copy: fstriplets weights import {wanted.file}"
            ) from error
        time.sleep(_PAUSE * 2 ** (attempt - 1))


def _try(wanted: WeightsEntry, part: Path, progress: Progress | None) -> Exception | None:
    try:
        _fetch(wanted, part, progress)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        return error
    return None


def _fetch(wanted: WeightsEntry, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= wanted.bytes:  # a whole or overlong leftover: nothing to resume
        if have == wanted.bytes and file_sha256(part) == wanted.sha256:
            return
        part.unlink()
        have = 0
    with _open(wanted.url, have) as (stream, start), part.open("r+b" if start else "wb") as target:
        target.seek(start)
        target.truncate()
        while block := stream.read(_BLOCK):
            target.write(block)
            if target.tell() > wanted.bytes:
                break  # an error page or another file: the hash check says so
            if progress is not None:
                progress(target.tell(), wanted.bytes)
        target.flush()
        os.fsync(target.fileno())
        if target.tell() < wanted.bytes:
            raise ConnectionError(f"broke off after {target.tell()} of {wanted.bytes} bytes")


class _open:
    """Context manager: a stream of the address from byte `have` on, and where it really starts."""

    def __init__(self, url: str, have: int) -> None:
        self.url, self.have = url, have
        self._stream: IO[bytes] | Any

    def __enter__(self) -> tuple[IO[bytes] | Any, int]:
        if self.url.startswith(("http://", "https://")):
            request = urllib.request.Request(self.url, headers={"User-Agent": "fstriplets"})
            if self.have:
                request.add_header("Range", f"bytes={self.have}-")
            self._stream = urllib.request.urlopen(request, timeout=_TIMEOUT)
            return self._stream, self.have if self._stream.status == 206 else 0
        import fsspec

        self._stream = fsspec.open(self.url, "rb").open()
        if self.have:
            self._stream.seek(self.have)
        return self._stream, self.have

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _accept(wanted: WeightsEntry, part: Path) -> Path:
    found = file_sha256(part)
    if found != wanted.sha256:
        part.unlink()
        raise WeightsError(
            f"{wanted.url} serves another file than the registered {wanted.name!r}: sha256 {found[:12]}…,"
            f" registered {wanted.sha256[:12]}…; nothing was installed"
        )
    final = install(wanted, part)
    part.unlink()
    return final
