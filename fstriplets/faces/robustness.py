"""How steady the face stage is: copies of a photo must give the same crop, and be known as copies.

Called by `python -m fstriplets.faces.measure FOLDER --copies N`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.corpus import Corpus, DecodedPhoto, decode_photo
from fstriplets.errors import PhotoRejected
from fstriplets.faces.quality import bits_apart, perceptual_hash, registered_correlation
from fstriplets.faces.stage import FaceStage
from fstriplets.records import AlignedFace, Photo

__all__ = ["copies_of", "copies_report"]

Pixels = npt.NDArray[np.uint8]


def copies_of(pixels: Pixels) -> dict[str, tuple[Pixels, npt.NDArray[np.float64]]]:
    """Copies of a photo as they circulate, each with the [2, 3] affine from photo to copy pixels."""
    height, width = pixels.shape[:2]
    same = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    again = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    small = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    top, left = height // 25, width // 50
    cut = np.ascontiguousarray(pixels[top : height - top, left : width - left])
    brighter = np.clip(pixels * 1.15 + 8, 0, 255).astype(np.uint8)
    grey = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    halved = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    return {
        "JPEG quality 40": (again, same),
        "half size": (small, halved),
        "cut": (cut, same - np.array([[0, 0, left], [0, 0, top]])),
        "brighter": (brighter, same),
        "grey": (grey, same),
    }


def copies_report(corpus: Corpus, config: PipelineConfig, count: int) -> Iterator[str]:
    """Compare crops of photos with crops of their copies, and with other photos of the person.

    Args:
        count: photos to take, one a person.
    """
    stage = FaceStage(config)
    copies: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    others: list[tuple[float, ...]] = []
    for _, photos in list(corpus.identities())[:count]:
        faces = [_largest(stage, corpus, photo) for photo in photos[:4]]
        here = [face for face in faces if face is not None]
        if not here:
            continue
        first = here[0]
        others += [_alike(a.pixels, b.pixels) for i, a in enumerate(here) for b in here[:i]]
        photo = next(p for p in photos if p.photo_id == first.face.photo_id)
        pixels = decode_photo(corpus.read(photo), config.max_pixels).pixels
        for name, (copy, matrix) in copies_of(pixels).items():
            try:
                found = stage.candidates(photo, DecodedPhoto(copy, "jpeg"))[0]
            except PhotoRejected:
                continue
            copies[name].append(_alike(first.pixels, found.pixels) + _moved(first, found, matrix))
    yield "copies             n  hash bits p50/p95  correlation p5/p1  turned p50/p95 deg  scaled p50/p95 %"
    for name, rows in copies.items():
        yield f"  {name:<16}{len(rows):4}  " + _columns(rows)
    if others:
        bits, alike = np.array(others).T
        yield (
            f"different photos of a person: {len(others)} pairs, hash bits p1/p5 {_pair(bits, 1, 5)},"
            f" correlation p99/max {_pair(alike, 99, 100)}"
        )


def _largest(stage: FaceStage, corpus: Corpus, photo: Photo) -> AlignedFace | None:
    try:
        return stage.candidates(photo, decode_photo(corpus.read(photo), stage.config.max_pixels))[0]
    except PhotoRejected:
        return None


def _alike(a: Pixels, b: Pixels) -> tuple[float, ...]:
    return float(bits_apart(perceptual_hash(a), perceptual_hash(b))), registered_correlation(a, b)


def _moved(a: AlignedFace, b: AlignedFace, matrix: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """By how many degrees and per cent the copy's crop differs from the photo's."""
    linear = np.array(a.face.transform).reshape(2, 3)[:, :2]
    other = np.array(b.face.transform).reshape(2, 3)[:, :2] @ matrix[:, :2]
    between = other @ np.linalg.inv(linear)
    turned = abs(float(np.degrees(np.arctan2(between[1, 0], between[0, 0]))))
    return turned, 100 * abs(float(np.hypot(between[0, 0], between[1, 0])) - 1)


def _columns(rows: Sequence[tuple[float, ...]]) -> str:
    bits, alike, turned, scaled = np.array(rows).T
    return (
        f"{_pair(bits, 50, 95):>16}  {_pair(alike, 5, 1):>16}  {_pair(turned, 50, 95):>18}"
        f"  {_pair(scaled, 50, 95):>16}"
    )


def _pair(values: npt.NDArray[np.float64], low: float, high: float) -> str:
    return " / ".join(f"{v:.3f}" if abs(v) < 1 else f"{v:.1f}" for v in np.percentile(values, [low, high]))
