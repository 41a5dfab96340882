"""Faces to calibrate on and to compare with: a dataset's val split, or the demo's synthetic people."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fstriplets.errors import DatasetError

__all__ = ["FacePairs", "dataset_faces", "demo_faces"]

Images = npt.NDArray[np.float32]

#: Share of pairs of two people; the others are the triplets' own, whose source is often the target's person.
_STRANGERS = 0.5
_MOST_PIXELS = 1 << 20  # of a demo photo


@dataclass(frozen=True)
class FacePairs:
    """Aligned crops, sources beside targets."""

    sources: Images  #: [N, 3, S, S] in [-1, 1]
    targets: Images  #: [N, 3, S, S] in [-1, 1]
    origin: str  #: what reports call them

    def __len__(self) -> int:
        return len(self.targets)

    def halves(self) -> tuple[FacePairs, FacePairs]:
        """Every other pair, and the rest; both times all of them if there is one only."""
        first, second = (slice(0, None, 2), slice(1, None, 2)) if len(self) > 1 else (slice(None),) * 2
        return self._part(first), self._part(second)

    def _part(self, rows: slice) -> FacePairs:
        targets = self.targets[rows]
        return FacePairs(self.sources[rows], targets, f"{len(targets)} pairs of {self.origin}")

    def some(self, rows: npt.NDArray[np.bool_]) -> FacePairs:
        """Those that are marked."""
        return FacePairs(self.sources[rows], self.targets[rows], self.origin)


def dataset_faces(data: str | Path, split: str, size: int, count: int) -> FacePairs:
    """The same `count` pairs of a split every time (fewer if it holds fewer).

    Raises:
        DatasetError: no such dataset or split, or it is empty.
    """
    from fstriplets.shards.reader import open_triplets

    stream = open_triplets(
        data, split=split, shuffle=256, seed=0, vanilla=_STRANGERS, image_size=size, rank=0, world_size=1
    )
    sources, targets = [], []
    for sample in stream:
        sources.append(sample["source"].numpy())
        targets.append(sample["target"].numpy())
        if len(targets) == count:
            break
    if not targets:
        raise DatasetError(f"{data}: the split {split!r} is empty: choose another with --split")
    return FacePairs(np.stack(sources), np.stack(targets), f"{Path(data).name}/{split}")


def demo_faces(crop: str, size: int, count: int) -> FacePairs:
    """Pairs of the demo's synthetic people, each target beside a source of the next person."""
    from fstriplets.corpus.decode import decode_photo
    from fstriplets.faces.align import similarity, warp
    from fstriplets.faces.landmarks import five_points
    from fstriplets.faces.templates import template_points
    from fstriplets.resources import resource

    folder = resource("demo")
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    people: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        people.setdefault(row["identity_id"], []).append(row)
    # One photo of each person, then the second of each: few pairs are as many people as can be.
    turns = [row for turn in zip(*people.values(), strict=False) for row in turn][:count]
    crops = []
    for row in turns:
        photo = decode_photo((folder / row["path"]).read_bytes(), _MOST_PIXELS).pixels
        matrix = similarity(five_points(json.loads(row["landmarks"])), template_points(crop, size))
        crops.append(warp(photo, matrix, size))
    targets = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    sources = np.roll(targets, 1, axis=0)
    return FacePairs(sources, targets, "the demo's synthetic people")
