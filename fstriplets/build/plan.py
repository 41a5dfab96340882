"""The plan: whole identities packed into buckets, written before any photo is opened.

One parquet row group is one bucket is one shard; workers read their row group and nothing else.
A generation is one planning run: the first build makes generation 0, a corpus that grew adds
another with the new identities only, so that shards already built stay untouched. Memory in the
driver is one open bucket a split, whatever the size of the corpus.

    manifests/plan/part-000-00000.parquet    schema records.schema("plan"), up to 64 buckets
    manifests/plan/plan-000.json             written last: what the parts were planned from
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fstriplets.config import PipelineConfig
from fstriplets.errors import CorpusError
from fstriplets.records import Photo, content_id, schema
from fstriplets.shards.store import Store
from fstriplets.triplets import expected_triplets, split_of

__all__ = [
    "Bucket",
    "BucketRef",
    "Generation",
    "is_planned",
    "list_buckets",
    "pack",
    "plan_corpus",
    "read_bucket",
    "read_generation",
]

BUCKETS_PER_PART = 64
#: A bucket of rejected photos alone closes here: nothing else would ever close it.
PHOTOS_PER_BUCKET = 50_000
FOLDER = "manifests/plan"


@dataclass(slots=True)
class Bucket:
    """Whole identities of one split, in corpus order."""

    shard: str
    split: str
    identities: list[tuple[str, list[Photo]]] = field(default_factory=list)
    expected: int = 0  #: triplets
    photos: int = 0


@dataclass(frozen=True, slots=True)
class BucketRef:
    """Where a bucket's rows are: all a worker needs to find them."""

    shard: str
    split: str
    part: str
    row_group: int
    photos: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One planning run."""

    number: int
    config: dict[str, Any]  #: PipelineConfig.shaping()
    photos: int
    identities: int
    planned: int  #: identities with enough photos
    expected: int  #: triplets, if every photo is accepted
    frozen: int  #: new photos of people planned earlier: left out, with rows
    parts: tuple[str, ...]
    next_index: dict[str, int]  #: split -> number of its next shard
    digest: str  #: sha256 over everything planned


def pack(
    identities: Iterable[tuple[str, list[Photo]]], config: PipelineConfig, first: dict[str, int]
) -> Iterator[Bucket]:
    """Pack identities into buckets of about `triplets_per_shard`, each split for itself.

    A bucket closes before the identity that would overshoot the goal by more than closing
    undershoots it. `first` holds the number of each split's next shard and is advanced.
    """
    opened: dict[str, Bucket] = {}
    for identity_id, photos in identities:
        split = split_of(identity_id, config)
        judged = _judge(photos, config)
        usable = sum(photo.status == "ok" for photo in judged)
        expected = expected_triplets(usable, config) if usable else 0
        bucket = opened.get(split)
        if bucket and bucket.expected and bucket.expected + expected / 2 > config.triplets_per_shard:
            yield opened.pop(split)
            bucket = None
        if bucket is None:
            bucket = opened[split] = Bucket(f"{split}-{first.get(split, 0):06d}", split)
            first[split] = first.get(split, 0) + 1
        bucket.identities.append((identity_id, judged))
        bucket.expected += expected
        bucket.photos += len(judged)
        if bucket.expected >= config.triplets_per_shard or bucket.photos >= PHOTOS_PER_BUCKET:
            yield opened.pop(split)
    yield from (opened[split] for split in sorted(opened))


def plan_corpus(
    store: Store, identities: Iterable[tuple[str, list[Photo]]], config: PipelineConfig
) -> list[Generation]:
    """Write the plan of everything not planned yet; returns all generations, oldest first.

    Raises:
        CorpusError: nobody in the corpus has enough photos.
    """
    generations = _read_generations(store)
    known = _planned_photos(store, generations)
    new = _only_new(identities, known) if known else identities
    first = dict(generations[-1].next_index) if generations else {}
    generation = _write(store, pack(new, config, first), config, len(generations), first)
    if not any(g.planned for g in [*generations, generation]):
        raise CorpusError(_nobody(generation, config))
    if generation.photos:
        _save(store, generation)
        generations.append(generation)
    return generations


def list_buckets(store: Store, generations: Iterable[Generation]) -> Iterator[tuple[Generation, BucketRef]]:
    """Every bucket in plan order, from the parts' footers alone."""
    for generation in generations:
        for part in generation.parts:
            with store.open(part) as file:
                meta = pq.ParquetFile(file).metadata
            for i in range(meta.num_row_groups):
                group = meta.row_group(i)
                shard = group.column(0).statistics.min
                split = group.column(1).statistics.min
                yield generation, BucketRef(shard, split, part, i, group.num_rows)


def read_bucket(store: Store, part: str, row_group: int) -> list[tuple[str, list[Photo]]]:
    """The identities of one bucket with their photos, in plan order."""
    with store.open(part) as file:
        table = pq.ParquetFile(file).read_row_group(row_group)
    identities: dict[str, list[Photo]] = {}
    for row in table.to_pylist():
        identities.setdefault(row["identity_id"], []).append(_photo(row))
    return list(identities.items())


def _judge(photos: list[Photo], config: PipelineConfig) -> list[Photo]:
    """Apply `max_images` and `min_images`: all that can be known without opening a photo."""
    usable = [photo for photo in photos if photo.status == "ok"]
    if config.max_images and len(usable) > config.max_images:
        ranked = sorted(usable, key=lambda photo: content_id(str(config.seed), photo.photo_id))
        spare = {photo.photo_id for photo in ranked[config.max_images :]}
        why = f"the person has more than max_images {config.max_images} photos"
        photos = [
            replace(p, status="rejected", reason="over_max_images", message=why) if p.photo_id in spare else p
            for p in photos
        ]
        usable = [photo for photo in photos if photo.status == "ok"]
    if len(usable) >= config.min_images:
        return photos
    why = f"the person has {len(usable)} usable photos, min_images is {config.min_images}"
    return [
        replace(p, status="rejected", reason="too_few_images", message=why) if p.status == "ok" else p
        for p in photos
    ]


def _only_new(
    identities: Iterable[tuple[str, list[Photo]]], known: dict[str, set[str]]
) -> Iterator[tuple[str, list[Photo]]]:
    """New people whole; new photos of people planned before as rows, since their shard is built."""
    why = "the person's shard was planned before this photo came; --overwrite builds everything again"
    for identity_id, photos in identities:
        seen = known.get(identity_id)
        if seen is not None:
            photos = [
                replace(p, status="rejected", reason="identity_frozen", message=why)
                for p in photos
                if p.photo_id not in seen
            ]
        if photos:
            yield identity_id, photos


def _planned_photos(store: Store, generations: list[Generation]) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for generation in generations:
        for part in generation.parts:
            with store.open(part) as file:
                table = pq.read_table(file, columns=["identity_id", "photo_id"])
            for identity_id, photo_id in zip(*(c.to_pylist() for c in table.columns), strict=True):
                known.setdefault(identity_id, set()).add(photo_id)
    return known


def _write(
    store: Store, buckets: Iterator[Bucket], config: PipelineConfig, number: int, next_index: dict[str, int]
) -> Generation:
    digest = hashlib.sha256(config.shaping_json().encode())
    counts: Counter[str] = Counter()
    parts: list[str] = []
    buffer: io.BytesIO | None = None
    writer: pq.ParquetWriter | None = None
    for i, bucket in enumerate(buckets):
        if writer is None:
            buffer = io.BytesIO()
            writer = pq.ParquetWriter(buffer, schema("plan"), compression="zstd")
            parts.append(f"{FOLDER}/part-{number:03d}-{i // BUCKETS_PER_PART:05d}.parquet")
        writer.write_table(_table(bucket, digest, counts), row_group_size=max(1, bucket.photos))
        if (i + 1) % BUCKETS_PER_PART == 0:
            _close(store, parts[-1], writer, buffer)
            writer = None
    if writer is not None:
        _close(store, parts[-1], writer, buffer)
    return Generation(
        number=number,
        config=config.shaping(),
        photos=counts["photos"],
        identities=counts["identities"],
        planned=counts["planned"],
        expected=counts["expected"],
        frozen=counts["identity_frozen"],
        parts=tuple(parts),
        next_index=next_index,
        digest=digest.hexdigest(),
    )


def _close(store: Store, part: str, writer: pq.ParquetWriter, buffer: io.BytesIO | None) -> None:
    writer.close()
    assert buffer is not None
    store.write(part, buffer.getvalue())


def _table(bucket: Bucket, digest: Any, counts: Counter[str]) -> pa.Table:
    photos = [photo for _, group in bucket.identities for photo in group]
    counts["photos"] += len(photos)
    counts["identities"] += len(bucket.identities)
    counts["planned"] += sum(any(p.status == "ok" for p in group) for _, group in bucket.identities)
    counts["expected"] += bucket.expected
    counts["identity_frozen"] += sum(photo.reason == "identity_frozen" for photo in photos)
    for photo in photos:
        digest.update(f"{bucket.shard}\0{photo.photo_id}\0{photo.reason}\n".encode())
    columns = {
        "shard": [bucket.shard] * len(photos),
        "split": [bucket.split] * len(photos),
        "box": [photo.box for photo in photos],
        "landmarks": [_flat(photo.landmarks) for photo in photos],
        "attributes": [list(photo.attributes.items()) for photo in photos],
    }
    for name in ("identity_id", "photo_id", "uri", "licence", "consent", "status", "reason", "message"):
        columns[name] = [getattr(photo, name) for photo in photos]
    return pa.table(columns, schema=schema("plan"))


def read_generation(store: Store, number: int) -> Generation:
    """What `plan-NNN.json` says."""
    data = json.loads(store.read(f"{FOLDER}/plan-{number:03d}.json"))
    return Generation(**{**data, "parts": tuple(data["parts"])})


def _flat(points: tuple[tuple[float, float], ...] | None) -> list[float] | None:
    return None if points is None else [value for point in points for value in point]


def _photo(row: dict[str, Any]) -> Photo:
    flat = row["landmarks"]
    return Photo(
        photo_id=row["photo_id"],
        identity_id=row["identity_id"],
        uri=row["uri"],
        licence=row["licence"],
        consent=row["consent"],
        box=None if row["box"] is None else tuple(row["box"]),
        landmarks=None if flat is None else tuple(zip(flat[::2], flat[1::2], strict=True)),
        attributes=dict(row["attributes"] or ()),
        status=row["status"],
        reason=row["reason"],
        message=row["message"],
    )


def _save(store: Store, generation: Generation) -> None:
    text = json.dumps(asdict(generation), indent=1, sort_keys=True)
    store.write(f"{FOLDER}/plan-{generation.number:03d}.json", text.encode())


def is_planned(store: Store) -> bool:
    """Whether a plan was ever finished here."""
    return store.exists(f"{FOLDER}/plan-000.json")


def _read_generations(store: Store) -> list[Generation]:
    """A generation without its JSON was cut short: its parts are written again."""
    found: list[Generation] = []
    while store.exists(f"{FOLDER}/plan-{len(found):03d}.json"):
        found.append(read_generation(store, len(found)))
    return found


def _nobody(generation: Generation, config: PipelineConfig) -> str:
    if not generation.photos:
        return (
            f"the corpus {config.corpus} holds no photos; put each person's photos in a folder of their own"
        )
    return (
        f"none of the {generation.identities} people in {config.corpus} has min_images {config.min_images}"
        f" usable photos ({generation.photos} photos in all); add photos or lower it: --set min_images=2"
    )
