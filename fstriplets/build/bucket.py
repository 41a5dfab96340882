"""One bucket, from photos to a committed shard: the main path of a build.

Runs in a worker process. Works through the bucket one person at a time, so that memory holds one
person's crops plus the encoded images of the shard.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fstriplets.build.job import Job, open_job
from fstriplets.build.plan import read_bucket
from fstriplets.corpus import decode_photo
from fstriplets.errors import FstripletsError, PhotoRejected
from fstriplets.records import AlignedFace, Edit, Face, Photo, PlannedEdit, Triplet
from fstriplets.shards import Sample, write_shard
from fstriplets.shards.writer import EncodedFace
from fstriplets.triplets import form_triplet, plan_triplets, possible_edits

__all__ = ["BucketResult", "BucketTask", "build_bucket"]

#: So many unexpected errors in a row are no bad photos but a fault of ours or of the machine.
STREAK = 10


@dataclass(frozen=True, slots=True)
class BucketTask:
    """What travels to a worker; the photos are read from the plan there."""

    dataset: str
    corpus: str
    generation: int
    shard: str
    split: str
    part: str
    row_group: int
    plan_hash: str
    skip: tuple[str, ...] = ()  #: quarantined photos: rows `failed`, never opened
    only: tuple[str, ...] | None = None  #: probe: these photos alone, nothing is written


@dataclass(frozen=True, slots=True)
class BucketResult:
    """What travels back: counts only."""

    shard: str
    split: str
    counts: dict[str, int]  #: "photos.ok", "edits.rejected", …
    reasons: dict[str, int]  #: "photos.no_face", …
    kinds: dict[str, int]
    bytes: int
    seconds: dict[str, float]  #: stage -> seconds


@dataclass(slots=True)
class _Work:
    """What a bucket gathers on its way to the shard."""

    photos: list[dict[str, Any]] = field(default_factory=list)  #: manifest rows, filled in as they go
    faces: list[Face] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    triplets: list[Triplet] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)  #: `layout: triplets`
    encoded: list[EncodedFace] = field(default_factory=list)  #: `layout: faces`
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    streak: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def build_bucket(task: BucketTask) -> BucketResult:
    """Build and commit one shard.

    Raises:
        OutputError: the dataset cannot be written.
        WeightsError: this worker lacks weights the build started with.
        FstripletsError: ten photos in a row failed for no reason of their own.
    """
    job = open_job(task)
    work = _Work()
    people = read_bucket(job.store, task.part, task.row_group)
    if task.only is not None:
        _probe(job, work, [photo for _, photos in people for photo in photos if photo.photo_id in task.only])
        return _result(task, work, 0)
    for identity_id, photos in people:
        _build_person(job, work, identity_id, photos)
    with work.timed("write"):
        stats = write_shard(
            job.store,
            task.shard,
            task.split,
            work.encoded if job.config.layout == "faces" else work.samples,
            {"photos": work.photos, "faces": work.faces, "edits": work.edits, "triplets": work.triplets},
            task.plan_hash,
            job.codec.extension,
        )
    return _result(task, work, stats.bytes)


def _build_person(job: Job, work: _Work, identity_id: str, photos: list[Photo]) -> None:
    faces = {face.face.face_id: face for face in make_faces(job, work, photos)}
    with work.timed("plan"):
        planned = plan_triplets(identity_id, [face.face for face in faces.values()], job.config)
    images: dict[str, bytes] = {}
    edits = make_edits(job, work, faces, dict.fromkeys(plan.edit for plan in planned), images)
    with work.timed("encode"):
        for face_id in dict.fromkeys(id_ for plan in planned for id_ in (plan.first, plan.second)):
            images[face_id] = job.codec.encode(faces[face_id].pixels)
    photo_of = {photo.photo_id: photo for photo in photos}
    for plan in planned:
        first, second = (photo_of[faces[face_id].face.photo_id] for face_id in (plan.first, plan.second))
        triplet = form_triplet(plan, edits[plan.edit], first, second)
        work.triplets.append(triplet)
        if triplet.status == "ok":
            members = (triplet.source_id, triplet.target_id, triplet.result_id)
            work.samples.append(Sample(triplet, *(images[member] for member in members)))
    origin = {edit.edit_id: edit for edit in edits.values()}
    work.encoded += [_encoded(identity_id, key, image, origin.get(key)) for key, image in images.items()]


def _encoded(identity_id: str, key: str, image: bytes, edit: Edit | None) -> EncodedFace:
    if edit is None:
        return EncodedFace(key, identity_id, key, "", 0.0, image)
    return EncodedFace(key, identity_id, edit.face_id, edit.edit, edit.strength, image)


def _probe(job: Job, work: _Work, photos: list[Photo]) -> None:
    """Do to these photos all that any plan may ask for: which of them kills a worker?"""
    for photo in photos:
        candidates = _candidates(job, work, photo, job.photo_row(photo), {})
        faces = {face.face.face_id: face for face in candidates}
        make_edits(job, work, faces, [e for f in candidates for e in possible_edits(f.face, job.config)], {})


def make_edits(
    job: Job,
    work: _Work,
    faces: dict[str, AlignedFace],
    planned: Iterable[PlannedEdit],
    images: dict[str, bytes],
) -> dict[PlannedEdit, Edit]:
    """Make and judge each planned edit once; the pictures of accepted ones are encoded into `images`."""
    edits: dict[PlannedEdit, Edit] = {}
    start, editing, encoding = time.perf_counter(), job.edits.seconds, work.seconds["encode"]
    for plan, edit, pixels in job.edits.run(faces, planned):
        edits[plan] = edit
        if pixels is not None:
            with work.timed("encode"):
                images[edit.edit_id] = job.codec.encode(pixels)
    editing = job.edits.seconds - editing
    work.seconds["editors"] += editing
    work.seconds["accept"] += time.perf_counter() - start - editing - work.seconds["encode"] + encoding
    work.edits += edits.values()
    return edits


def make_faces(job: Job, work: _Work, photos: list[Photo]) -> list[AlignedFace]:
    """The person's accepted faces. Every photo and every face judged leaves its row."""
    opened: list[tuple[Photo, dict[str, Any], list[AlignedFace]]] = []
    known: dict[str, str] = {}
    for photo in photos:
        row = job.photo_row(photo)
        work.photos.append(row)
        candidates = _candidates(job, work, photo, row, known)
        if candidates:
            opened.append((photo, row, candidates))
    with work.timed("faces"):
        chosen = job.faces.choose([candidates for _, _, candidates in opened])
    chosen = _enough(chosen, job.config.min_images)
    for face, (_, row, _) in zip(chosen, opened, strict=True):
        work.faces.append(face.face)
        if face.face.status != "ok":
            row.update(status=face.face.status, reason=face.face.reason, message=face.face.message)
    return [face for face in chosen if face.face.status == "ok"]


def _candidates(
    job: Job, work: _Work, photo: Photo, row: dict[str, Any], known: dict[str, str]
) -> list[AlignedFace]:
    """Every face of one photo; none when its row says why."""
    if photo.status != "ok":
        return []
    try:
        if photo.photo_id in job.skip:
            raise PhotoRejected("quarantined", "workers died or hung on this photo", "failed")
        with work.timed("read"):
            data = job.corpus.read(photo)
        row.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        if job.config.duplicates.exact and row["sha256"] in known:
            row["duplicate_of"] = known[row["sha256"]]
            raise PhotoRejected("duplicate", "another photo of this person has the same bytes")
        known[row["sha256"]] = photo.photo_id
        with work.timed("decode"):
            decoded = decode_photo(data, job.config.max_pixels)
        row.update(width=decoded.width, height=decoded.height, format=decoded.format)
        with work.timed("faces"):
            found: list[AlignedFace] = job.faces.candidates(photo, decoded)
        work.streak = 0
        return found
    except PhotoRejected as rejected:
        work.streak = 0
        row.update(status=rejected.status, reason=rejected.reason, message=rejected.message)
    except (FstripletsError, ImportError, MemoryError, OSError):
        raise
    except Exception as error:
        work.streak += 1
        row.update(status="failed", reason="error", message=f"{type(error).__name__}: {error}"[:500])
        if work.streak >= STREAK:
            raise FstripletsError(
                f"{STREAK} photos in a row failed, the last one {photo.uri}: {row['message']}"
            ) from error
    return []


def _enough(faces: list[AlignedFace], min_images: int) -> list[AlignedFace]:
    """Turn the person down as a whole when too few faces are left."""
    usable = sum(face.face.status == "ok" for face in faces)
    if usable >= min_images:
        return faces
    why = f"the person has {usable} accepted faces, min_images is {min_images}"
    return [
        replace(face, face=replace(face.face, status="rejected", reason="too_few_images", message=why))
        if face.face.status == "ok"
        else face
        for face in faces
    ]


def _result(task: BucketTask, work: _Work, size: int) -> BucketResult:
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    outcomes = [("photos", row["status"], row["reason"]) for row in work.photos]
    for manifest, records in (("faces", work.faces), ("edits", work.edits), ("triplets", work.triplets)):
        outcomes += [(manifest, record.status, record.reason) for record in records]
    for manifest, status, reason in outcomes:
        counts[f"{manifest}.{status}"] += 1
        if reason:
            reasons[f"{manifest}.{reason}"] += 1
    kinds = Counter(triplet.kind for triplet in work.triplets if triplet.status == "ok")
    return BucketResult(
        task.shard, task.split, dict(counts), dict(reasons), dict(kinds), size, dict(work.seconds)
    )
