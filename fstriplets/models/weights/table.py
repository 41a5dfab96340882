"""The table of weights: manifests/weights.yaml, and a user's own table beside it.

A weights entry says where a file comes from, which bytes it must be, and under which licence; the
licence travels with everything the weights touch. Entries of the file named by the environment
variable FSTRIPLETS_WEIGHTS_REGISTRY come on top and win over shipped ones of the same name; so do
those of local.yaml in the weights folder, which `weights import --as` writes (local.py).
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from fstriplets.errors import WeightsError
from fstriplets.resources import resource

__all__ = ["LOCAL_TABLE", "REGISTRY_VARIABLE", "ROLES", "WeightsEntry", "entry", "load_registry", "registry"]

REGISTRY_VARIABLE = "FSTRIPLETS_WEIGHTS_REGISTRY"
#: Table of the user's own checkpoints, in the weights folder.
LOCAL_TABLE = "local.yaml"

#: What weights can be for.
ROLES = (
    "detector",
    "landmarker",
    "pose",
    "embedder",
    "parser",
    "attributes",
    "editor",
    "generator",
    "swapper",
    "loss",
)


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One row of the table."""

    name: str
    role: str  #: one of ROLES
    architecture: str
    file: str  #: name of the file inside the weights folder
    sha256: str  #: 64 hex digits
    bytes: int
    licence: str
    url: str = ""  #: empty: no public address is known to serve exactly these bytes
    paper: str = ""
    source: str = ""  #: the project the file comes from
    input: str = ""  #: shape, channel order and range
    output: str = ""
    note: str = ""
    bundled: bool = False  #: travels with the package
    better: str = ""  #: bundled ones: the public weights that do better on real photos


def registry() -> dict[str, WeightsEntry]:
    """All known weights by name: the shipped table, local.yaml, then $FSTRIPLETS_WEIGHTS_REGISTRY."""
    from fstriplets.models.weights.store import weights_folder  # store needs this file's entries

    extra = os.environ.get(REGISTRY_VARIABLE, "")
    known = dict(_cached(str(resource("manifests", "weights.yaml"))))
    local = weights_folder() / LOCAL_TABLE
    if local.is_file():
        known |= load_registry(local)  # read anew: an import may have changed it
    return known | _cached(extra) if extra else known


def entry(name: str) -> WeightsEntry:
    """The entry called `name`.

    Raises:
        WeightsError: unknown name; lists the known ones.
    """
    known = registry()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
        raise WeightsError(f"unknown weights {name!r}; {hint}")
    return known[name]


@lru_cache(maxsize=8)
def _cached(path: str) -> dict[str, WeightsEntry]:
    return load_registry(path)


def load_registry(path: str | Path) -> dict[str, WeightsEntry]:
    """Read and check a table of weights.

    Raises:
        WeightsError: unreadable, no YAML mapping, or a row with a missing, unknown or malformed key.
    """
    try:
        table = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WeightsError(f"cannot read the table of weights {path}: {error}") from error
    if not isinstance(table, dict):
        raise WeightsError(f"{path} must be a YAML mapping of names to weights")
    return {str(name): _row(f"{path}: {name}", str(name), row) for name, row in table.items()}


def _row(where: str, name: str, row: Any) -> WeightsEntry:
    if not isinstance(row, dict):
        raise WeightsError(f"{where} must be a mapping")
    known = {field.name for field in fields(WeightsEntry)} - {"name"}
    if unknown := sorted(set(row) - known):
        raise WeightsError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    required = ("role", "architecture", "file", "sha256", "bytes", "licence")
    if missing := [key for key in required if not row.get(key)]:
        raise WeightsError(f"{where}: key {missing[0]!r} is missing")
    texts = {key: value for key, value in row.items() if key not in ("bytes", "bundled")}
    values = {key: str(value) for key, value in texts.items() if value is not None}
    if values["role"] not in ROLES:
        raise WeightsError(f"{where}: role {values['role']!r}; choose one of: {', '.join(ROLES)}")
    if not re.fullmatch(r"[0-9a-f]{64}", values["sha256"]):
        raise WeightsError(f"{where}: sha256 must be 64 hex digits in lower case")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", values["file"]):
        # The name is joined to the weights folder: it must not lead out of it.
        raise WeightsError(f"{where}: file {values['file']!r} must be a plain file name")
    if not isinstance(row["bytes"], int) or row["bytes"] <= 0:
        raise WeightsError(f"{where}: bytes must be a whole number above 0")
    bundled = row.get("bundled", False)
    if not isinstance(bundled, bool):
        raise WeightsError(f"{where}: bundled must be true or false")
    return WeightsEntry(name=name, bytes=row["bytes"], bundled=bundled, **values)
