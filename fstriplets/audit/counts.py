"""Counts over a dataset's manifests, one part at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fstriplets.errors import DatasetError
from fstriplets.shards import MANIFESTS, Store, iter_manifest, list_stats
from fstriplets.shards.layout import RUN, manifest_folder

__all__ = ["Inspection", "inspect_dataset", "open_dataset"]


@dataclass(slots=True)
class Inspection:
    """What a dataset holds. Kinds, edits, splits and licences count formed triplets."""

    dataset: str
    identities: int = 0  #: people with at least one formed triplet
    shards: dict[str, int] = field(default_factory=dict)  #: split -> shards with samples
    bytes: int = 0  #: of the shards
    rows: dict[str, dict[str, int]] = field(default_factory=dict)  #: manifest -> status -> rows
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)  #: manifest -> reason -> rows
    kinds: dict[str, int] = field(default_factory=dict)
    edits: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)
    consents: dict[str, int] = field(default_factory=dict)
    weights_licences: dict[str, int] = field(default_factory=dict)
    kind_edits: dict[str, dict[str, int]] = field(default_factory=dict)  #: kind -> edit -> triplets
    examples: dict[str, dict[str, str]] = field(default_factory=dict)  #: manifest -> reason -> a message

    def total(self, manifest: str) -> int:
        """Rows of a manifest, whatever their status."""
        return sum(self.rows.get(manifest, {}).values())

    def ok(self, manifest: str) -> int:
        """Accepted rows of a manifest."""
        return self.rows.get(manifest, {}).get("ok", 0)


#: Column of the triplets manifest -> field of Inspection.
_COUNTED = {
    "kind": "kinds",
    "edit": "edits",
    "split": "splits",
    "licence": "licences",
    "consent": "consents",
    "weights_licence": "weights_licences",
}


def inspect_dataset(dataset: str | Path | Store) -> Inspection:
    """Count what is in a dataset, finished or not.

    Args:
        dataset: folder or URL.

    Raises:
        DatasetError: nothing there, or not a dataset of ours.
    """
    store = open_dataset(dataset)
    found = Inspection(store.url)
    for stats in list_stats(store):
        found.bytes += stats.bytes
        if stats.samples:
            found.shards[stats.split] = found.shards.get(stats.split, 0) + 1
    for manifest in MANIFESTS:
        statuses: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for part in iter_manifest(store, manifest, ["status", "reason", "message"]):
            statuses.update(_counts(part["status"]))
            reasons.update({k: n for k, n in _counts(part["reason"]).items() if k})
            _add_examples(part, examples)
        found.rows[manifest] = dict(sorted(statuses.items()))
        found.reasons[manifest] = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        found.examples[manifest] = dict(sorted(examples.items()))
    _count_triplets(store, found)
    return found


def open_dataset(dataset: str | Path | Store) -> Store:
    """The dataset's files. Raises DatasetError if there is no dataset."""
    store = dataset if isinstance(dataset, Store) else Store(dataset)
    if not (store.exists(RUN) or any(store.list(manifest_folder(name)) for name in MANIFESTS)):
        raise DatasetError(
            f"{store.url} holds no dataset (no {RUN}, no manifests): give the folder that"
            f" `fstriplets build --output` wrote"
        )
    return store


def _add_examples(part: Any, examples: dict[str, str]) -> None:
    """The first message of every reason not seen yet."""
    for reason in part["reason"].unique().to_pylist():
        if reason and reason not in examples:
            rows = part.filter(_equal(part["reason"], reason))
            examples[reason] = next((text for text in rows["message"].to_pylist() if text), "")


def _count_triplets(store: Store, found: Inspection) -> None:
    counters: dict[str, Counter[str]] = {column: Counter() for column in _COUNTED}
    pairs: Counter[tuple[str, str]] = Counter()
    people: set[str] = set()
    for part in iter_manifest(store, "triplets", ["status", "identity_id", *_COUNTED]):
        formed = part.filter(_equal(part["status"], "ok"))
        people.update(formed["identity_id"].unique().to_pylist())
        for column, counter in counters.items():
            counter.update(_counts(formed[column]))
        for pair in formed.group_by(["kind", "edit"]).aggregate([([], "count_all")]).to_pylist():
            pairs[pair["kind"], pair["edit"]] += pair["count_all"]
    found.identities = len(people)
    for column, name in _COUNTED.items():
        setattr(found, name, dict(sorted(counters[column].items())))
    for (kind, edit), count in sorted(pairs.items()):
        found.kind_edits.setdefault(kind, {})[edit] = count


def _counts(column: Any) -> dict[str, int]:
    pairs: Iterable[dict[str, Any]] = column.value_counts().to_pylist()
    return {pair["values"] or "": pair["counts"] for pair in pairs}


def _equal(column: Any, value: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(column, value)
