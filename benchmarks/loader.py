"""Our loader against plain webdataset on the same shards, doing the same decode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import webdataset as wds
from torch.utils.data import DataLoader

import fstriplets
from benchmarks.measure import Figure, paired
from fstriplets.runtime import default_workers

__all__ = ["loader"]

BATCH = 32
ROLES = ("source", "target", "result")


def loader(dataset: Path, pairs: int = 3) -> list[Figure]:
    """Batches of 32 decoded triplets [32, 3, 256, 256] float32 in [-1, 1], shuffled, one worker a core."""
    workers = default_workers()
    urls = sorted(str(path) for path in (dataset / "shards" / "train").glob("*.tar"))
    samples = 0

    def ours() -> None:
        nonlocal samples
        data = fstriplets.open_triplets(urls, batch_size=BATCH, shuffle=256)
        samples = _drain(data, workers)

    def plain() -> None:
        pipeline = (
            wds.WebDataset(urls, shardshuffle=len(urls), nodesplitter=wds.split_by_node, seed=0)
            .shuffle(256)
            .map(_decode)
            .batched(BATCH, collation_fn=_collate)
        )
        assert _drain(pipeline, workers) == samples

    ours(), plain()
    ratio, mine, theirs = paired(ours, plain, pairs)
    detail = f"{samples / mine:,.0f} against {samples / theirs:,.0f} triplets/s, {workers} workers"
    return [Figure("loader against plain webdataset", ratio, "x", ">= 1.0", detail)]


def _drain(data: Any, workers: int) -> int:
    batches: Iterator[dict[str, Any]] = iter(DataLoader(data, batch_size=None, num_workers=workers))
    return sum(len(batch["result"]) for batch in batches)


def _decode(sample: dict[str, Any]) -> dict[str, Any]:
    """The same work as our loader does: cv2, RGB, float32 in [-1, 1], channels first."""
    images = {}
    for role in ROLES:
        pixels = cv2.imdecode(np.frombuffer(sample[f"{role}.jpg"], np.uint8), cv2.IMREAD_COLOR_RGB)
        images[role] = torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32).div_(127.5).sub_(1)
    return {"__key__": sample["__key__"], **images}


def _collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch: dict[str, Any] = {role: torch.stack([sample[role] for sample in samples]) for role in ROLES}
    batch["__key__"] = [sample["__key__"] for sample in samples]
    return batch
