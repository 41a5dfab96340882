"""Which triplets to show: a seeded choice that covers every kind and edit, with their pictures."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fstriplets.records import seed_of
from fstriplets.shards import Store
from fstriplets.shards.layout import manifest_folder, shard_path
from fstriplets.shards.manifest import read_part
from fstriplets.triplets.kinds import STORED_KINDS

__all__ = ["ROLES", "Shown", "choose_triplets"]

ROLES = ("source", "target", "result")
_COLUMNS = (
    "triplet_id", "kind", "edit", "strength", "editor", "identity_similarity", "split", "shard", "status",
    *(f"{role}_{what}" for role in ROLES for what in ("offset", "size")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """A triplet to show: the columns _COLUMNS of its manifest row, and what its members are."""

    row: dict[str, Any] = field(hash=False)

    @property
    def caption(self) -> str:
        """Kind, edit, strength and, where measured, the similarity of the edit to its original."""
        row = self.row
        text = f"{row['kind']} · {row['edit']} {row['strength']:.2f}"
        similarity = row["identity_similarity"]
        return text if similarity is None else f"{text} · similarity {similarity:.2f}"

    def member(self, role: str) -> str:
        """What a member is: `A`, `B`, `I`, or `aging(B)`, as figure 2 of the paper writes them."""
        kind = STORED_KINDS[self.row["kind"]]
        pair = kind.photos == 2
        names = {"first": "A" if pair else "I", "second": "B" if pair else "I"}
        names["edited"] = f"{self.row['edit']}({names['second']})"
        return names[getattr(kind, role)]

    def read(self, store: Store, role: str) -> bytes:
        """The member's encoded image, by range read from its shard."""
        row = self.row
        path = shard_path(row["shard"], row["split"])
        data: bytes = store.read_range(path, row[f"{role}_offset"], row[f"{role}_size"])
        return data


def choose_triplets(store: Store, rows: int, seed: int = 0, max_parts: int = 200) -> list[Shown]:
    """Choose triplets to show.

    Args:
        rows: how many, fewer if the dataset has fewer.
        seed: the same seed chooses the same triplets.
        max_parts: manifest parts looked at, a seeded choice of them: enough to meet every kind and
            edit of a dataset of millions without reading all of it.

    Returns:
        In the order of the kinds and edits. While there is room, every kind, edit and pair of both
        that occurs is there.
    """
    names = (path.rpartition("/")[2] for path in store.list(manifest_folder("triplets")))
    shards = [name.removesuffix(".parquet") for name in names if name.endswith(".parquet")]
    best: dict[tuple[str, str], list[tuple[int, str, dict[str, Any]]]] = {}
    for shard in sorted(shards, key=lambda name: seed_of(seed, name))[:max_parts]:
        for row in read_part(store, "triplets", shard, _COLUMNS).to_pylist():
            if row["status"] != "ok" or not row["result_size"]:
                continue
            heap = best.setdefault((row["kind"], row["edit"]), [])
            item = (-seed_of(seed, row["triplet_id"]), row["triplet_id"], row)
            (heapq.heappush if len(heap) < rows else heapq.heappushpop)(heap, item)
    picked = _cover({pair: sorted(heap, reverse=True) for pair, heap in best.items()}, rows)
    order = list(STORED_KINDS)
    picked.sort(key=lambda row: (order.index(row["kind"]), row["edit"], row["triplet_id"]))
    return [Shown(row) for row in picked]


def _cover(
    pools: dict[tuple[str, str], list[tuple[int, str, dict[str, Any]]]], rows: int
) -> list[dict[str, Any]]:
    """Take from the least shown pairs, those with the least shown kinds and edits first."""
    picked: list[dict[str, Any]] = []
    pairs: Counter[tuple[str, str]] = Counter()
    names: Counter[str] = Counter()
    while len(picked) < rows and pools:
        pair = min(
            pools,
            key=lambda p: (
                (names[p[0]] > 0) + (names[p[1]] > 0),
                pairs[p],
                names[p[0]] + names[p[1]],
                p,
            ),
        )
        picked.append(pools[pair].pop(0)[2])
        pairs[pair] += 1
        names.update(pair)
        if not pools[pair]:
            del pools[pair]
    return picked
