"""A swapper judged: against true swaps of synthetic people, and between people of real photos.

Beside it stand the two cheap answers, copying the target and copying the source, and the truth itself: what
the instruments say of a perfect swap is their noise (the truth has the target's very pose and expression).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fstriplets.config import PipelineConfig
from fstriplets.corpus import open_corpus
from fstriplets.edits.measure import some_faces
from fstriplets.errors import DatasetError
from fstriplets.faces import FaceStage
from fstriplets.faces.aligned import canonical
from fstriplets.faces.analyser import Analyser, shared_analyser
from fstriplets.swapping.model import Model, swap_faces
from fstriplets.training.losses import PerceptualLoss
from fstriplets.training.swap_data import first_samples
from fstriplets.training.swap_features import Features
from fstriplets.training.swap_recipe import Recipe
from fstriplets.training.swap_truth import face_masks, pixel_measures, sample_landmarks
from fstriplets.triplets.kinds import TRUE_SWAP

__all__ = ["Pictures", "SwapRow", "evaluate_photo_swaps", "evaluate_true_swaps"]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Embed = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]

#: Attributes whose change tells that the expression was not kept.
_EXPRESSION = ("smile", "mouth_open")
_CHUNK = 16


@dataclass(frozen=True)
class Pictures:
    """Samples side by side: uint8 [N, S, S, 3] each; `truth` is None where nobody knows it."""

    source: Pixels
    target: Pixels
    swapped: Pixels
    truth: Pixels | None = None

    def sheet(self, count: int = 12) -> Pixels:
        """The first samples, a column each: source, target, swapped, truth from above."""
        lines = [p[:count] for p in (self.source, self.target, self.swapped, self.truth) if p is not None]
        return np.vstack([np.hstack(list(line)) for line in lines])


@dataclass(frozen=True, slots=True)
class SwapRow:
    """Means over samples of one answer: swapped, target, source, or truth.

    Attributes:
        psnr, l1: to the truth inside the face, dB and 0..255; perceptual: distance to the truth of features,
            where the answers differ inside the face only. None without a truth, and of the truth.
        to_source, to_target: cosine of the recogniser.
        pose: mean absolute difference of yaw, pitch and roll to the target's, degrees, as measured.
        expression: likewise of the smile's and the open mouth's score, 0..1.
    """

    answer: str
    samples: int
    psnr: float | None
    l1: float | None
    perceptual: float | None
    to_source: float | None
    to_target: float | None
    pose: float
    expression: float


def evaluate_true_swaps(
    data: Path,
    split: str,
    model: Model,
    count: int,
    embed: Embed | None,
    features: Features,
    strength: float = 1.0,
) -> tuple[list[SwapRow], Pictures]:
    """A swapper on the true swaps of a dataset's split.

    Args:
        data: of `synth swaps`. count: samples at most. embed: of crops and landmarks, as FaceStage's.
        features: of the perceptual distance. strength: of the identity; see swapping.model.swap_faces.

    Raises:
        DatasetError: no such split, or other samples than true swaps in it.
    """
    recipe = Recipe(
        steps=1, image_size=model.size, vanilla=0.0, vanilla_same=0.0, fresh_pairs=False, mix="triplets"
    )
    batch = first_samples(data, split, recipe, count)
    if set(batch.kinds) != {TRUE_SWAP.name}:
        raise DatasetError(f"{data}: the {split} split holds no true swaps; draw them with `synth swaps`")
    source, target, truth = (_pixels(part) for part in (batch.source, batch.target, batch.result))
    pictures = Pictures(source, target, _swap(model, source, target, strength), truth)
    usual = canonical(model.crop, model.size).points
    known = [sample_landmarks(data, model.size, split, role) for role in ("source", "target")]
    source_points, target_points = (np.stack([of.get(key, usual) for key in batch.keys]) for of in known)
    masks = face_masks(data, batch.keys, model.size, split)
    rows = _rows(pictures, source_points, target_points, embed)
    return [_against_truth(row, pictures, masks, features) for row in rows], pictures


def evaluate_photo_swaps(
    folder: Path, config: PipelineConfig, stage: FaceStage, model: Model, people: int, strength: float = 1.0
) -> tuple[list[SwapRow], Pictures]:
    """Swaps between the people of a folder, each one's face onto the next one's photo.

    Args:
        folder: one folder a person; config, stage: of the swapper's crop and size. strength: as above.

    Raises:
        DatasetError: fewer than two usable people.
    """
    faces = some_faces(open_corpus(str(folder), config), stage, config, 2 * people)
    targets = list({f.face.identity_id: f for f in faces}.values())[:people]
    if len(targets) < 2:
        raise DatasetError(f"{folder}: a swap needs the faces of two people, {len(targets)} can be used")
    sources = targets[1:] + targets[:1]
    source, target = (np.stack([f.pixels for f in part]) for part in (sources, targets))
    points = [np.array([f.face.landmarks for f in part], np.float64) for part in (sources, targets)]
    pictures = Pictures(source, target, _swap(model, source, target, strength))
    return _rows(pictures, points[0], points[1], stage.embed), pictures


def _swap(model: Model, source: Pixels, target: Pixels, strength: float) -> Pixels:
    parts = []
    for at in range(0, len(source), _CHUNK):
        rows = slice(at, at + _CHUNK)
        parts.append(swap_faces(model, target[rows], model.embed(source[rows]), strength))
    return np.concatenate(parts)


def _rows(
    pictures: Pictures, source_points: Points, target_points: Points, embed: Embed | None
) -> list[SwapRow]:
    """What recogniser and analyser say of every answer; all but the source have the target's landmarks."""
    answers = {"swapped": pictures.swapped, "target": pictures.target, "source": pictures.source}
    if pictures.truth is not None:
        answers["truth"] = pictures.truth
    wanted = None if embed is None else embed(pictures.source, source_points)
    before = None if embed is None else embed(pictures.target, target_points)
    analyser = shared_analyser()
    kept = _readings(analyser, pictures.target, target_points)
    rows = []
    for name, pixels in answers.items():
        points = source_points if name == "source" else target_points
        vectors = None if embed is None else embed(pixels, points)
        read = _readings(analyser, pixels, points)
        pose, expression = (np.abs(now - then).mean() for now, then in zip(read, kept, strict=True))
        rows.append(
            SwapRow(
                name, len(pixels), None, None, None, _cosine(vectors, wanted), _cosine(vectors, before),
                float(pose), float(expression),
            )
        )  # fmt: skip
    return rows


def _cosine(vectors: np.ndarray | None, others: np.ndarray | None) -> float | None:
    return None if vectors is None or others is None else float((vectors * others).sum(1).mean())


def _readings(analyser: Analyser, crops: Pixels, points: Points) -> tuple[Points, Points]:
    """Pose [N, 3] in degrees and expression [N, 2] as the analyser reads them."""
    read = [analyser.read(crop, where) for crop, where in zip(crops, points, strict=True)]
    pose = np.array([r.pose for r in read], np.float64)
    return pose, np.array([[r.attributes[name] for name in _EXPRESSION] for r in read], np.float64)


def _against_truth(row: SwapRow, pictures: Pictures, masks: Tensor, features: Features) -> SwapRow:
    """The row with its distances to the truth."""
    assert pictures.truth is not None
    if row.answer == "truth":
        return row
    truth = _images(pictures.truth)
    made = _images(getattr(pictures, row.answer))
    found = pixel_measures(made, made, made, truth, masks)
    inside = torch.where(masks[:, None], made, truth)
    distance = PerceptualLoss(features, [1.0] * max(1, len(features.taps)))
    with torch.inference_mode():
        parts = [
            float(distance(a, b)) * len(a)
            for a, b in zip(torch.split(inside, _CHUNK), torch.split(truth, _CHUNK), strict=True)
        ]
    return SwapRow(
        row.answer, row.samples, found["psnr"], found["l1"], sum(parts) / len(made),
        row.to_source, row.to_target, row.pose, row.expression,
    )  # fmt: skip


def _pixels(images: Tensor) -> Pixels:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def _images(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
