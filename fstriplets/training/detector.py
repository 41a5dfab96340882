"""Training the bundled face detector on mosaics of synthetic people.

A cell answers for a face when it lies near the face's middle and its stride fits the face's size; cells
round about are left in peace. Its score learns the overlap of its own box with the truth (quality focal
loss, Li et al. 2020), so that of several answers the best placed one wins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fstriplets.faces.detect_bundled import suppress
from fstriplets.models.networks.face_detector import FaceDetector, decode
from fstriplets.training.average import Average, save_half
from fstriplets.training.loop import warmup_cosine
from fstriplets.training.mosaic import Mosaic, Mosaics
from fstriplets.training.pairs import PairSet
from fstriplets.training.recipe import TrainingRecipe

__all__ = ["DetectorJob", "Recipe", "make_job", "overlap", "targets"]

_RANGES = ((0.0, 44.0), (36.0, 88.0), (72.0, 1e9))  # px of faces a stride answers for
_NEAR, _ROUND = 0.16, 0.32  # of a face's size: cells that answer; cells left in peace
_HELD_OUT = 96  # mosaics of the validation


class Recipe(TrainingRecipe):
    """Keys of pipelines/train-detector.yaml."""

    size: int = Field(160, ge=64, multiple_of=32, description="side of a mosaic, pixels")
    smallest: float = Field(12.0, ge=8, description="smallest face, pixels")
    largest: float = Field(150.0, ge=32, description="largest face, pixels")
    people: int = Field(150, ge=0, description="draw the first so many people only; 0: all")
    turn: float = Field(35.0, ge=0, le=90, description="roll added to a face, degrees")
    box_weight: float = Field(1.5, ge=0, description="of the boxes' overlap")
    point_weight: float = Field(4.0, ge=0, description="of the points, in face sizes")
    weight_decay: float = Field(0.02, ge=0)
    average: float = Field(0.998, ge=0, lt=1, description="of the running average of the weights")


class DetectorJob:
    """One training of the detector."""

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        torch.manual_seed(recipe.seed)
        self.network = FaceDetector().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.network, recipe.average)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._data = data
        self._train = self._mosaics("train")
        self._held_out: tuple[Tensor, list[Mosaic]] | None = None

    def _mosaics(self, part: str) -> Mosaics:
        r = self.recipe
        return Mosaics(PairSet(self._data, part, r.people), r.size, (r.smallest, r.largest), r.turn)

    def batch(self, step: int) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.float32]]]:
        """Pictures [B, S, S, 3] and targets of each stride [B, h * w, 15]."""
        rng = np.random.default_rng([self.recipe.seed, step])
        drawn = [self._train.draw(rng) for _ in range(self.recipe.batch_size)]
        wanted = [
            np.stack([targets(mosaic, self.recipe.size, level) for mosaic in drawn])
            for level in range(len(FaceDetector.strides))
        ]
        return np.stack([mosaic.pixels for mosaic in drawn]), wanted

    def step(
        self, step: int, batch: tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.float32]]]
    ) -> dict[str, float]:
        """One step of AdamW."""
        pixels, wanted = batch
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * warmup_cosine(step, self.recipe.steps)
        self.network.train()
        losses = self._losses(self.network(_photos(pixels)), [torch.from_numpy(w) for w in wanted])
        total = sum(losses.values())
        assert isinstance(total, Tensor)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.follow(self.network, step)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(self, levels: list[Tensor], wanted: list[Tensor]) -> dict[str, Tensor]:
        parts = [decode(level, s) for level, s in zip(levels, FaceDetector.strides, strict=True)]
        scores, boxes, points = (torch.cat(column, dim=1) for column in zip(*parts, strict=True))
        truth = torch.cat(wanted, dim=1)
        kind, true_boxes, true_points = (
            truth[..., 0],
            truth[..., 1:5],
            truth[..., 5:].reshape(*truth.shape[:2], 5, 2),
        )
        mine = kind > 0
        count = mine.sum().clamp_min(1)
        size = (true_boxes[mine][:, 2:] - true_boxes[mine][:, :2]).prod(dim=1).sqrt()
        shared, generalised = overlap(boxes[mine], true_boxes[mine])
        quality = torch.zeros_like(scores)
        quality[mine] = shared.detach().clamp_min(0.1)
        focus = (scores.detach().sigmoid() - quality).square() * (kind >= 0)
        score = (F.binary_cross_entropy_with_logits(scores, quality, reduction="none") * focus).sum() / count
        off = (points[mine] - true_points[mine]).abs().mean(dim=(1, 2)) / size
        return {
            "score": score,
            "box": self.recipe.box_weight * (1 - generalised).sum() / count,
            "points": self.recipe.point_weight * off.sum() / count,
        }

    def state(self) -> dict[str, Any]:
        """Everything that changes."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On mosaics of held-out people: faces found at a score of 0.5 (overlap above 0.5), answers that are
        no face per picture, and how far points are off, in face sizes."""
        if self._held_out is None:
            mosaics, rng = self._mosaics("val"), np.random.default_rng([self.recipe.seed, 2**31])
            drawn = [mosaics.draw(rng) for _ in range(_HELD_OUT)]
            self._held_out = _photos(np.stack([mosaic.pixels for mosaic in drawn])), drawn
        photos, drawn = self._held_out
        found = wrong = faces = 0
        off: list[float] = []
        for first in range(0, len(drawn), 16):
            levels = self.average.network(photos[first : first + 16])
            parts = [decode(level, s) for level, s in zip(levels, FaceDetector.strides, strict=True)]
            columns = [torch.cat(column, dim=1).numpy() for column in zip(*parts, strict=True)]
            for mosaic, scores, boxes, points in zip(drawn[first : first + 16], *columns, strict=True):
                hits, misses, errors = _compare(mosaic, scores, boxes, points)
                faces += int(mosaic.wanted.sum())
                found, wrong = found + hits, wrong + misses
                off += errors
        return {
            "recall": found / max(faces, 1),
            "false_per_picture": wrong / len(drawn),
            "point_error": float(np.mean(off)) if off else 1.0,
        }

    def export(self, folder: Path) -> list[Path]:
        """face_detector.safetensors."""
        return [save_half(self.average.network, folder / "face_detector.safetensors")]


def make_job(recipe: Recipe, data: Path) -> DetectorJob:
    """The job of a recipe; `data` is a folder of `synth pairs`.

    Raises:
        DatasetError: the folder holds no pairs.
    """
    return DetectorJob(recipe, data)


def targets(mosaic: Mosaic, size: int, level: int) -> npt.NDArray[np.float32]:
    """What the cells of a stride should answer: [h * w, 15].

    The first value is 1 for a cell that answers for a face, 0 for one that sees none, -1 for one that may
    say anything; then the box and the five points, pixels.
    """
    stride = FaceDetector.strides[level]
    at = np.arange(size // stride) * stride + (stride - 1) / 2
    cells = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    truth = np.zeros((len(cells), 15), np.float32)
    low, high = _RANGES[level]
    order = np.argsort(-np.prod(mosaic.boxes[:, 2:] - mosaic.boxes[:, :2], axis=1))
    for i in order:  # smaller faces win: they lie before larger ones, or have few cells
        box = mosaic.boxes[i]
        side = float(np.sqrt(np.prod(box[2:] - box[:2])))
        away = np.abs(cells - (box[:2] + box[2:]) / 2).max(axis=1)
        if not mosaic.wanted[i]:
            inside = ((cells >= box[:2]) & (cells <= box[2:])).all(axis=1)
            truth[inside, 0] = -1
            continue
        near = low / 1.25 <= side <= high * 1.25  # of a neighbouring stride's range: in peace, too
        if near:
            truth[(away < max(_ROUND * side, 0.9 * stride)) & (truth[:, 0] == 0), 0] = -1
        if low <= side <= high:
            mine = away < max(_NEAR * side, 0.55 * stride)
            truth[mine, 0] = 1
            truth[mine, 1:5] = box
            truth[mine, 5:] = mosaic.points[i].ravel()
    return truth


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes [N, 4] and [N, 4], plain and generalised (Rezatofighi et al. 2019)."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    outer = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - inner
    plain = inner / union.clamp_min(1e-6)
    return plain, plain - (outer - union) / outer.clamp_min(1e-6)


def _photos(pixels: npt.NDArray[np.uint8]) -> Tensor:
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)
    return values.contiguous(memory_format=torch.channels_last)


def _compare(
    mosaic: Mosaic, scores: np.ndarray, boxes: np.ndarray, points: np.ndarray
) -> tuple[int, int, list[float]]:
    """Faces found, answers that are none, and the points' errors of the found, in face sizes."""
    sure = np.flatnonzero(scores > 0)
    kept = sure[suppress(boxes[sure], scores[sure])]
    errors, wrong, taken = [], 0, set()
    for k in kept:
        box = torch.from_numpy(boxes[k][None])
        shares = [float(overlap(box, torch.from_numpy(other[None]))[0]) for other in mosaic.boxes]
        best = int(np.argmax(shares)) if shares else -1
        if best < 0 or shares[best] < 0.5:
            wrong += not (best >= 0 and shares[best] > 0.1 and not mosaic.wanted[best])
        elif mosaic.wanted[best] and best not in taken:
            taken.add(best)
            side = float(np.sqrt(np.prod(mosaic.boxes[best][2:] - mosaic.boxes[best][:2])))
            errors.append(float(np.hypot(*(points[k] - mosaic.points[best]).T).mean()) / side)
    return len(taken), wrong, errors
