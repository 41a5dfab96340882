"""Trainer of the face analyser: one network for landmarks, parts, attributes and pose.

The crops it learns from are those of training/face_crops.py. All losses are added up, each with its weight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fstriplets.models.networks.face_analyser import (
    ANALYSER_ATTRIBUTES,
    ANALYSER_PARTS,
    Analysis,
    FaceAnalyser,
)
from fstriplets.training.average import Average, save_half
from fstriplets.training.face_crops import (
    GLASSES,
    IGNORED,
    RANGES,
    CropBatch,
    CropRecipe,
    Crops,
    auc,
    part_iou,
    stack,
)
from fstriplets.training.loop import warmup_cosine
from fstriplets.training.pairs import PairSet

__all__ = ["AnalyserJob", "Recipe", "analysis_losses", "figures", "make_job"]


class Recipe(CropRecipe):
    """Keys of a `trainer: analyser` recipe."""

    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights, which ship")
    lambda_landmarks: float = Field(8.0, ge=0, description="landmark error, in distances between the eyes")
    lambda_heatmaps: float = Field(0.15, ge=0, description="cross-entropy of the heatmaps")
    lambda_parts: float = Field(1.0, ge=0, description="cross-entropy of the part labels")
    lambda_attributes: float = Field(12.0, ge=0, description="cross-entropy of the attributes")
    lambda_pose: float = Field(2.0, ge=0, description="smooth L1 of the pose, per 30 degrees")


def as_input(faces: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 [B, S, S, 3] → float32 [B, 3, S, S] in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2).float() / 127.5 - 1


class AnalyserJob:
    """The training; see training.loop.Job.

    Attributes:
        net: the network in training.
    """

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        self._crops = Crops(PairSet(data, "train"), recipe)
        self._held_out = Crops(PairSet(data, "val"), recipe)
        torch.manual_seed(recipe.seed)
        self.net = FaceAnalyser().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = Average(self.net, recipe.ema)
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0}],
            lr=recipe.learning_rate,
        )

    @property
    def averaged(self) -> FaceAnalyser:
        """The running average of the network, which ships."""
        network: FaceAnalyser = self._average.network
        return network

    def batch(self, step: int) -> CropBatch:
        """Augmented crops of a step."""
        rng = np.random.default_rng([self.recipe.seed, step])
        chosen = rng.integers(0, len(self._crops.pairs), self.recipe.batch_size)
        return stack([self._crops.careless(int(i), rng) for i in chosen])

    def step(self, step: int, batch: CropBatch) -> dict[str, float]:
        """One step of AdamW and of the average."""
        factor = warmup_cosine(step, self.recipe.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * factor
        self.net.train()
        losses = analysis_losses(self.net(as_input(batch.faces)), batch)
        total = torch.stack([getattr(self.recipe, f"lambda_{k}") * v for k, v in losses.items()]).sum()
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self._optimiser.step()
        self._average.follow(self.net, step)
        return {"loss": float(total.detach()), **{name: float(v.detach()) for name, v in losses.items()}}

    def state(self) -> dict[str, Any]:
        """Network, average, optimiser."""
        return {
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        self.net.load_state_dict(state["net"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])

    def validate(self, pictures: int = 256) -> dict[str, float]:
        """Errors of the averaged network on plain crops of held-out people."""
        held = self._held_out
        rng = np.random.default_rng([self.recipe.seed, 2**31])
        count = len(held.pairs)
        chosen = rng.permutation(count)[:pictures]
        batch = stack([held.plain(int(i), rng) for i in chosen])
        answers = [self.averaged(as_input(batch.faces[i : i + 32])) for i in range(0, len(batch.faces), 32)]
        return figures(Analysis(*map(torch.cat, zip(*answers, strict=True))), batch)

    def export(self, folder: Path) -> list[Path]:
        """The averaged weights: face_analyser.safetensors."""
        return [save_half(self.averaged, folder / "face_analyser.safetensors")]


def make_job(recipe: Recipe, data: Path) -> AnalyserJob:
    """The job of a recipe on a folder of `synth pairs`."""
    return AnalyserJob(recipe, data)


def analysis_losses(said: Analysis, batch: CropBatch) -> dict[str, Tensor]:
    """The losses by name, unweighted."""
    wanted = torch.from_numpy(batch.landmarks)
    eyes = wanted[:, 36:42].mean(dim=1) - wanted[:, 42:48].mean(dim=1)
    # Turned heads have near eyes: a floor keeps them from counting many times over.
    unit = eyes.norm(dim=1).clamp(min=0.35)[:, None, None]
    scores, known = torch.from_numpy(batch.attributes), torch.from_numpy(batch.known)
    attributes = F.binary_cross_entropy_with_logits(said.attributes, scores, reduction="none") * known
    parts = torch.from_numpy(batch.parts).long()
    return {
        "landmarks": ((said.landmarks - wanted).abs() / unit).mean(),
        "heatmaps": _heatmap_loss(said.heatmaps, wanted),
        "parts": F.cross_entropy(said.parts, parts, weight=_PART_WEIGHTS, ignore_index=IGNORED),
        "attributes": attributes.sum() / known.sum().clamp(min=1),
        "pose": F.smooth_l1_loss(said.pose / 30, torch.from_numpy(batch.pose) / 30, beta=0.2),
    }


#: Small parts count more.
_PART_WEIGHTS = torch.tensor([1, 1, 3, 4, 1.5, 4, 3, 1, 4, 2, 1, 2, 1])
assert len(_PART_WEIGHTS) == ANALYSER_PARTS


def _heatmap_loss(heatmaps: Tensor, wanted: Tensor, sigma: float = 1.0) -> Tensor:
    """Cross-entropy to a normal distribution around each point; points outside the crop are left out."""
    side = heatmaps.shape[-1]
    grid = torch.arange(side, dtype=torch.float32)
    place = (wanted + 1) * (side / 2) - 0.5
    spread = torch.exp(-((grid - place[..., None]) ** 2) / (2 * sigma**2))  # [B, 68, 2, side]
    share = spread / spread.sum(dim=-1, keepdim=True).clamp(min=1e-8)
    log = heatmaps.flatten(2).log_softmax(dim=-1).view(heatmaps.shape)
    per_point = -torch.einsum("bnhw,bnh,bnw->bn", log, share[:, :, 1], share[:, :, 0])
    inside = (wanted.abs() < 0.98).all(dim=-1)
    return (per_point * inside).sum() / inside.sum().clamp(min=1)


def figures(said: Analysis, batch: CropBatch) -> dict[str, float]:
    """Errors in plain units: nme (of the distance between the eyes), miou, yaw, pitch, age, AUCs."""
    error = np.linalg.norm(said.landmarks.numpy() - batch.landmarks, axis=-1)
    eyes = batch.landmarks[:, 36:42].mean(axis=1) - batch.landmarks[:, 42:48].mean(axis=1)
    frontal = np.abs(batch.pose[:, 0]) < 20
    nme = error.mean(axis=1) / np.linalg.norm(eyes, axis=-1)
    guessed, known = said.parts.argmax(dim=1).numpy(), batch.parts != IGNORED
    shares = part_iou(guessed, batch.parts, known)
    scores = torch.sigmoid(said.attributes).numpy()
    found = {name: scores[:, i] for i, name in enumerate(ANALYSER_ATTRIBUTES)}
    truth = {name: batch.attributes[:, i] for i, name in enumerate(ANALYSER_ATTRIBUTES)}
    pose = np.abs(said.pose.numpy() - batch.pose)
    values = {
        "nme_frontal": float(nme[frontal].mean()) if frontal.any() else 0.0,
        "nme": float(nme.mean()),
        "miou": float(np.nanmean(shares)),
        "iou_glasses": float(np.nan_to_num(shares[GLASSES])),
        "yaw": float(pose[:, 0].mean()),
        "pitch": float(pose[:, 1].mean()),
        "age": float(np.abs(found["age"] - truth["age"]).mean() * (RANGES["age"][1] - RANGES["age"][0])),
        "chubbiness": float(np.abs(found["chubbiness"] - truth["chubbiness"]).mean()),
    }
    for name in ("glasses", "sunglasses", "beard", "smile", "bald", "fringe"):
        values[f"auc_{name}"] = auc(found[name], truth[name] > 0.5)
    return values
