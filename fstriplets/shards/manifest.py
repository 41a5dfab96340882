"""Manifest parts: records in, parquet out, and back.

The schemas of `records.schema` are the only ones. Parts are deterministic: fixed row groups,
zstd, no timestamps, and rows in the order they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fstriplets.records import Edit, schema
from fstriplets.shards.layout import manifest_folder, manifest_path
from fstriplets.shards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["iter_manifest", "parquet_bytes", "read_manifest", "row_of", "table_of"]

#: What the accept gates measured and the edits manifest has a column for; the rest is a map.
_MEASURED = ("identity_similarity", "changed_area", "outside_change", "inside_change")
#: Rows a parquet row group has at most; parts are about a shard, so mostly there is one group.
_ROW_GROUP = 16_384


def row_of(record: Any, **extra: Any) -> dict[str, Any]:
    """A record, or a row that is one already, as a row of its manifest.

    Args:
        record: Photo, Face, Edit, Triplet, or a dict of columns.
        extra: further columns, e.g. `split`.
    """
    if isinstance(record, dict):
        return {**record, **extra}
    row = {name: getattr(record, name) for name in record.__slots__}
    if isinstance(record, Edit):
        values = row.pop("values")
        row |= {name: values.get(name) for name in _MEASURED}
        row["attribute_scores"] = {k: v for k, v in values.items() if k not in _MEASURED}
    return row | extra


def table_of(manifest: str, rows: Iterable[Any]) -> pa.Table:
    """Rows (mappings or records) as a table of the manifest's schema; missing columns are null.

    Raises:
        ValueError: a row has a column the schema does not know; it would be lost in silence.
    """
    import pyarrow as pa

    wanted = schema(manifest)
    names = set(wanted.names)
    ready = [row_of(row) for row in rows]
    for row in ready:
        if not row.keys() <= names:
            unknown = ", ".join(sorted(row.keys() - names))
            raise ValueError(f"manifest {manifest} has no column {unknown}")
    columns = [pa.array(_column(ready, field), field.type) for field in wanted]
    return pa.Table.from_arrays(columns, schema=wanted)


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as one parquet file; the same table gives the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3, row_group_size=_ROW_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_manifest(dataset: Store | str | Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole manifest, all parts, in the order of the shards.

    Args:
        dataset: the dataset folder or URL.
        name: `photos`, `faces`, `edits` or `triplets`.
        columns: only these are read from the disk; embeddings and landmarks are most of a manifest.

    Returns:
        A table of `records.schema(name)`, empty when the dataset has no such part. For a dataset
        larger than memory use `iter_manifest`.
    """
    import pyarrow as pa

    parts = list(iter_manifest(dataset, name, columns))
    if parts:
        return pa.concat_tables(parts)
    wanted = schema(name)
    return (pa.schema([wanted.field(c) for c in columns]) if columns is not None else wanted).empty_table()


def iter_manifest(
    dataset: Store | str | Path, name: str, columns: Sequence[str] | None = None, split: str | None = None
) -> Iterator[pa.Table]:
    """A manifest part by part (one a shard), so that memory does not grow with the dataset."""
    import pyarrow.parquet as pq

    store = dataset if isinstance(dataset, Store) else Store(dataset)
    for path in store.list(manifest_folder(name)):
        stem = path.rpartition("/")[2]
        if not stem.endswith(".parquet") or (split is not None and stem.rpartition("-")[0] != split):
            continue
        with store.open(path) as file:
            yield pq.read_table(file, columns=list(columns) if columns is not None else None)


def read_part(store: Store, name: str, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One shard's part of a manifest. Raises FileNotFoundError."""
    import pyarrow.parquet as pq

    with store.open(manifest_path(name, shard)) as file:
        return pq.read_table(file, columns=list(columns) if columns is not None else None)


def _column(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> list[Any]:
    """A column's values as pyarrow takes them: maps as sorted pairs, points flattened to one list."""
    import pyarrow as pa

    values = [row.get(field.name) for row in rows]
    if pa.types.is_map(field.type):
        return [sorted(value.items()) if isinstance(value, dict) else value for value in values]
    if pa.types.is_list(field.type):
        return [_flat(value) for value in values]
    return values


def _flat(value: Any) -> Any:
    if value and isinstance(value[0], tuple | list):
        return [number for point in value for number in point]
    return value
