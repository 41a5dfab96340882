"""Training the bundled face embedder on synthetic people.

The recogniser's head learns to tell the people apart with a margin (CosFace, Wang et al. 2018), the smooth
head by supervised contrast (Khosla et al. 2020) over the same batch. Photos of one person differ in pose,
light, expression and background; glasses, a grin and another haircut keep the identity, so those edits count
as the same person, while age, chubbiness and beard change it and are left out. Real photos differ from
rendered ones in everything else, hence the heavy augmentation: what survives it is the shape of the face.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fstriplets.faces.align import similarity
from fstriplets.faces.identity import verification_auc
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.networks.face_embedder import EMBEDDER_SIDE, FaceEmbedder
from fstriplets.synth.regions import LABELS
from fstriplets.training import augment
from fstriplets.training.average import Average, save_half
from fstriplets.training.loop import warmup_cosine
from fstriplets.training.pairs import PairSet
from fstriplets.training.recipe import TrainingRecipe

__all__ = ["SAME_PERSON", "IdentityJob", "Recipe", "identity_crop", "make_job"]

#: Edits after which somebody is still the same person.
SAME_PERSON = ("", "glasses", "sunglasses", "grin", "hair_colour", "hair_fringe", "hair_bald", "hair_cut")
_ODDS = dict(augment.DEGRADATIONS, grey=0.25, blur=0.3, resample=0.4, jpeg=0.5, noise=0.3)
_HELD_OUT = 400  # pictures of the validation

Rng = np.random.Generator
Pixels = npt.NDArray[np.uint8]
Batch = tuple[Pixels, npt.NDArray[np.int64]]


class Recipe(TrainingRecipe):
    """Keys of pipelines/train-identity.yaml."""

    photos: int = Field(2, ge=2, description="photos of a person in a batch")
    people: int = Field(1200, ge=1, description="use the first so many people, as far as they are drawn")
    margin: float = Field(0.25, ge=0, lt=1, description="cosine by which a person must win")
    scale: float = Field(24.0, gt=0, description="of the cosines before softmax")
    smooth_weight: float = Field(0.5, ge=0, description="of the contrastive loss")
    temperature: float = Field(0.1, gt=0, description="of the contrastive loss")
    weight_decay: float = Field(0.0005, ge=0)
    average: float = Field(0.998, ge=0, lt=1, description="of the running average of the weights")


class IdentityJob:
    """One training of the embedder."""

    def __init__(self, recipe: Recipe, data: Path) -> None:
        if recipe.batch_size % recipe.photos:
            raise ValueError("batch_size must be a multiple of photos")
        self.recipe = recipe
        self._pairs = PairSet(data, "train", recipe.people)
        self._numbers, self._members = _members(self._pairs)
        torch.manual_seed(recipe.seed)
        self.network = FaceEmbedder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # One a person of the recipe, so that a run goes on when more of them have been drawn.
        self.centres = nn.Parameter(torch.randn(recipe.people, 512) * 0.05)
        self.average = Average(self.network, recipe.average)
        self.optimiser = torch.optim.AdamW(
            [*self.network.parameters(), self.centres], recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._data = data
        self._held_out: tuple[Tensor, npt.NDArray[np.int64]] | None = None

    def batch(self, step: int) -> Batch:
        """Crops [B, 64, 64, 3] and who they show [B], by number among the people."""
        rng = np.random.default_rng([self.recipe.seed, step])
        count = self.recipe.batch_size // self.recipe.photos
        chosen = rng.choice(len(self._members), count, replace=count > len(self._members))
        crops, labels = [], []
        for label in chosen:
            own = self._members[label]
            for index in rng.choice(own, self.recipe.photos, replace=len(own) < self.recipe.photos):
                crops.append(self._crop(int(index), rng))
                labels.append(label)
        return np.stack(crops), np.array(labels, np.int64)

    def _crop(self, index: int, rng: Rng) -> Pixels:
        """An augmented crop of a picture."""
        pixels, landmarks = self._pairs.pixels(index, half=True), self._pairs.landmarks[index]
        if rng.random() < 0.4:
            background = self._pairs.labels(index)[::2, ::2] == LABELS.index("background")
            pixels = augment.replace_background(pixels, background, rng)
        crop = identity_crop(pixels, (landmarks + 0.5) / 2 - 0.5, rng)
        if rng.random() < 0.25:
            crop, _ = augment.occlude(crop, rng, area=0.3)
        elif rng.random() < 0.08:  # half a face
            side = int(rng.integers(4))
            half = np.rot90(crop, side).copy()
            half[: int(EMBEDDER_SIDE * rng.uniform(0.25, 0.5))] = int(rng.integers(256))
            crop = np.ascontiguousarray(np.rot90(half, -side))
        return augment.degrade(crop, rng, _ODDS)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One step of AdamW."""
        pixels, labels = batch[0], torch.from_numpy(batch[1])
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * warmup_cosine(step, self.recipe.steps)
        self.network.train()
        sharp, smooth = self.network.both(_faces(pixels))
        cosines = sharp @ F.normalize(self.centres[self._numbers]).T
        # The margin grows over the first fifth: at once, it hides the people from an untrained network.
        margin = self.recipe.margin * min(1.0, 5 * step / self.recipe.steps)
        people = F.cross_entropy(
            (cosines - margin * F.one_hot(labels, len(self._numbers))) * self.recipe.scale, labels
        )
        contrast = contrastive(smooth, labels, self.recipe.temperature)
        self.optimiser.zero_grad(set_to_none=True)
        (people + self.recipe.smooth_weight * contrast).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.follow(self.network, step)
        right = (cosines.argmax(dim=1) == labels).float().mean()
        return {"people": people.item(), "contrast": contrast.item(), "right": right.item()}

    def state(self) -> dict[str, Any]:
        """Everything that changes."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "centres": self.centres.detach(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        with torch.no_grad():
            self.centres.copy_(state["centres"])

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out people, lightly degraded: area under the curve of same or other person, both heads."""
        if self._held_out is None:
            self._held_out = self._validation()
        faces, labels = self._held_out
        parts = [self.average.network.both(faces[i : i + 64]) for i in range(0, len(faces), 64)]
        sharp, smooth = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        return {"auc": verification_auc(sharp, labels), "auc_smooth": verification_auc(smooth, labels)}

    def _validation(self) -> tuple[Tensor, npt.NDArray[np.int64]]:
        pairs = PairSet(self._data, "val")
        rng = np.random.default_rng([self.recipe.seed, 2**31])
        indices = np.concatenate(_members(pairs)[1])[:_HELD_OUT]
        crops = [augment.degrade(identity_crop(pairs.pixels(i), pairs.landmarks[i]), rng) for i in indices]
        return _faces(np.stack(crops)), pairs.person[indices].astype(np.int64)

    def export(self, folder: Path) -> list[Path]:
        """face_embedder.safetensors: both heads."""
        return [save_half(self.average.network, folder / "face_embedder.safetensors")]


def make_job(recipe: Recipe, data: Path) -> IdentityJob:
    """The job of a recipe; `data` is a folder of `synth pairs`.

    Raises:
        DatasetError: the folder holds no pairs.
    """
    return IdentityJob(recipe, data)


def identity_crop(pixels: Pixels, landmarks: npt.ArrayLike, rng: Rng | None = None) -> Pixels:
    """ArcFace's crop [64, 64, 3] of a photo; with chance mirrored and a little off, as landmarks are."""
    target = template_points("arcface", EMBEDDER_SIDE)
    points = five_points(np.asarray(landmarks, np.float64))
    mirrored = False
    if rng is not None:
        eyes = float(np.hypot(*(points[1] - points[0])))
        points = points + rng.normal(0, 0.03, points.shape) * eyes
        mirrored = rng.random() < 0.5
    matrix = similarity(points, target)
    if rng is not None:
        turn, zoom = rng.normal(0, np.deg2rad(4)), np.exp(rng.normal(0, 0.05))
        linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        middle = (EMBEDDER_SIDE - 1) / 2 + rng.normal(0, 0.02 * EMBEDDER_SIDE, 2)
        matrix = linear @ matrix
        matrix[:, 2] += middle - linear @ np.full(2, (EMBEDDER_SIDE - 1) / 2)
    crop = cv2.warpAffine(
        pixels,
        matrix,
        (EMBEDDER_SIDE, EMBEDDER_SIDE),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cv2.flip(crop, 1) if mirrored else crop, np.uint8)


def contrastive(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: each face's others against everybody else's in the batch.

    Args:
        embeddings: [B, D] of unit length. labels: [B].
    """
    alone = torch.eye(len(labels), dtype=torch.bool)
    logits = (embeddings @ embeddings.T / temperature).masked_fill(alone, -1e9)
    same = (labels[:, None] == labels[None]) & ~alone
    chance = logits - logits.logsumexp(dim=1, keepdim=True)
    return -(chance * same).sum() / same.sum().clamp_min(1)


def _members(pairs: PairSet) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.intp]]]:
    """Numbers of the people, and the indices of each one's pictures that show the same identity."""
    usable = np.isin(pairs.edit, SAME_PERSON)
    numbers = np.unique(pairs.person).astype(np.int64)
    return numbers, [np.flatnonzero(usable & (pairs.person == number)) for number in numbers]


def _faces(pixels: Pixels) -> Tensor:
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)
    return values.contiguous(memory_format=torch.channels_last)
