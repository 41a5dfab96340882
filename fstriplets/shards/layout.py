"""Where everything of a dataset lies (DESIGN section 6), relative to the dataset folder.

Tar and parquet are kept in separate folders: side by side, Hugging Face loads only the parquet
without a word and `pd.read_parquet(folder)` fails.
"""

from __future__ import annotations

__all__ = [
    "MANIFESTS",
    "README",
    "RUN",
    "STATS",
    "SUCCESS",
    "manifest_folder",
    "manifest_path",
    "shard_name",
    "shard_path",
    "stats_folder",
    "stats_path",
]

#: Manifests with one part a shard, in the order in which they are written.
MANIFESTS = ("photos", "faces", "edits", "triplets")

STATS = "stats"
RUN = "run.json"
README = "README.md"
SUCCESS = "_SUCCESS"


def shard_name(split: str, index: int) -> str:
    """`train-000000`; the split is in the name, so that parts of all splits share a folder."""
    return f"{split}-{index:06d}"


def shard_path(shard: str, split: str) -> str:
    return f"shards/{split}/{shard}.tar"


def manifest_folder(manifest: str) -> str:
    return f"manifests/{manifest}"


def manifest_path(manifest: str, shard: str) -> str:
    return f"manifests/{manifest}/{shard}.parquet"


def stats_folder(split: str) -> str:
    return f"stats/{split}"


def stats_path(shard: str, split: str) -> str:
    """The commit marker: what this file says is there, is there."""
    return f"stats/{split}/{shard}.json"
