"""`open_corpus`: from what a user wrote after --corpus to the backend that reads it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fstriplets.corpus.base import Corpus, Terms
from fstriplets.errors import CorpusError
from fstriplets.registry import Registry
from fstriplets.resources import resource

if TYPE_CHECKING:
    from fstriplets.config import PipelineConfig

__all__ = ["CORPORA", "TABLE_NAMES", "open_corpus"]

#: Backend name -> factory(spec, terms). `--corpus NAME:SPEC` chooses one by name.
CORPORA: Registry[Callable[[str, Terms], Corpus]] = Registry(
    "corpus",
    {
        "folder": "fstriplets.corpus.folder:FolderCorpus",
        "table": "fstriplets.corpus.table:TableCorpus",
        "shards": "fstriplets.corpus.shards:ShardsCorpus",
    },
    group="fstriplets.corpora",
)
#: The corpus that travels with the package: synthetic people.
DEMO = "demo"
#: A folder that holds one of these is described by it; the first one found is used.
TABLE_NAMES = ("table.parquet", "table.csv", "corpus.parquet", "corpus.csv")
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
_SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_FORMS = "a folder with one folder per person, a csv or parquet table, or tar shards"


def open_corpus(spec: str | Path, config: PipelineConfig) -> Corpus:
    """Open a corpus without scanning it.

    Args:
        spec: a folder per person; a csv/parquet table or a folder that holds one (TABLE_NAMES); tar
            shards: a file, a folder of tars, or a brace pattern `photos-{0000..0099}.tar`; local or a
            URL; `NAME:SPEC` for a backend of that name; `demo`, the corpus that travels with the
            package, unless a file or folder of that name lies here.
        config: gives licence, consent and require_consent.

    Raises:
        CorpusError: nothing there, or nothing a corpus can be made of.
    """
    text, terms = os.fspath(spec), Terms.of(config)
    if text == DEMO and not os.path.exists(text):
        text = str(resource(DEMO))
    name, colon, rest = text.partition(":")
    if colon and not rest.startswith("//") and name in CORPORA.names():
        return CORPORA.get(name)(rest, terms)
    return CORPORA.get(_recognise(text))(text, terms)


def _recognise(spec: str) -> str:
    lower = spec.lower()
    if "://" in spec:
        return _recognise_url(spec)
    if os.path.isdir(spec):
        return _recognise_names(_names(spec))
    if "{" in spec and lower.endswith(_SHARD_SUFFIXES):
        return "shards"
    if not os.path.exists(spec):
        raise CorpusError(f"the corpus {spec} does not exist{_near(spec)}; give {_FORMS}")
    if lower.endswith(_TABLE_SUFFIXES):
        return "table"
    if lower.endswith(_SHARD_SUFFIXES):
        return "shards"
    raise CorpusError(f"the corpus {spec} is a file, neither a table nor a tar; give {_FORMS}")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except PermissionError:
        raise CorpusError(f"no permission to list the corpus {folder}") from None


def _recognise_names(names: list[str]) -> str:
    """A folder's backend from the names in it."""
    if any(table in names for table in TABLE_NAMES):
        return "table"
    if any(name.lower().endswith(_SHARD_SUFFIXES) for name in names) and all(
        "." in name.lstrip(".") for name in names
    ):
        return "shards"
    return "folder"


def _recognise_url(url: str) -> str:
    lower = url.lower()
    if lower.endswith(_SHARD_SUFFIXES):
        return "shards"
    if lower.endswith(_TABLE_SUFFIXES):
        return "table"
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        names = [entry.rstrip("/").rpartition("/")[2] for entry in filesystem.ls(path, detail=False)]
    except FileNotFoundError:
        raise CorpusError(f"the corpus {url} does not exist; give {_FORMS}") from None
    except (ImportError, ValueError) as error:
        raise CorpusError(f"cannot open the corpus {url}: {error}") from error
    kind = _recognise_names(names)
    if kind == "folder":
        raise CorpusError(
            f"the corpus {url} is a remote folder of photos: describe it with a table (columns path,"
            f" identity_id) saved in it as table.csv or table.parquet, or pack it into tar shards"
        )
    return kind


def _near(spec: str) -> str:
    """A hint at a sibling with nearly that name."""
    path = Path(spec).expanduser()
    try:
        siblings = os.listdir(path.parent)
    except OSError:
        return f" (nor does its folder {path.parent})"
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""
