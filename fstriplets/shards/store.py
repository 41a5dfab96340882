"""A dataset folder behind an fsspec URL: local, s3://, gs://, memory://.

Nothing under its final name is ever half written. Locally: unique temporary name in the same
folder, write, fsync, rename, fsync the folder. Object stores have no rename, but a put shows up
whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fstriplets.errors import MissingDependency, OutputError

__all__ = ["Store"]

#: `Store.list` hides the builtin inside the class.
Names = list[str]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_DRIVERS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
#: Ours, with host and process in the name: `.train-000000.tar.3f9a01bc-4711-5e0b7a9c.fstmp`.
_TEMPORARY = re.compile(r"^\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.fstmp$")
#: Temporary files this process is writing right now.
_OPEN: set[str] = set()


class Store:
    """Files of one dataset; every path is relative to its folder, with `/`.

    Args:
        url: a folder or an fsspec URL. It need not exist: writing makes it.

    Raises:
        OutputError: the URL's protocol is unknown.
        MissingDependency: its driver is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/") or "/"
        try:
            # No cache of listings: other processes write beside us.
            self.fs, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            protocol = self.url.partition("://")[0]
            package, extra = _DRIVERS.get(protocol, (f"the fsspec driver of {protocol}", protocol))
            raise MissingDependency(package, extra, f"{self.url}") from error
        except ValueError as error:
            raise OutputError(f"{self.url}: {error}; use a folder, s3://, gs:// or memory://") from error
        self.root = str(root).rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        if self.local:  # absolute, so that it means the same to a worker started elsewhere
            self.url = self.root or "/"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store, (self.url,))

    def full(self, path: str) -> str:
        """The path as the file system wants it."""
        return f"{self.root}/{path}" if path else self.root

    def write(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Write a file in one step: it has its old content, or all of the new one.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        chunks: Iterable[bytes] = (data,) if isinstance(data, bytes) else data
        with self._clear_errors():
            if self.local:
                _write_local(Path(self.full(path)), chunks)
            else:
                _write_object(self.fs, self.full(path), chunks)

    def read(self, path: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        data: bytes = self.fs.cat_file(self.full(path))
        return data

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, by a range read: what a manifest's offsets are for."""
        data: bytes = self.fs.cat_file(self.full(path), start=offset, end=offset + size)
        return data

    def open(self, path: str) -> IO[bytes]:
        """The file for reading, with seek."""
        if self.local:
            return open(self.full(path), "rb")
        handle: IO[bytes] = self.fs.open(self.full(path), "rb")
        return handle

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(self.full(path)))

    def size(self, path: str) -> int | None:
        """Bytes of the file, None if there is none."""
        try:
            return int(self.fs.info(self.full(path))["size"])
        except FileNotFoundError:
            return None

    def list(self, folder: str) -> Names:
        """Paths of the files right inside `folder`, sorted; temporary files are left out."""
        prefix = f"{folder}/" if folder else ""
        return sorted(prefix + name for name, kind in self._entries(folder) if kind == "file")

    def listdir(self, folder: str) -> Names:
        """Names of the files and folders right inside `folder`, sorted; no temporary files."""
        return sorted(name for name, _ in self._entries(folder))

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; one that is not there is no error."""
        with self._clear_errors(), suppress(FileNotFoundError):
            self.fs.rm(self.full(path), recursive=True)

    def sweep(self, older_than: float = 3600.0) -> int:
        """Remove what killed writers left behind, and nothing else.

        A temporary file stays while its process lives on this host; one of another host stays until
        it is `older_than` seconds old. Object stores leave none.

        Returns:
            How many were removed.
        """
        if not self.local or not os.path.isdir(self.root):
            return 0
        removed = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                match = _TEMPORARY.match(name)
                path = os.path.join(folder, name)
                if match and path not in _OPEN and _stale(path, match, older_than):
                    with self._clear_errors(), suppress(FileNotFoundError):
                        os.unlink(path)
                        removed += 1
        return removed

    def _entries(self, folder: str) -> Iterator[tuple[str, str]]:
        try:
            found = self.fs.ls(self.full(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in found:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if not _TEMPORARY.match(name):
                yield name, str(entry["type"])

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turn what a person can mend into OutputError; anything else passes through."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise OutputError(
                    f"{self.url}: no space left; finished shards are intact. Free some space, or move the"
                    " folder and give --output its new place, then run the same command to resume"
                ) from error
            if error.errno in _FORBIDDEN or isinstance(error, PermissionError):
                raise OutputError(
                    f"{self.url}: cannot be written ({error.strerror or error}); change its permissions,"
                    " or give another folder with --output"
                ) from error
            if error.errno in {errno.ENOTDIR, errno.EEXIST}:
                raise OutputError(
                    f"{self.url}: a file is in the way of a folder ({error.filename or error});"
                    " give another folder with --output"
                ) from error
            raise


def _write_local(path: Path, chunks: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.fstmp"
    _OPEN.add(str(temporary))
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        _OPEN.discard(str(temporary))


def _write_object(fs: Any, path: str, chunks: Iterable[bytes]) -> None:
    # Not through fs.open: when the chunks raise half way, closing the file would put what there is.
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, b"".join(chunks))


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems refuse to sync folders
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _stale(path: str, match: re.Match[str], older_than: float) -> bool:
    if match["host"] == _host():
        pid = int(match["pid"])
        return pid == os.getpid() or not _alive(pid)
    with suppress(FileNotFoundError):
        return time.time() - os.stat(path).st_mtime > older_than
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
