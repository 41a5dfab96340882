"""A dataset of true swaps: source, target, and what a perfect swap of the two looks like.

    OUTPUT/shards, manifests, stats, run.json    as `fstriplets build` writes them (docs/formats.md)

About twenty people of one split make a shard, and a shard is one task, drawn by swap_shard.py: it is written
at once, so a run that was stopped goes on with the next one. People belong to the split that `fstriplets
build` would put the same people into, and swaps do not cross splits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import fstriplets
from fstriplets import audit
from fstriplets.build.card import croissant, dataset_card
from fstriplets.config import PipelineConfig, RuntimeConfig
from fstriplets.errors import OutputError, UserError
from fstriplets.runtime import Task, open_engine
from fstriplets.shards import Store, read_stats, verify_shard
from fstriplets.shards.layout import README, RUN, SUCCESS
from fstriplets.triplets import split_of

__all__ = ["Group", "SwapPlan", "groups_of", "write_swaps"]

#: People a shard; more where that many swaps of each need more partners.
_PEOPLE = 20


@dataclass(frozen=True)
class SwapPlan:
    """What to draw.

    Attributes:
        output: dataset folder or URL; people: how many; swaps: of each person as source.
        photos: of each person, every one source and target of several swaps.
        size: side of the crops, pixels; seed: of the set; max_yaw: degrees.
    """

    output: str
    people: int
    swaps: int = 5
    photos: int = 3
    size: int = 256
    seed: int = 0
    max_yaw: float = 60.0

    def identity_seed(self, index: int) -> int:
        """The seed of the index-th person."""
        return self.seed * 1_000_003 + index

    def identity_id(self, index: int) -> str:
        """Their name, as in a corpus of the same seed."""
        return f"p{self.identity_seed(index):06d}"

    def settings(self) -> dict[str, Any]:
        """Everything that shapes a shard but who is in it."""
        from fstriplets.synth import RENDERER

        shaped = {k: v for k, v in asdict(self).items() if k not in ("output", "people")}
        return {**shaped, "renderer": RENDERER, "version": 1}


@dataclass(frozen=True)
class Group:
    """The people of a shard."""

    shard: str
    split: str
    people: tuple[int, ...]  #: indices

    def plan_hash(self, plan: SwapPlan) -> str:
        """Names everything that shapes the shard; resume compares it."""
        text = json.dumps([plan.settings(), self.split, self.people], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def groups_of(plan: SwapPlan) -> list[Group]:
    """Whose faces are swapped with whose: every group is of one split, and each split grows in step.

    Who is alone in a split is left out. More people leave all groups but the last of each split as they are.

    Raises:
        UserError: no split has two people.
    """
    splits: dict[str, list[int]] = {}
    config = PipelineConfig()
    for index in range(plan.people):
        splits.setdefault(split_of(plan.identity_id(index), config), []).append(index)
    placed: list[tuple[float, Group]] = []  # by the share of its split that a group completes
    for split in sorted(splits):
        portions = list(_portions(splits[split], plan))
        for number, people in enumerate(portions):
            group = Group(f"{split}-{number:06d}", split, tuple(people))
            placed.append(((number + 1) / len(portions), group))
    groups = [group for _, group in sorted(placed, key=lambda pair: pair[0])]
    if not groups:
        raise UserError(
            f"{plan.people} people, and no two of them in one split: a swap needs two; draw more --people"
        )
    return groups


def _portions(people: list[int], plan: SwapPlan) -> Iterator[list[int]]:
    width = max(_PEOPLE, 1 - -plan.swaps // plan.photos)
    portions = [people[i : i + width] for i in range(0, len(people), width)]
    if len(portions) > 1 and len(portions[-1]) == 1:
        portions[-2:] = [portions[-2] + portions[-1]]
    return (portion for portion in portions if len(portion) > 1)


def write_swaps(
    plan: SwapPlan,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> audit.Inspection:
    """Draws the dataset; finished shards are kept: call again to resume or extend.

    Args:
        workers: processes; 0 draws in this one; None: one a core. scheduler: a running Dask scheduler.
        progress: called with (people done, people in all).

    Returns:
        What is in the dataset.

    Raises:
        UserError: no face model, or too few people; OutputError: the folder holds something else or cannot
            be written.
    """
    from fstriplets.synth.facemodel import load_face_model

    load_face_model()
    store, groups = Store(plan.output), groups_of(plan)
    _claim(store, plan)
    missing = [group for group in groups if not _finished(store, plan, group)]
    total = sum(len(group.people) for group in groups)
    done = total - sum(len(group.people) for group in missing)
    if progress:
        progress(done, total)
    if missing:
        with open_engine(RuntimeConfig(workers=workers, scheduler=scheduler), None) as engine:
            for outcome in engine.map(_draw, _tasks(plan, store, missing)):
                if outcome.error is not None:
                    raise outcome.error
                done += outcome.value
                if progress:
                    progress(done, total)
    return _finish(store, plan)


def _tasks(plan: SwapPlan, store: Store, groups: list[Group]) -> Iterator[Task]:
    for group in groups:
        yield Task(key=f"swaps-{group.plan_hash(plan)[:16]}-{group.shard}", payload=(plan, group, store))


def _draw(payload: tuple[SwapPlan, Group, Store]) -> int:
    from fstriplets.synth.swap_shard import draw_shard

    draw_shard(*payload)
    return len(payload[1].people)


def _finished(store: Store, plan: SwapPlan, group: Group) -> bool:
    stats = read_stats(store, group.shard, group.split)
    if stats is None or stats.plan_hash != group.plan_hash(plan):
        return False
    return not verify_shard(store, group.shard, group.split)


def _claim(store: Store, plan: SwapPlan) -> None:
    """Marks the folder as this dataset; refuses one that holds something else."""
    try:
        run: dict[str, Any] | None = json.loads(store.read(RUN)) if store.exists(RUN) else None
    except ValueError as error:
        raise OutputError(f"{store.url}/{RUN} is damaged: choose another --output") from error
    if run is None and (strangers := store.listdir("")):
        raise OutputError(
            f"{store.url} is not empty and no dataset of swaps (it holds {strangers[0]}):"
            " choose another --output"
        )
    drawn = (run or {}).get("drawn")
    if run is not None and (drawn is None or drawn["settings"] != plan.settings()):
        what = "swaps drawn with other settings" if drawn else "a dataset that was not drawn"
        raise OutputError(f"{store.url} holds {what}: choose another --output")
    if drawn and drawn["people"] > plan.people:
        raise OutputError(
            f"{store.url} holds {drawn['people']} people, more than --people {plan.people}:"
            " ask for as many, or choose another --output"
        )
    try:
        store.write(RUN, _json({**_described(plan), "status": "drawing"}))
        store.remove(SUCCESS)
        store.sweep()
    except OSError as error:
        raise OutputError(f"cannot write {store.url}: {error}") from error


def _described(plan: SwapPlan) -> dict[str, Any]:
    config = PipelineConfig()
    return {
        "drawn": {"people": plan.people, "settings": plan.settings()},
        "config": {
            "crop": "ffhq",
            "image_size": plan.size,
            "image_format": config.image_format,
            "image_quality": config.image_quality,
            "layout": "triplets",
            "splits": config.splits,
        },
        "versions": {"fstriplets": fstriplets.__version__},
    }


def _finish(store: Store, plan: SwapPlan) -> audit.Inspection:
    """run.json with the counts, Croissant metadata, the dataset card, _SUCCESS."""
    found = audit.inspect_dataset(store)
    counts = {k: v for k, v in asdict(found).items() if k not in ("dataset", "examples", "kind_edits")}
    run = {**_described(plan), "status": "done", "counts": counts}
    store.write(RUN, _json(run))
    store.write("croissant.json", _json(croissant(store, run)))
    store.write(README, dataset_card(run).encode())
    store.write(SUCCESS, b"")
    return found


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
