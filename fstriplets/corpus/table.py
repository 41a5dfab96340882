"""A csv or parquet table with one row per photo: `path, identity_id` and whatever else is known.

Columns beside those two, all optional: `licence` (or `license`), `consent`, `box` (x0, y0, x1, y1) or the
four columns `x0 y0 x1 y1`, `landmarks` (5 or 68 points), `attributes` (name: number). In csv these are
JSON (`[10, 20, 110, 140]`), in parquet lists. Any other numeric column becomes an attribute. Paths are
relative to the table's folder, or absolute, or URLs. Rows are sorted by pyarrow and turned into Photos in
batches, so that a million rows take seconds and memory stays that of the columns.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fstriplets.corpus.base import Terms, read_any
from fstriplets.corpus.cells import KNOWN_COLUMNS, Columns
from fstriplets.errors import CorpusError
from fstriplets.records import Photo

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableCorpus"]

_BATCH = 20_000


class TableCorpus:
    """See the module's docstring.

    Args:
        spec: the table, or a folder that holds one (open.TABLE_NAMES), local or a URL.
        terms: licence and consent of photos whose row names none.

    Raises:
        CorpusError: no such table.
    """

    def __init__(self, spec: str | Path, terms: Terms | None = None) -> None:
        self.path = _locate(os.fspath(spec))
        folder = self.path.rpartition("/")[0] if "://" in self.path else os.path.dirname(self.path)
        self.root = folder
        self.ignored: Counter[str] = Counter()
        self._terms = terms or Terms()

    def identities(self) -> Iterator[tuple[str, list[Photo]]]:
        """Every person once. Raises CorpusError that names file, row and column of a bad cell."""
        self.ignored.clear()
        columns = Columns(self.path, _read_table(self.path))
        identity: str | None = None
        photos: list[Photo] = []
        for start in range(0, columns.rows, _BATCH):
            for cells in columns.batch(start, _BATCH):
                if cells["identity_id"] != identity:
                    if identity is not None:
                        yield identity, photos
                    identity, photos = cells["identity_id"], []
                elif photos and photos[-1].uri == cells["uri"]:
                    self.ignored["repeated rows"] += 1
                    continue
                photos.append(self._terms.photo(**cells))
        if identity is None:
            raise CorpusError(f"{self.path} has no rows")
        yield identity, photos

    def read(self, photo: Photo) -> bytes:
        """The photo's file: `photo.uri` under the table's folder, or the absolute path or URL it is."""
        return read_any(self.root, photo.uri)


def _locate(spec: str) -> str:
    from fstriplets.corpus.open import TABLE_NAMES

    if "://" in spec:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(spec)
        for name in TABLE_NAMES if filesystem.isdir(path) else ():
            if filesystem.exists(f"{path}/{name}"):
                return f"{spec.rstrip('/')}/{name}"
        if not filesystem.isfile(path):
            raise CorpusError(f"the table {spec} does not exist")
        return spec
    if os.path.isdir(spec):
        for name in TABLE_NAMES:
            if os.path.isfile(os.path.join(spec, name)):
                return os.path.abspath(os.path.join(spec, name))
        raise CorpusError(f"the folder {spec} holds none of {', '.join(TABLE_NAMES)}")
    if not os.path.isfile(spec):
        raise CorpusError(f"the table {spec} does not exist")
    return os.path.abspath(spec)


def _read_table(path: str) -> pa.Table:
    """All columns, csv text left as text where it must not be guessed (ids such as 007)."""
    import fsspec
    import pyarrow as pa
    from pyarrow import csv

    lower = path.lower()
    try:
        with fsspec.open(path, "rb") as file:
            if lower.endswith((".parquet", ".pq")):
                return _read_parquet(file)
            header = file.readline().decode("utf-8-sig")
            delimiter = max("\t;,", key=lambda sign: header.count(sign))
            file.seek(0)
            return csv.read_csv(
                file,
                parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types={name: pa.string() for name in KNOWN_COLUMNS}
                ),
            )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} is no readable table: {error}") from error
    except OSError as error:
        raise CorpusError(f"cannot read the table {path}: {error.strerror or error}") from error


def _read_parquet(file: IO[bytes]) -> pa.Table:
    """Without the lists and blobs (embeddings, pictures) of columns we have no use for."""
    import pyarrow as pa
    from pyarrow import parquet

    source = parquet.ParquetFile(file)
    wanted = [
        field.name
        for field in source.schema_arrow
        if field.name in KNOWN_COLUMNS or not (pa.types.is_nested(field.type) or _is_blob(field.type))
    ]
    return source.read(columns=wanted)


def _is_blob(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )
