"""A folder with one folder per person: `root/PERSON/any/depth/photo.jpg`.

Every file below a person's folder is a photo, whatever its suffix (decoding judges it), except for what
was clearly never meant as one: hidden files and sidecars, which are passed over and counted in `ignored`.
Symlinks are followed inside the root; those that leave it or lead nowhere become rejected rows and are
never opened. The scan holds one person at a time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fstriplets.corpus.base import Terms, read_local
from fstriplets.errors import CorpusError, PhotoRejected
from fstriplets.records import Photo

__all__ = ["PHOTO_SUFFIXES", "SIDECAR_SUFFIXES", "FolderCorpus", "is_sidecar"]

#: Suffixes a photo usually has: to recognise a corpus, not to choose files.
PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm"}
)
#: Files that lie beside photos and are none.
SIDECAR_SUFFIXES = frozenset(
    {".txt", ".md", ".html", ".htm", ".pdf", ".log", ".ini", ".db", ".lnk", ".url", ".tmp", ".part"}
    | {".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".parquet", ".arrow"}
    | {".npy", ".npz", ".pkl", ".mat", ".pts", ".pt", ".pth", ".h5", ".hdf5"}
    | {".xmp", ".aae", ".thm", ".sha256", ".md5", ".py", ".sh"}
    | {".tar", ".gz", ".tgz", ".zip", ".7z", ".rar"}
)
_SIDECAR_NAMES = frozenset({"thumbs.db", "desktop.ini", "license", "licence", "readme", "makefile"})


def is_sidecar(name: str) -> bool:
    """Whether a file of that name was never meant as a photo (hidden, or text and data beside photos)."""
    lower = name.lower()
    return lower.startswith(".") or os.path.splitext(lower)[1] in SIDECAR_SUFFIXES or lower in _SIDECAR_NAMES


class FolderCorpus:
    """See the module's docstring.

    Args:
        root: folder that holds the persons' folders.
        terms: licence and consent of every photo.

    Raises:
        CorpusError: no such folder, no permission.
    """

    def __init__(self, root: str | Path, terms: Terms | None = None) -> None:
        if not os.path.isdir(root):
            raise CorpusError(f"{root} is no folder; a corpus is a folder with one folder per person")
        self.root = os.path.abspath(root)
        self.ignored: Counter[str] = Counter()
        self._terms = terms or Terms()
        self._real = os.path.realpath(self.root)
        self._inside = self._real.rstrip(os.sep) + os.sep

    def identities(self) -> Iterator[tuple[str, list[Photo]]]:
        """Every person once; a folder's name is the id. Raises CorpusError if there is no photo."""
        self.ignored.clear()
        found = False
        for name in self._people():
            photos = list(self._scan(_printable(name), name, set()))
            if not photos:
                self.ignored["folders without photos"] += 1
                continue
            found = True
            photos.sort(key=lambda photo: photo.uri)
            yield photos[0].identity_id, photos
        if not found:
            raise CorpusError(
                f"{self.root} holds no photo in any of its folders; arrange them as"
                f" {Path(self.root).name}/PERSON/photo.jpg, or give a table (csv, parquet) or tar shards"
            )

    def read(self, photo: Photo) -> bytes:
        """The photo's file; links are checked again, so that nothing outside the root is ever read."""
        path = os.path.join(self.root, *photo.uri.split("/"))
        problem = self._link_problem(path)
        if problem:
            raise PhotoRejected(problem[1], problem[2], problem[0])
        return read_local(path)

    def _people(self) -> list[str]:
        """Names of the persons' folders, sorted as their ids will be."""
        people, loose = [], 0
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        self.ignored["hidden files"] += 1
                    elif entry.is_dir() or entry.is_symlink():
                        people.append(entry.name)
                    elif os.path.splitext(entry.name)[1].lower() in PHOTO_SUFFIXES:
                        loose += 1
                    else:
                        self._ignore(entry.name)
        except PermissionError:
            raise CorpusError(f"no permission to list the corpus {self.root}") from None
        except FileNotFoundError:
            raise CorpusError(f"the corpus {self.root} does not exist any more") from None
        if loose and not people:
            raise CorpusError(
                f"{self.root} holds {loose:,} photos but no folders: put each person's photos into a folder"
                f" of their own ({Path(self.root).name}/PERSON/photo.jpg), or name each photo's person in"
                f" a table with the columns path, identity_id (csv or parquet) and give that as the corpus"
            )
        if loose:
            self.ignored["photos outside the persons' folders"] += loose
        return sorted(people, key=_printable)

    def _scan(self, identity: str, relative: str, above: set[tuple[int, int]]) -> Iterator[Photo]:
        """Photos below `root/relative`, which may be a link; `above`: folders on the way, against loops."""
        path = os.path.join(self.root, relative)
        problem = self._link_problem(path) if os.path.islink(path) else None
        try:
            info = None if problem else os.stat(path)
        except OSError as error:
            problem = ("failed", "unreadable", f"cannot look at {_printable(relative)}: {error.strerror}")
            info = None
        if info is not None and not os.path.isdir(path):  # a link beside the persons' folders, to a file
            self._ignore(relative)
            return
        if info is not None and (info.st_dev, info.st_ino) in above:
            problem = ("rejected", "symlink_loop", f"{_printable(relative)} is a link to a folder above it")
        if problem or info is None:
            yield self._photo(identity, relative, problem)
            return
        above = above | {(info.st_dev, info.st_ino)}
        try:
            with os.scandir(path) as entries:
                listed = list(entries)
        except OSError as error:
            message = f"cannot list the folder {_printable(relative)}: {error.strerror}"
            yield self._photo(identity, relative, ("failed", "no_permission", message))
            return
        prefix = relative.replace(os.sep, "/") + "/"
        for entry in listed:
            name = entry.name
            if is_sidecar(name):
                self._ignore(name)
            elif entry.is_symlink():
                yield from self._follow(identity, prefix + name, above)
            elif entry.is_dir():
                yield from self._scan(identity, prefix + name, above)
            elif entry.is_file():
                yield self._photo(identity, prefix + name)
            else:
                message = f"{_printable(prefix + name)} is a pipe, socket or device"
                yield self._photo(identity, prefix + name, ("rejected", "not_a_file", message))

    def _follow(self, identity: str, relative: str, above: set[tuple[int, int]]) -> Iterator[Photo]:
        path = os.path.join(self.root, relative)
        problem = self._link_problem(path)
        if problem is None and os.path.isdir(path):
            yield from self._scan(identity, relative, above)
        else:
            yield self._photo(identity, relative, problem)

    def _link_problem(self, path: str) -> tuple[str, str, str] | None:
        """(status, reason, message) if the path, links resolved, lies outside the root or nowhere."""
        real = os.path.realpath(path)
        shown = _printable(os.path.relpath(path, self.root))
        if real != self._real and not real.startswith(self._inside):
            return "rejected", "symlink_escapes", f"{shown} leads outside the corpus and is not read"
        if os.path.islink(path) and not os.path.exists(path):
            return "rejected", "symlink_dangling", f"{shown} is a link to nothing"
        return None

    def _photo(self, identity: str, relative: str, rejected: tuple[str, str, str] | None = None) -> Photo:
        uri = _printable(relative)
        if uri != relative and rejected is None:
            rejected = ("rejected", "bad_name", f"the file name {uri!r} is not UTF-8: rename the file")
        return self._terms.photo(identity, uri, rejected=rejected)

    def _ignore(self, name: str) -> None:
        suffix = os.path.splitext(name)[1].lower()
        self.ignored["hidden files" if name.startswith(".") else f"{suffix or 'other'} files"] += 1


def _printable(name: str) -> str:
    """The name with bytes that are no UTF-8 written as \\xNN, so that manifests can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name
