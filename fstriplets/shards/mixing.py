"""The order of one shard's samples in an epoch, with samples without a stored triplet mixed in.

The order of a shard depends on (seed, epoch, shard) only: not on ranks, workers or what was read
before. So "shard and position" says exactly where a reader stopped, and another number of ranks can
go on from there without repeating or skipping a sample.

`vanilla` (two different people; nobody knows the result) and `vanilla_same` (one photo as all three)
are formed from unedited members; the released MobileFSGAN loader makes 0.6 and 0.112 of all samples
so. Here their number is systematic, not drawn: after each stored sample come as many as keep the
ratio, so that an epoch has every stored triplet exactly once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from fstriplets.errors import DatasetError
from fstriplets.records import seed_of
from fstriplets.shards.stream import StoredSample, read_samples
from fstriplets.shards.urls import ShardUrl
from fstriplets.triplets.assemble import merge_terms

__all__ = ["PAPER_MIX", "Mix", "ordered_samples"]

#: Shares of all samples in the released loader of MobileFSGAN.
PAPER_MIX = {"vanilla": 0.6, "vanilla_same": 0.112}
#: Unedited members kept to form vanilla samples from.
_POOL = 128


@dataclass(frozen=True, slots=True)
class Mix:
    """What decides the order of samples; a resume state is valid for the same one only."""

    seed: int = 0
    shuffle: int = 0  #: samples of a shard held back to draw from; 0: stored order
    vanilla: float = 0.0  #: share of all samples
    vanilla_same: float = 0.0  #: share of all samples
    fresh_pairs: bool = False  #: sources of pair_identity are drawn anew each epoch (layout faces)

    def __post_init__(self) -> None:
        if min(self.vanilla, self.vanilla_same) < 0 or self.vanilla + self.vanilla_same >= 1:
            raise ValueError(
                "vanilla and vanilla_same are shares of all samples: 0 or more, together less than 1"
            )
        if self.shuffle < 0:
            raise ValueError("shuffle is a number of samples, 0 or more")


@dataclass(slots=True)
class _Person:
    """An unedited member to form vanilla samples from."""

    face_id: str
    identity_id: str
    image: bytes | memoryview
    meta: dict[str, Any]


def ordered_samples(shard: ShardUrl, mix: Mix, epoch: int) -> Iterator[StoredSample | DatasetError]:
    """All samples of a shard in this epoch's order; damaged ones as errors, in their place."""
    rng = random.Random(seed_of(mix.seed, "shard", str(epoch), shard.name))
    pairs = random.Random(rng.random()) if mix.fresh_pairs else None
    samples = read_samples(shard, pairs)
    if mix.shuffle:
        samples = _shuffled(samples, mix.shuffle, rng)
    if mix.vanilla or mix.vanilla_same:
        samples = _mixed(samples, mix, rng)
    return samples


def _shuffled(
    samples: Iterator[StoredSample | DatasetError], size: int, rng: random.Random
) -> Iterator[StoredSample | DatasetError]:
    held = list(islice(samples, size))
    rng.shuffle(held)
    for sample in samples:
        place = rng.randrange(size)
        yield held[place]
        held[place] = sample
    rng.shuffle(held)
    yield from held


def _mixed(
    samples: Iterator[StoredSample | DatasetError], mix: Mix, rng: random.Random
) -> Iterator[StoredSample | DatasetError]:
    stored = 1.0 - mix.vanilla - mix.vanilla_same
    ratios = (mix.vanilla / stored, mix.vanilla_same / stored)
    due = [rng.random(), rng.random()]
    ahead = list(islice(samples, _POOL))
    people = [_person(s) for s in ahead if isinstance(s, StoredSample)]
    for number, sample in enumerate(chain(ahead, samples)):
        yield sample
        if isinstance(sample, DatasetError):
            continue
        if number >= len(ahead):  # the pool follows the stream
            people[rng.randrange(len(people))] = _person(sample)
        for i, form in enumerate((_two_people, _one_photo)):
            due[i] += ratios[i]
            while due[i] >= 1.0:
                due[i] -= 1.0
                formed = form(people, rng)
                if formed is not None:
                    yield formed


def _person(sample: StoredSample) -> _Person:
    image, face_id = sample.unedited()
    return _Person(face_id, str(sample.meta["identity_id"]), image, sample.meta)


def _two_people(people: list[_Person], rng: random.Random) -> StoredSample | None:
    """Nothing if the pool has one person only."""
    source = people[rng.randrange(len(people))]
    target = people[rng.randrange(len(people))]
    for _ in range(16):
        if target.identity_id != source.identity_id:
            break
        target = people[rng.randrange(len(people))]
    else:
        others = [person for person in people if person.identity_id != source.identity_id]
        if not others:
            return None
        target = others[rng.randrange(len(others))]
    return _formed("vanilla", source, target, None)


def _one_photo(people: list[_Person], rng: random.Random) -> StoredSample:
    person = people[rng.randrange(len(people))]
    return _formed("vanilla_same", person, person, person.image)


def _formed(kind: str, source: _Person, target: _Person, result: bytes | memoryview | None) -> StoredSample:
    meta = {
        "kind": kind,
        "identity_id": source.identity_id,
        "target_identity_id": target.identity_id,
        "source_id": source.face_id,
        "target_id": target.face_id,
        "result_id": target.face_id if result is not None else "",
        "real": "source",
    }
    for name in ("licence", "consent"):
        first, second = (str(person.meta.get(name) or "") for person in (source, target))
        meta[name] = merge_terms(first, second)
    return StoredSample(f"{kind}-{source.face_id}-{target.face_id}", meta, source.image, target.image, result)
