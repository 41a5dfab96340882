"""A swapper against true swaps: how near to what a perfect swap would be, where the face is.

Only synthetic faces have a true swap (`fstriplets synth swaps`), so these measures are reported apart from
those on triplets. The face is the hull of the target's true 68 landmarks: jaw line to brows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fstriplets.faces.aligned import canonical
from fstriplets.shards import Store, iter_manifest
from fstriplets.shards.layout import RUN
from fstriplets.training.swap_features import dataset_crop

__all__ = ["face_hull", "face_masks", "pixel_measures", "sample_landmarks"]

#: Squared error below which a picture counts as equal: 80 dB.
_EQUAL = 1e-8
Points = npt.NDArray[np.float64]


def face_masks(
    data: str | Path | Sequence[str | Path], keys: Sequence[str], size: int, split: str = "val"
) -> Tensor:
    """Where the target's face is in samples of a split: [N, size, size] bool.

    By the landmarks in the dataset's manifests; bare tars have none, there it is the mean face's place.
    """
    known = sample_landmarks(data, size, split) if isinstance(data, str | Path) else {}
    usual = canonical(dataset_crop(data) if isinstance(data, str | Path) else "ffhq", size).points
    return torch.from_numpy(np.stack([face_hull(known.get(key, usual), size) for key in keys]))


def pixel_measures(
    swapped: Tensor, source: Tensor, target: Tensor, truth: Tensor, masks: Tensor
) -> dict[str, float]:
    """PSNR in dB and mean absolute difference (0..255) to the truth inside the face, means over samples.

    Args:
        swapped, source, target, truth: [N, 3, S, S] in [-1, 1]; masks: [N, S, S] bool.

    Returns:
        `psnr` and `l1` of swapped, `…_target` and `…_source` of copying the target and the source.
    """
    values: dict[str, float] = {}
    inside = masks[:, None].float()
    area = inside.sum((1, 2, 3)) * 3
    for name, images in (("", swapped), ("_target", target), ("_source", source)):
        apart = (images - truth) / 2 * inside
        squared = apart.square().sum((1, 2, 3)) / area
        values[f"psnr{name}"] = float((-10 * squared.clamp_min(_EQUAL).log10()).mean())
        values[f"l1{name}"] = float((apart.abs().sum((1, 2, 3)) / area).mean()) * 255
    return values


def sample_landmarks(
    data: str | Path, size: int, split: str = "val", role: str = "target"
) -> dict[str, Points]:
    """Key of a sample of a split -> landmarks [68, 2] of its target (or source) at `size` pixels."""
    store = Store(data)
    if not store.exists(RUN):
        return {}
    stored = int(json.loads(store.read(RUN)).get("config", {}).get("image_size", size))
    points: dict[str, Points] = {}
    for part in iter_manifest(store, "faces", ["face_id", "landmarks"], split):
        for row in part.to_pylist():
            if row["landmarks"]:
                crop = np.asarray(row["landmarks"], np.float64).reshape(-1, 2)
                points[row["face_id"]] = (crop + 0.5) * (size / stored) - 0.5
    column = f"{role}_id"
    return {
        row["triplet_id"]: points[row[column]]
        for part in iter_manifest(store, "triplets", ["triplet_id", column], split)
        for row in part.to_pylist()
        if row[column] in points
    }


def face_hull(points: Points, size: int) -> npt.NDArray[np.bool_]:
    """The places within landmarks [68, 2]: [size, size] bool; never empty, wherever the points lie."""
    mask = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(points.astype(np.float32))
    cv2.fillConvexPoly(mask, np.rint(hull * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return mask > 0 if mask.any() else np.ones((size, size), np.bool_)
