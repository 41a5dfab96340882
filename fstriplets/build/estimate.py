"""--dry-run: what a build would give and take, from the plan and a few photos tried for real."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable

from fstriplets.build.job import describe, stages_of
from fstriplets.build.plan import pack
from fstriplets.build.report import BuildReport
from fstriplets.config import PipelineConfig
from fstriplets.corpus import Corpus, decode_photo
from fstriplets.edits.base import EDIT_GROUPS
from fstriplets.errors import CorpusError, PhotoRejected
from fstriplets.records import AlignedFace, Photo
from fstriplets.shards import ImageCodec
from fstriplets.triplets import possible_edits
from fstriplets.triplets.kinds import KINDS

__all__ = ["estimate"]

#: Photos tried to learn what one costs.
TRIED = 8


def estimate(
    config: PipelineConfig, corpus: Corpus, identities: Iterable[tuple[str, list[Photo]]]
) -> BuildReport:
    """Plan without writing, try a few photos, multiply.

    Raises:
        CorpusError: nobody has enough photos.
    """
    report = BuildReport(output=config.output or "", dry_run=True)
    tried: list[Photo] = []
    rejects: Counter[str] = Counter()
    shards: Counter[str] = Counter()
    usable = 0
    for bucket in pack(identities, config, {}):
        shards[bucket.split] += bool(bucket.expected)
        report.triplets += bucket.expected
        for _, photos in bucket.identities:
            good = [photo for photo in photos if photo.status == "ok"]
            report.identities += bool(good)
            report.photos += len(photos)
            usable += len(good)
            rejects.update(photo.reason for photo in photos if photo.reason)
            tried += good[:1] if len(tried) < TRIED else []
    if not usable:
        raise CorpusError(
            f"nobody in {config.corpus} has min_images {config.min_images} usable photos"
            f" ({report.photos} photos in all); add photos or lower it: --set min_images=2"
        )
    report.shards = dict(shards)
    report.rejects = {"photos": dict(rejects)} if rejects else {}
    report.kinds = _shares(config.active_kinds(), report.triplets)
    _costs(report, config, corpus, tried, usable)
    return report


def _shares(kinds: dict[str, float], triplets: int) -> dict[str, int]:
    total = sum(kinds.values())
    return {name: round(triplets * ratio / total) for name, ratio in kinds.items()}


def _costs(
    report: BuildReport, config: PipelineConfig, corpus: Corpus, tried: list[Photo], usable: int
) -> None:
    report.identity = describe(config.shaping_json()).identity  # loads the models, outside the clock
    faces, face_seconds = _try_faces(config, corpus, tried)
    report.faces = round(usable * len(faces) / len(tried))
    report.edits = round(report.faces * _edits_per_face(config))
    if not faces:
        report.estimate_seconds = usable * face_seconds
        return
    size, encode_seconds = _try_encoding(config, faces)
    edit_seconds = _try_edits(config, faces)
    kept = report.faces / usable
    report.triplets = round(report.triplets * kept)
    report.kinds = {kind: round(n * kept) for kind, n in report.kinds.items()}
    images = report.faces + report.edits
    stored = images if config.layout == "faces" else 3 * report.triplets
    report.bytes = round(stored * (size + 700))  # 512 bytes of tar header, padding, a share of the JSON
    seconds = usable * face_seconds + report.edits * edit_seconds + images * encode_seconds
    report.estimate_seconds = seconds / (config.runtime.workers or os.cpu_count() or 1)


def _try_faces(config: PipelineConfig, corpus: Corpus, tried: list[Photo]) -> tuple[list[AlignedFace], float]:
    stage, _ = stages_of(config.shaping_json())
    start = time.perf_counter()
    found: list[AlignedFace] = []
    for photo in tried:
        try:
            decoded = decode_photo(corpus.read(photo), config.max_pixels)
            found += stage.candidates(photo, decoded)[:1]
        except PhotoRejected:
            continue
    return found, (time.perf_counter() - start) / len(tried)


def _try_encoding(config: PipelineConfig, faces: list[AlignedFace]) -> tuple[float, float]:
    codec = ImageCodec(config.image_format, config.image_quality)
    start = time.perf_counter()
    sizes = [len(codec.encode(face.pixels)) for face in faces]
    return sum(sizes) / len(sizes), (time.perf_counter() - start) / len(sizes)


def _try_edits(config: PipelineConfig, faces: list[AlignedFace]) -> float:
    _, stage = stages_of(config.shaping_json())
    planned = [edit for face in faces[:2] for edit in possible_edits(face.face, config)]
    start = time.perf_counter()
    for _ in stage.run({face.face.face_id: face for face in faces}, planned):
        pass
    return (time.perf_counter() - start) / max(1, len(planned))


def _edits_per_face(config: PipelineConfig) -> float:
    """Different edits a face gets: as many as its triplets ask for, shared where they are equal."""
    kinds = config.active_kinds()
    total = sum(kinds.values())
    distinct = 0.0
    for group in ("identity", "attribute"):
        share = sum(ratio for kind, ratio in kinds.items() if KINDS[kind].group == group) / total
        wanted = share * config.triplets_per_photo
        ratios = [e.ratio for name, e in config.edits.items() if EDIT_GROUPS[name] == group and e.ratio > 0]
        for ratio in ratios:
            pools = config.strengths_per_edit
            distinct += pools * (1 - (1 - ratio / sum(ratios) / pools) ** wanted)
    return distinct
