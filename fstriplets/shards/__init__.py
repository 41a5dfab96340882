"""Shards and manifests: how a dataset is written, verified and read back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "MANIFESTS": "fstriplets.shards.layout",
    "EncodedFace": "fstriplets.shards.writer",
    "ImageCodec": "fstriplets.shards.codec",
    "Sample": "fstriplets.shards.writer",
    "ShardStats": "fstriplets.shards.stats",
    "Store": "fstriplets.shards.store",
    "iter_manifest": "fstriplets.shards.manifest",
    "TripletDataset": "fstriplets.shards.reader",
    "list_stats": "fstriplets.shards.stats",
    "merge_states": "fstriplets.shards.reader",
    "open_triplets": "fstriplets.shards.reader",
    "read_manifest": "fstriplets.shards.manifest",
    "read_stats": "fstriplets.shards.stats",
    "verify_shard": "fstriplets.shards.stats",
    "write_shard": "fstriplets.shards.writer",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
