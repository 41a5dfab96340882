"""What a corpus is: photos grouped by person, with the licence and consent each one came with.

A backend lives in a file of its own in this folder and is named in __init__.py; other packages add
theirs through the entry-point group `fstriplets.corpora` and are chosen as `--corpus NAME:SPEC`.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fstriplets.errors import PhotoRejected
from fstriplets.records import Photo, content_id

if TYPE_CHECKING:
    import numpy as np

    from fstriplets.config import PipelineConfig

__all__ = [
    "MAX_PHOTO_BYTES",
    "Corpus",
    "DecodedPhoto",
    "Terms",
    "passed_over",
    "read_any",
    "read_local",
    "read_url",
]

#: A file larger than this is no photo (a video, a disk image) and is not read into memory.
MAX_PHOTO_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto:
    """A photo's pixels, upright.

    Attributes:
        pixels: uint8 [H, W, 3] sRGB, EXIF rotation applied, transparency laid on white.
        format: container, lower case: `jpeg`, `png`, `webp`, …
    """

    pixels: np.ndarray
    format: str

    @property
    def width(self) -> int:
        """Pixels across, after rotation."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels down, after rotation."""
        return int(self.pixels.shape[0])


@runtime_checkable
class Corpus(Protocol):
    """Photos grouped by identity. Opening one is cheap; `identities` scans, and opens no photo.

    Attributes:
        root: what relative uris are relative to, a folder or URL.
        ignored: what the last scan passed over without a row, by kind (`.txt files`, …).
    """

    root: str
    ignored: Counter[str]

    def identities(self) -> Iterator[tuple[str, list[Photo]]]:
        """Every person once, ids ascending, photos ascending by uri. Raises CorpusError."""
        ...

    def read(self, photo: Photo) -> bytes:
        """The photo's file, found by `photo.uri` alone. Raises PhotoRejected(status="failed")."""
        ...


def passed_over(corpus: Corpus) -> str:
    """What the corpus' last scan ignored, as one line; empty if nothing."""
    counts = corpus.ignored.most_common()
    text = ", ".join(f"{count:,} {what}" for what, count in counts[:6])
    more = f" and {len(counts) - 6} other kinds" if len(counts) > 6 else ""
    return f"passed over in the corpus: {text}{more}" if text else ""


@dataclass(frozen=True, slots=True)
class Terms:
    """The pipeline's licence and consent, for photos whose corpus names none.

    `require_consent` rejects photos with no consent on record before anybody reads them.
    """

    licence: str = ""
    consent: str = ""
    require_consent: bool = False

    @classmethod
    def of(cls, config: PipelineConfig) -> Terms:
        """The terms a pipeline sets."""
        return cls(config.licence, config.consent, config.require_consent)

    def photo(
        self,
        identity_id: str,
        uri: str,
        *,
        licence: str | None = None,
        consent: str | None = None,
        box: tuple[float, float, float, float] | None = None,
        landmarks: tuple[tuple[float, float], ...] | None = None,
        attributes: dict[str, float] | None = None,
        rejected: tuple[str, str, str] | None = None,
    ) -> Photo:
        """A Photo under these terms.

        Args:
            licence, consent: what the corpus says; None takes the pipeline's, an empty consent
                means that there is none, whatever the pipeline says.
            rejected: (status, reason, message) if the corpus itself turns the photo down.
        """
        consent = self.consent if consent is None else consent
        if rejected is None and self.require_consent and not consent:
            rejected = (
                "rejected",
                "no_consent",
                "require_consent is set and no consent is on record for this photo",
            )
        status, reason, message = rejected or ("ok", "", "")
        return Photo(
            content_id(identity_id, uri),
            identity_id,
            uri,
            self.licence if licence is None else licence,
            consent,
            box,
            landmarks,
            attributes or {},
            status,
            reason,
            message,
        )


def read_local(path: str) -> bytes:
    """A regular file's bytes.

    Raises:
        PhotoRejected: with status "failed" if the file is gone or not ours to read, "rejected" if it
            is no regular file (a pipe would wait for ever) or larger than MAX_PHOTO_BYTES.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise PhotoRejected("missing", "the file does not exist", "failed") from None
    except PermissionError:
        raise PhotoRejected("no_permission", "no permission to read the file", "failed") from None
    except OSError as error:
        raise PhotoRejected("unreadable", f"the file cannot be opened: {error.strerror}", "failed") from error
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise PhotoRejected("not_a_file", "a folder, pipe or device, no file")
        if info.st_size > MAX_PHOTO_BYTES:
            raise PhotoRejected("huge", f"the file has {info.st_size:,} bytes: too many for a photo")
        try:
            return file.read()
        except OSError as error:
            raise PhotoRejected(
                "unreadable", f"the file cannot be read: {error.strerror}", "failed"
            ) from error


def read_any(root: str, uri: str) -> bytes:
    """The file `uri` names: relative to `root`, absolute, or a URL. Raises PhotoRejected."""
    if "://" in uri:
        return read_url(uri)
    if os.path.isabs(uri):
        return read_local(uri)
    return read_url(f"{root}/{uri}") if "://" in root else read_local(os.path.join(root, *uri.split("/")))


def read_url(url: str) -> bytes:
    """An object's bytes through fsspec. Raises PhotoRejected as `read_local` does."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        size = filesystem.size(path)
        if size is not None and size > MAX_PHOTO_BYTES:
            raise PhotoRejected("huge", f"the object has {size:,} bytes: too many for a photo")
        data: bytes = filesystem.cat_file(path)
        return data
    except FileNotFoundError:
        raise PhotoRejected("missing", "the object does not exist", "failed") from None
    except PermissionError:
        raise PhotoRejected("no_permission", "no permission to read the object", "failed") from None
    except (OSError, ValueError) as error:
        raise PhotoRejected("unreadable", f"the object cannot be read: {error}", "failed") from error
