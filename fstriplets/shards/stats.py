"""The stats file of a shard: what was committed, and whether it is still there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields

from fstriplets.errors import OutputError
from fstriplets.shards.layout import MANIFESTS, STATS, manifest_path, shard_path, stats_folder, stats_path
from fstriplets.shards.store import Store
from fstriplets.shards.tar import BLOCK, END

__all__ = ["ShardStats", "list_stats", "read_stats", "stats_json", "verify_shard"]


@dataclass(frozen=True, slots=True)
class ShardStats:
    """One finished shard; written after everything else of it, so its presence is the commit."""

    shard: str
    split: str
    layout: str  #: `triplets` or `faces`
    samples: int  #: samples in the tar; 0: there is no tar
    bytes: int  #: of the tar
    sha256: str  #: of the tar; empty without one
    plan_hash: str  #: of what the bucket was built from
    counts: dict[str, int] = field(default_factory=dict)  #: rows by `MANIFEST_STATUS`: `photos_ok`, …
    manifests: dict[str, str] = field(default_factory=dict)  #: manifest -> sha256 of this shard's part
    manifest_bytes: dict[str, int] = field(default_factory=dict)  #: manifest -> bytes of the part


def stats_json(stats: ShardStats) -> bytes:
    """The stats file's content."""
    return (json.dumps(asdict(stats), indent=1, sort_keys=True) + "\n").encode()


def read_stats(store: Store, shard: str, split: str) -> ShardStats | None:
    """The stats of a committed shard, None if it was never finished.

    Raises:
        OutputError: the file is there but is no stats file of ours.
    """
    path = stats_path(shard, split)
    try:
        data = store.read(path)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
        known = {f.name for f in fields(ShardStats)}
        stats = ShardStats(**{key: value for key, value in found.items() if key in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{store.full(path)} is no stats file ({error}); delete it and run the build again:"
            " that shard is then made anew"
        ) from error
    return stats


def list_stats(store: Store, split: str | None = None) -> Iterator[ShardStats]:
    """All committed shards, of one split or of all, by name."""
    splits = [split] if split is not None else store.listdir(STATS)
    for name in splits:
        for path in store.list(stats_folder(name)):
            shard = path.rpartition("/")[2]
            if shard.endswith(".json"):
                stats = read_stats(store, shard.removesuffix(".json"), name)
                if stats is not None:
                    yield stats


def verify_shard(store: Store, shard: str, split: str, deep: bool = False) -> list[str]:
    """What is wrong with a shard, in words; empty when nothing is.

    Args:
        deep: also hash every file and count the tar's members; finds bit flips that every decoder
            accepts. Without it sizes are compared, which costs a `stat` a file and finds files that
            are missing or cut (also at a member boundary, where tar readers see no error).
    """
    try:
        stats = read_stats(store, shard, split)
    except OutputError as error:
        return [str(error)]
    if stats is None:
        return [f"{stats_path(shard, split)} is missing: the shard was never finished"]
    problems = []
    expected = {
        manifest_path(name, shard): (stats.manifest_bytes.get(name), stats.manifests[name])
        for name in MANIFESTS
        if name in stats.manifests
    }
    if stats.samples:
        expected = {shard_path(shard, split): (stats.bytes, stats.sha256), **expected}
    elif store.exists(shard_path(shard, split)):
        problems.append(f"{shard_path(shard, split)} should not be there: the shard has no samples")
    for path, (size, sha256) in expected.items():
        problems += _verify_file(store, path, size, sha256, deep)
    if deep and stats.samples and not problems:
        problems += _verify_tar(store, shard_path(shard, split), stats)
    return problems


def _verify_file(store: Store, path: str, size: int | None, sha256: str, deep: bool) -> list[str]:
    actual = store.size(path)
    if actual is None:
        return [f"{path} is missing"]
    if size is not None and actual != size:
        return [f"{path} has {actual} bytes, {size} were written: it was cut or changed"]
    if deep and _sha256(store, path) != sha256:
        return [f"{path} was changed after it was written: its sha256 is not the committed one"]
    return []


def _sha256(store: Store, path: str) -> str:
    digest = hashlib.sha256()
    with store.open(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verify_tar(store: Store, path: str, stats: ShardStats) -> list[str]:
    """Count the samples, by header only."""
    keys = 0
    last = None
    with store.open(path) as file:
        while (block := file.read(BLOCK)) and block != END[:BLOCK]:
            key = block[:100].rstrip(b"\0").partition(b".")[0]
            keys += key != last
            last = key
            size = int(block[124:135], 8)
            file.seek(size + -size % BLOCK, 1)
    return [] if keys == stats.samples else [f"{path} holds {keys} samples, {stats.samples} were written"]
