"""Trainer of the `flow-gan` editor's network on synthetic pairs (photo, edited photo).

The generator is pulled to the truth (L1 and gradients, each region of an edit weighing the same however
small or faint it is; at the landmarks the flow is known), kept from touching anything else, and made
sharp by a conditional patch discriminator with feature matching. What it makes must be read as the truth is,
by a recogniser and an analyser of attributes (edit_readers.py). That its features tell the parts of the
face apart makes them useful within few pairs. Losses are taken in a window round the
edit, at full resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from fstriplets.models.networks.flow_gan import (
    EDITS,
    SIDE,
    FlowGanDiscriminator,
    FlowGanGenerator,
    Maps,
    compose,
)
from fstriplets.training.edit_pairs import Batch, EditPairs
from fstriplets.training.edit_readers import EditReaders, put_back
from fstriplets.training.loop import warmup_cosine
from fstriplets.training.pairs import PairSet
from fstriplets.training.recipe import TrainingRecipe

__all__ = ["EditorJob", "Recipe", "make_job"]

#: Added to a region's area (share of the window), so that tiny regions do not explode.
_FLOOR = 0.02
_HEADS = 0.5  # learning rate of the heads, times the trunk's
_HELD_OUT_EACH = 6  # pairs of an edit in a validation


class Recipe(TrainingRecipe):
    """Keys of pipelines/train-editor.yaml."""

    steps: int = Field(8000, ge=1, description="optimiser steps")
    batch_size: int = Field(8, ge=1, description="pairs a step")
    learning_rate: float = Field(8e-4, gt=0, description="of both networks, at its highest")
    people: int = Field(0, ge=0, description="use people below this number only; 0: all there are")
    start: str = Field("", description="safetensors of an earlier generator to go on from")
    edits: dict[str, float] = Field(
        default_factory=lambda: dict.fromkeys(EDITS, 1.0), description="how often each edit is drawn"
    )
    window: int = Field(128, ge=32, le=256, multiple_of=8, description="side of the windows, pixels")
    average: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that ship")
    inside: float = Field(4.0, ge=0, description="weight of L1 in the edited region")
    outside: float = Field(7.0, ge=0, description="weight of L1 outside")
    gradient: float = Field(4.0, ge=0, description="weight of L1 of the picture's gradients in the region")
    landmarks: float = Field(0.4, ge=0, description="weight of a pixel's error of the flow at the landmarks")
    parts: float = Field(0.15, ge=0, description="weight of telling the parts of the face apart")
    smooth: float = Field(3.0, ge=0, description="weight of the flow's total variation")
    mask: float = Field(0.03, ge=0, description="weight of the mean mask")
    mask_outside: float = Field(0.3, ge=0, description="weight of mask, flow and gain outside the region")
    identity: float = Field(0.0, ge=0, description="weight of 1 - cosine to the truth's embedding")
    attributes: float = Field(
        0.0, ge=0, description="weight of the attributes' cross-entropy to those of the truth"
    )
    adversarial: float = Field(0.15, ge=0, description="weight of the discriminator's verdict")
    features: float = Field(1.0, ge=0, description="weight of feature matching")
    adversarial_from: int = Field(1500, ge=0, description="step from which the discriminator takes part")


def make_job(recipe: Recipe, data: Path) -> EditorJob:
    """The training of a recipe on a folder of `synth pairs`."""
    return EditorJob(recipe, data)


class EditorJob:
    """One training of the generator; see training.loop.Job."""

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        torch.manual_seed(recipe.seed)
        self.generator = FlowGanGenerator()
        if recipe.start:
            self.generator.load_state_dict(_floats(load_file(recipe.start)))
        self.averaged = FlowGanGenerator().requires_grad_(False)
        self.averaged.load_state_dict(self.generator.state_dict())
        self.discriminator = FlowGanDiscriminator()
        betas = (0.9, 0.99)
        # the heads of an edit learn from its own pairs alone, in small steps: they are many inputs wide
        heads = [p for p in self.generator.parameters() if p.shape[0] == len(EDITS)]
        trunk = [p for p in self.generator.parameters() if p.shape[0] != len(EDITS)]
        self._g = torch.optim.Adam([{"params": trunk}, {"params": heads}], recipe.learning_rate, betas)
        self._d = torch.optim.Adam(self.discriminator.parameters(), recipe.learning_rate, betas)
        self._train = EditPairs(PairSet(data, "train", recipe.people), recipe.edits, recipe.window)
        self._held_out: EditPairs | None = None
        self._data = data
        self._readers = EditReaders() if recipe.identity or recipe.attributes else None

    def batch(self, step: int) -> Batch:
        """Pairs of a step."""
        return self._train.batch(np.random.default_rng([self.recipe.seed, step]), self.recipe.batch_size)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One step of the generator; the discriminator learns and judges in turns."""
        rate = self.recipe.learning_rate * warmup_cosine(step, self.recipe.steps)
        for group in (*self._g.param_groups, *self._d.param_groups):
            group["lr"] = rate
        self._g.param_groups[1]["lr"] = _HEADS * rate
        window = self.recipe.window
        features = self.generator.features(batch.photo, batch.guide, batch.layout, batch.code)
        maps = self.generator.heads(
            features, batch.photo, batch.layout, batch.code, batch.strength, batch.windows, window
        )
        result = compose(batch.photo, maps, batch.windows)
        photo, edited, region = (
            _cut(x, batch.windows, window) for x in (batch.photo, batch.edited, batch.region)
        )
        values = self._truth(result, edited, region) | self._thrift(maps, region)
        values["landmarks"] = _misplaced(maps.flow, batch)
        values["parts"] = F.nll_loss(self.generator.likely_parts(features).clamp(min=1e-6).log(), batch.parts)
        if self._readers is not None:
            whole = put_back(batch.edited, result, batch.windows)
            values |= self._readers.losses(whole, batch.edited)
        if step >= self.recipe.adversarial_from:
            side = window * 3 // 4 // 16 * 16  # the middle is enough, and cheaper
            middle = slice((window - side) // 2, (window + side) // 2)
            before, truth, made = (x[..., middle, middle] for x in (photo, edited, result))
            # in turns, which costs half: what each says counts double in its step
            turn = self._judge if step % 2 == 0 else self._please
            values |= {name: 2 * value for name, value in turn(before, truth, made, batch.code).items()}
        weights = self.recipe.model_dump()
        loss = torch.stack([weights[k] * v for k, v in values.items() if k in weights]).sum()
        self._g.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.generator.parameters(), 5.0)
        self._g.step()
        self._average(step)
        return {
            "loss": float(loss.detach()),
            **{name: float(value.detach()) for name, value in values.items()},
        }

    def _truth(self, result: Tensor, edited: Tensor, region: Tensor) -> dict[str, Tensor]:
        """Distances to the truth: in the region, outside, and of gradients."""
        error = (result - edited).abs().mean(1, keepdim=True)
        area = region.mean((1, 2, 3)) + _FLOOR
        difference = result - edited
        rows = (difference[:, :, 1:] - difference[:, :, :-1]).abs().mean(1, keepdim=True)
        columns = (difference[..., 1:] - difference[..., :-1]).abs().mean(1, keepdim=True)
        edges = (rows * region[:, :, 1:]).mean((1, 2, 3)) + (columns * region[..., 1:]).mean((1, 2, 3))
        return {
            "inside": ((error * region).mean((1, 2, 3)) / area).mean(),
            "outside": (error * (1 - region)).mean(),
            "gradient": (edges / area).mean(),
        }

    def _thrift(self, maps: Maps, region: Tensor) -> dict[str, Tensor]:
        """What the maps cost: a rough flow, a mask where the photo would do, anything outside the region."""
        flow = maps.flow
        rough = (flow[:, :, 1:] - flow[:, :, :-1]).abs().mean() + (
            flow[..., 1:] - flow[..., :-1]
        ).abs().mean()
        touched = maps.mask + maps.gain.abs().mean(1, keepdim=True) + 4 * flow.abs().mean(1, keepdim=True)
        return {
            "smooth": rough * flow.shape[-1] / 16,
            "mask": maps.mask.mean(),
            "mask_outside": (touched * (1 - region)).mean(),
        }

    def _judge(self, photo: Tensor, edited: Tensor, result: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Trains the discriminator."""
        self.discriminator.requires_grad_(True)
        real, _ = self.discriminator(photo, edited, code)
        fake, _ = self.discriminator(photo, result.detach(), code)
        loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self._d.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._d.step()
        return {"judge": loss.detach()}

    def _please(self, photo: Tensor, edited: Tensor, result: Tensor, code: Tensor) -> dict[str, Tensor]:
        """What the discriminator says of the result, and how far its features are from the truth's."""
        self.discriminator.requires_grad_(False)
        score, found = self.discriminator(photo, result, code)
        with torch.no_grad():
            _, wanted = self.discriminator(photo, edited, code)
        pairs = zip(found, wanted, strict=True)
        matching = torch.stack([F.l1_loss(f, w) / (w.abs().mean() + 1e-3) for f, w in pairs]).mean()
        return {"adversarial": -score.mean(), "features": matching}

    def _average(self, step: int) -> None:
        decay = min(self.recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            now = self.generator.state_dict()
            for name, value in self.averaged.state_dict().items():
                value.lerp_(now[name], 1 - decay)

    def state(self) -> dict[str, Any]:
        """Networks and optimisers."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "averaged": self.averaged,
            "discriminator": self.discriminator,
            "g": self._g,
            "d": self._d,
        }

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """For each edit: error in the region as a share of the unedited photo's, change outside (of 255)."""
        if self._held_out is None:
            self._held_out = EditPairs(
                PairSet(self._data, "val", self.recipe.people), self.recipe.edits, self.recipe.window
            )
        values: dict[str, float] = {}
        for edit, members in self._held_out.of.items():
            sums = np.zeros(4)
            for index in members[:_HELD_OUT_EACH]:
                sums += self._measure(self._held_out.collate([int(index)], None))
            values[f"error_{edit}"] = sums[0] / max(sums[1], 1e-9)
            values[f"leak_{edit}"] = 127.5 * sums[2] / max(sums[3], 1e-9)
        errors = [value for name, value in values.items() if name.startswith("error")]
        return {"error": float(np.mean(errors)) if errors else 0.0, **values}

    def _measure(self, pair: Batch) -> np.ndarray:
        """Sums over a pair: error and copying's error inside, change outside, pixels outside."""
        result = compose(pair.photo, self.averaged(*pair.asked))
        inside, outside = pair.region, (pair.region < 0.01).float()
        wrong, copied, moved = (
            (a - b).abs().mean(1, keepdim=True)
            for a, b in ((result, pair.edited), (pair.photo, pair.edited), (result, pair.photo))
        )
        sums = [(wrong * inside).sum(), (copied * inside).sum(), (moved * outside).sum(), outside.sum()]
        return np.array([float(value) for value in sums])

    def export(self, folder: Path) -> list[Path]:
        """The averaged generator, half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "flow_gan.safetensors"
        weights = self.averaged.state_dict()
        save_file({name: value.half().contiguous() for name, value in weights.items()}, path)
        return [path]


def _misplaced(flow: Tensor, batch: Batch) -> Tensor:
    """Mean error of the flow at the landmarks that lie in the windows, pixels of the aligned face."""
    half = flow.shape[-1] / 2
    where = (batch.points - batch.windows.flip(1)[:, None] + 0.5) / half - 1
    found = F.grid_sample(flow, where[:, None], align_corners=False)[:, :, 0].transpose(1, 2) * (SIDE / 2)
    seen = (where.abs() < 1).all(-1)
    error = (found - batch.moves).abs().sum(-1)
    return (error * seen).sum() / seen.sum().clamp(min=1)


def _cut(x: Tensor, windows: Tensor, size: int) -> Tensor:
    corners = windows.tolist()
    return torch.stack([p[:, y : y + size, z : z + size] for p, (y, z) in zip(x, corners, strict=True)])


def _floats(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() for name, value in weights.items()}
