"""A detector against another one that is known to be good: faces found, boxes, points, false alarms.

    python -m fstriplets.faces.measure FOLDER --set detector=bundled --reference yunet

A face counts as found when an answer's box overlaps the largest box of the reference by more than 0.4
(intersection over union). An answer that overlaps none of the reference's boxes by 0.25 is a false alarm, or
a face the reference missed. Points are compared in distances between the eyes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.corpus import Corpus, decode_photo
from fstriplets.errors import PhotoRejected
from fstriplets.faces.detectors import Box, Detection, load_detector
from fstriplets.faces.landmarks import five_points

__all__ = ["Agreement", "agreement_report", "compare_photo", "shared_area"]

_FOUND, _SAME = 0.4, 0.25


@dataclass
class Agreement:
    """What came of comparing two detectors, summed over photos.

    Attributes:
        photos: in which the reference finds a face; found: of these.
        alarms: answers where the reference sees nothing; first: photos whose largest answer is one.
        overlaps, errors: of the found ones: intersection over union, mean distance of the five points.
    """

    photos: int = 0
    found: int = 0
    alarms: int = 0
    first: int = 0
    overlaps: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


def shared_area(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inner = width * height
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / whole if whole > 0 else 0.0


def compare_photo(
    total: Agreement, found: list[Detection], reference: list[Detection], min_score: float
) -> None:
    """Adds a photo to the sums; photos without a face of the reference are left out."""
    if not reference:
        return
    answers = [answer for answer in found if answer.score >= min_score]
    total.photos += 1
    alarms = [answer for answer in answers if max(shared_area(answer.box, r.box) for r in reference) < _SAME]
    total.alarms += len(alarms)
    total.first += bool(answers) and answers[0] in alarms
    wanted = reference[0]
    best = max(answers, key=lambda answer: shared_area(answer.box, wanted.box), default=None)
    if best is None or shared_area(best.box, wanted.box) <= _FOUND:
        return
    total.found += 1
    total.overlaps.append(shared_area(best.box, wanted.box))
    mine, other = five_points(best.points), five_points(wanted.points)
    eyes = float(np.hypot(*(other[1] - other[0])))
    total.errors.append(float(np.hypot(*(mine - other).T).mean()) / max(eyes, 1e-6))


def agreement_report(
    corpus: Corpus, config: PipelineConfig, reference: str, limit: int = 0, every: int = 1
) -> Iterator[str]:
    """Lines on the config's detector against `reference`, at several scores.

    Args:
        limit: people to look at; 0: all. every: look at every n-th photo of a person.
    """
    mine, other = load_detector(config), load_detector(config.model_copy(update={"detector": reference}))
    scores = sorted({0.3, 0.4, config.quality.min_score, 0.6})
    sums = {score: Agreement() for score in scores}
    for _, photos in list(corpus.identities())[: limit or None]:
        for photo in photos[::every]:
            try:
                pixels: npt.NDArray[np.uint8] = decode_photo(corpus.read(photo), config.max_pixels).pixels
            except PhotoRejected:
                continue
            answers, truth = mine.detect(photo, pixels), other.detect(photo, pixels)
            for score in scores:
                compare_photo(sums[score], answers, truth, score)
    yield f"{mine.name} against {other.name}, {sums[scores[0]].photos} photos"
    for score in scores:
        s = sums[score]
        count = max(s.photos, 1)
        yield (
            f"  score >= {score:.2f}: found {s.found / count:6.1%}  overlap {_mean(s.overlaps):.2f}"
            f"  points {_mean(s.errors):.3f} eye distances  false alarms a photo {s.alarms / count:.3f}"
            f"  largest is one {s.first / count:.1%}"
        )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
