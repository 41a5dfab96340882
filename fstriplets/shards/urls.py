"""Which shards a caller means: a dataset, a list, or a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import fsspec

from fstriplets.errors import DatasetError
from fstriplets.shards.layout import RUN, shard_path
from fstriplets.shards.stats import list_stats
from fstriplets.shards.store import Store

__all__ = ["ShardUrl", "expand_braces", "find_shards"]

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")


@dataclass(frozen=True, slots=True)
class ShardUrl:
    """One shard to read."""

    url: str
    name: str  #: unique in the list and the same wherever the dataset lies: what a resume state names
    samples: int | None = None  #: where the dataset's stats tell


def find_shards(urls: str | Path | Sequence[str | Path], split: str | None = None) -> list[ShardUrl]:
    """The shards behind a dataset folder or URL, a tar, a list of tars, or a pattern.

    Args:
        urls: a dataset (its committed shards of `split`); or tars: one, several, `{000..017}`, `*`.
        split: of a dataset; `train` unless given. Tars are taken as they are.

    Raises:
        DatasetError: nothing is there, or a `pipe:` URL, which would run a command.
    """
    given = [urls] if isinstance(urls, str | Path) else list(urls)
    found: list[ShardUrl] = []
    for item in given:
        for url in expand_braces(str(item)):
            if url.startswith("pipe:"):
                raise DatasetError(
                    f"{url}: pipe: URLs run commands and are refused; use a path or an fsspec URL"
                )
            found += _one(url, split)
    if not found:
        raise DatasetError(f"{_shown(given)}: no shards to read")
    return _unique_names(found)


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` and `{a,b}.tar` as a shell expands them.

    Example:
        >>> expand_braces("train-{08..10}.tar")
        ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    pieces = _BRACE.split(pattern)
    choices = [_choices(text) if i % 2 else [text] for i, text in enumerate(pieces)]
    return ["".join(parts) for parts in product(*choices)]


def _choices(text: str) -> list[str]:
    match = _RANGE.match(text)
    if match is None:
        return text.split(",")
    first, last = match.groups()
    return [str(i).zfill(len(first)) for i in range(int(first), int(last) + 1)]


def _one(url: str, split: str | None) -> Iterator[ShardUrl]:
    if "*" in url or "?" in url:
        fs, path = fsspec.core.url_to_fs(url)
        for match in sorted(fs.glob(path)):
            yield ShardUrl(fs.unstrip_protocol(match), str(match))
    elif url.endswith(".tar"):
        yield ShardUrl(url, url)
    else:
        yield from _dataset(Store(url), split or "train")


def _dataset(store: Store, split: str) -> Iterator[ShardUrl]:
    empty = True
    for stats in list_stats(store, split):
        empty = False
        if stats.samples:
            path = shard_path(stats.shard, split)
            yield ShardUrl(f"{store.url}/{path}", path, stats.samples)
    if empty:
        splits = sorted({stats.split for stats in list_stats(store)})
        if splits:
            raise DatasetError(f"{store.url} has no split {split!r}; it has: {', '.join(splits)}")
        state = "has no finished shard yet" if store.exists(RUN) else "is no fstriplets dataset and no .tar"
        raise DatasetError(f"{store.url} {state}")


def _unique_names(shards: list[ShardUrl]) -> list[ShardUrl]:
    """Name each by the end of its path (`train-000000.tar`), as long as those tell them apart."""
    names = [shard.name.rstrip("/").rpartition("/")[2] for shard in shards]
    if len(set(names)) < len(shards):
        names = [shard.url for shard in shards]
    if len(set(names)) < len(shards):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatasetError(f"{twice} is listed twice; its samples would be repeated")
    return [ShardUrl(s.url, name, s.samples) for s, name in zip(shards, names, strict=True)]


def _shown(given: Sequence[str | Path]) -> str:
    return str(given[0]) if given else "an empty list"
