"""The cells of a corpus table: checked as whole columns where possible, parsed row by row where not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fstriplets.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KNOWN_COLUMNS", "Columns", "consent_of", "parse_attributes", "parse_box", "parse_landmarks"]

#: Columns with a meaning; any other numeric one is an attribute.
KNOWN_COLUMNS = (
    "path", "identity_id", "licence", "license", "consent", "box", "landmarks", "attributes",
)  # fmt: skip
_BOX = ("x0", "y0", "x1", "y1")
#: Cells that say there is no consent, which is more than saying nothing.
_NO_CONSENT = frozenset(
    {"false", "no", "none", "0", "n", "n/a", "na", "null", "nan", "unknown"}
    | {"denied", "refused", "withdrawn", "revoked", "expired"}
)


class Columns:
    """A table's columns, sorted by identity and path.

    Args:
        path: of the table, for messages.
        table: as read; rows are numbered from 1 in messages, the header not counted.

    Raises:
        CorpusError: a required column is missing, an id or path is empty.
    """

    def __init__(self, path: str, table: pa.Table) -> None:
        import pyarrow.compute as pc

        self._path = path
        self.rows: int = table.num_rows
        names = table.column_names
        missing = [name for name in ("path", "identity_id") if name not in names]
        if missing:
            raise CorpusError(
                f"{path} lacks the column{'s' * (len(missing) > 1)} {' and '.join(missing)}"
                f" (it has {', '.join(names) or 'none'}): rename or add"
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise CorpusError(f"{path} has the column {repeated[0]} twice")
        box = [name for name in _BOX if name in names]
        if box and len(box) < 4:
            raise CorpusError(f"{path} has the columns {', '.join(box)}: a box needs all of x0, y0, x1, y1")
        for name in ("path", "identity_id"):
            table = table.set_column(names.index(name), name, self._text(table[name], name))
        keep = {*KNOWN_COLUMNS, *box}
        self._numeric = [n for n in names if n not in keep and _is_attribute(table.schema.field(n))]
        table = table.select([n for n in names if n in keep or n in self._numeric])
        order = pc.sort_indices(table, [("identity_id", "ascending"), ("path", "ascending")])
        self._order = order
        self._table = table.combine_chunks()  # or every take below walks all chunks

    def batch(self, start: int, size: int) -> Iterator[dict[str, Any]]:
        """Keyword arguments of `Terms.photo`, for the sorted rows from `start`."""
        order = self._order.slice(start, size)
        part = self._table.take(order)
        columns = {name: part[name].to_pylist() for name in part.column_names}
        rows = order.to_pylist()
        licences = columns.get("licence") or columns.get("license")
        consents = columns.get("consent")
        for i, row in enumerate(rows):
            yield {
                "identity_id": columns["identity_id"][i],
                "uri": columns["path"][i],
                "licence": (str(licences[i]) if licences and licences[i] not in (None, "") else None),
                "consent": consent_of(consents[i]) if consents else None,
                "box": self._box(columns, i, row),
                "landmarks": self._cell(columns, "landmarks", i, row, parse_landmarks),
                "attributes": self._attributes(columns, i, row),
            }

    def _box(self, columns: dict[str, list[Any]], i: int, row: int) -> Any:
        if "x0" in columns:
            values = [columns[name][i] for name in _BOX]
            if all(value is None or value == "" or value != value for value in values):
                return None
            try:
                return parse_box(values)
            except (ValueError, TypeError) as error:
                raise self._error(row, "x0, y0, x1, y1", str(error)) from None
        return self._cell(columns, "box", i, row, parse_box)

    def _attributes(self, columns: dict[str, list[Any]], i: int, row: int) -> dict[str, float]:
        found = self._cell(columns, "attributes", i, row, parse_attributes) or {}
        for name in self._numeric:
            value = columns[name][i]
            if value is not None and math.isfinite(value):
                found[name] = float(value)
        return found

    def _cell(self, columns: dict[str, list[Any]], name: str, i: int, row: int, parse: Any) -> Any:
        value = columns[name][i] if name in columns else None
        if value is None or value == "" or (isinstance(value, list) and not value):
            return None
        try:
            return parse(value)
        except (ValueError, TypeError) as error:
            raise self._error(row, name, str(error)) from None

    def _text(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        """The column as text without empty cells."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_floating(column.type):
            raise CorpusError(
                f"{self._path}: the column {name} holds decimal numbers (an empty cell turns whole numbers"
                f" into decimals): fill the gaps or save it as text"
            )
        try:
            text = column.cast(pa.large_string())
        except pa.ArrowException as error:
            raise CorpusError(f"{self._path}: the column {name} is no text: {error}") from error
        text = pc.utf8_trim_whitespace(text)
        empty = pc.index(pc.fill_null(pc.equal(text, ""), True), True).as_py()
        if empty >= 0:
            raise self._error(empty, name, "the cell is empty")
        return text

    def _error(self, row: int, column: str, message: str) -> CorpusError:
        return CorpusError(f"{self._path}, row {row + 1}, column {column}: {message}")


def consent_of(value: Any) -> str | None:
    """A consent cell: None if empty (the pipeline's holds), "" if it says no, else its text."""
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, bool):
        return "yes" if value else ""
    text = str(value).strip()
    return "" if text.lower() in _NO_CONSENT else text


def parse_box(value: Any) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) from a list or its JSON. Raises ValueError."""
    numbers = _numbers(value)
    if len(numbers) != 4:
        raise ValueError(f"a box is x0, y0, x1, y1; got {len(numbers)} numbers")
    x0, y0, x1, y1 = numbers
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"the box {numbers} is empty: it must be x0, y0, x1, y1 with x1 > x0 and y1 > y0")
    return x0, y0, x1, y1


def parse_landmarks(value: Any) -> tuple[tuple[float, float], ...]:
    """5 or 68 points (x, y) from a nested or flat list or its JSON. Raises ValueError."""
    numbers = _numbers(value)
    if len(numbers) not in (10, 136):
        raise ValueError(f"landmarks are 5 or 68 points x, y; got {len(numbers)} numbers")
    return tuple(zip(numbers[0::2], numbers[1::2], strict=True))


def parse_attributes(value: Any) -> dict[str, float]:
    """Name to number, from a struct, map or JSON object. Raises ValueError."""
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, list):  # how pyarrow gives maps
        value = dict(value)
    if not isinstance(value, dict):
        raise ValueError("attributes are an object of names to numbers")
    found = {str(name): float(number) for name, number in value.items() if number is not None}
    for name, number in found.items():
        if not math.isfinite(number):
            raise ValueError(f"the attribute {name} is {number}")
    return found


def _numbers(value: Any) -> list[float]:
    """Finite numbers of a possibly nested list, its JSON, or numbers apart by spaces or commas."""
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else re.split(r"[\s,;]+", text)
    if value and isinstance(value[0], list | tuple):
        value = [number for point in value for number in point]
    flat = list(map(float, value))
    if not all(map(math.isfinite, flat)):
        raise ValueError("a number is not finite")
    return flat


def _is_attribute(field: pa.Field) -> bool:
    """A numeric column, but for the row numbers that pandas leaves behind."""
    import pyarrow as pa

    if not field.name or field.name.startswith(("__", "Unnamed:")):
        return False
    kind = field.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
