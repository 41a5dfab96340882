"""Shards and manifests: how a dataset is written, verified and read back."""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "MANIFESTS": "layout",
        "EncodedFace": "writer",
        "ImageCodec": "codec",
        "Sample": "writer",
        "ShardStats": "stats",
        "Store": "store",
        "iter_manifest": "manifest",
        "TripletDataset": "reader",
        "list_stats": "stats",
        "merge_states": "reader",
        "open_triplets": "reader",
        "read_manifest": "manifest",
        "read_stats": "stats",
        "verify_shard": "stats",
        "write_shard": "writer",
    },
)
