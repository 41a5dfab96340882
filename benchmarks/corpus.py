"""Corpora to measure with: aligned crops of the size and file size of real ones, and a very large table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

__all__ = ["write_crops", "write_table"]

SIZE = 256  # pixels


def write_crops(folder: Path, people: int, photos: int) -> Path:
    """A folder per person of 256 px JPEG crops, all different, about 27 KiB each like faces at quality 95."""
    rng = np.random.default_rng(0)
    details = [_smooth(rng, 9, 12) + _grain(rng) for _ in range(photos)]
    for person in range(people):
        place = folder / f"p{person:05d}"
        place.mkdir(parents=True)
        base = _smooth(rng, 6, 40) + 130
        for photo, detail in enumerate(details):
            pixels = np.clip(base + detail, 0, 255).astype(np.uint8)
            cv2.imwrite(str(place / f"{photo}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


def _smooth(rng: np.random.Generator, cells: int, spread: float) -> np.ndarray:
    coarse = rng.normal(0, spread, (cells, cells, 3)).astype(np.float32)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _grain(rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(rng.normal(0, 22, (SIZE, SIZE, 3)).astype(np.float32), (0, 0), 0.8)


def write_table(path: Path, people: int, photos: int) -> Path:
    """A parquet corpus table of `photos` rows; identities differ in size as in FSTriplets (5 and more)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    extra = rng.multinomial(photos - 5 * people, rng.dirichlet(np.full(people, 2.0)))
    identity = np.repeat(np.arange(people), 5 + extra)
    number = np.arange(photos)
    table = pa.table(
        {
            "path": pa.array([f"{i:05d}/{n:07d}.jpg" for i, n in zip(identity, number, strict=True)]),
            "identity_id": pa.array([f"person-{i:05d}" for i in identity]),
            "licence": pa.array(np.full(photos, "CC-BY-4.0")),
            "consent": pa.array(np.full(photos, "signed form")),
        }
    )
    pq.write_table(table, path)
    return path
