"""What a swapper is worth while it trains: measures and pictures on people it never saw.

Two cheap answers are measured beside it, copying the target and copying the source: on triplets of two
photos, a swapper must be nearer to the result than both. True swaps, where the recipe or the dataset has
any, are measured apart (swap_truth.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.errors import DatasetError
from fstriplets.training.swap_data import Batch, first_samples
from fstriplets.training.swap_features import Identity
from fstriplets.training.swap_recipe import Recipe
from fstriplets.training.swap_truth import face_masks, pixel_measures
from fstriplets.triplets.kinds import TRUE_SWAP

__all__ = ["Validation"]

_CHUNK = 16  # samples at a time
_ROWS, _GAP = 8, 4  # of the picture


class Validation:
    """The first samples of the val splits: stored triplets, two-people ones, true swaps.

    Attributes:
        true_swaps: how many of them.

    Raises:
        DatasetError: neither the dataset nor the recipe's true swaps have a val split.
    """

    def __init__(self, data: str | Path, recipe: Recipe, identity: Identity) -> None:
        batches = _held_out(data, recipe)
        images = zip(*(batch.images(torch.device("cpu")) for _, batch in batches), strict=True)
        self._source, self._target, self._result = (torch.cat(parts) for parts in images)
        kinds = np.array([kind for _, batch in batches for kind in batch.kinds])
        self._swaps = torch.from_numpy(kinds == TRUE_SWAP.name)
        self._stored = torch.cat([batch.has_result for _, batch in batches]) & ~self._swaps
        self._strangers = torch.from_numpy(kinds == "vanilla")
        self._pairs = torch.from_numpy(kinds == "pair_identity")
        self.true_swaps = int(self._swaps.sum())
        if self.true_swaps:
            self._faces = torch.cat(list(_masks(batches, recipe.image_size)))
        self._identity = identity
        self._device = next(identity.parameters()).device

    @torch.no_grad()
    def measure(self, generator: nn.Module, reader: Identity | None = None) -> dict[str, float]:
        """Means over the samples; `reader`, by default the recogniser, reads the sources.

        Returns:
            `pixel_l1`: of swapped against result, 0..255, over the stored triplets; `pixel_l1_pair`: over
            those of two photos, where copying is never right, with `_target` and `_source` for what
            copying would give. Over samples of two people: `id_cosine` of swapped to source,
            `id_cosine_target` of swapped to target, `id_cosine_before` of target to source.
            Over true swaps: `true_swap_psnr` and `true_swap_l1` inside the face, with `_target` and
            `_source` likewise, and the cosines with `true_swap_id_cosine_truth` of truth to source, what
            a perfect swap has.
        """
        source, target, result = self._source, self._target, self._result
        swapped = self.swapped(generator, reader)
        values: dict[str, float] = {}
        if (rows := self._strangers).any():
            wanted, before, made = (self._embeddings(images[rows]) for images in (source, target, swapped))
            values["id_cosine"] = float((made * wanted).sum(1).mean())
            values["id_cosine_target"] = float((made * before).sum(1).mean())
            values["id_cosine_before"] = float((before * wanted).sum(1).mean())
        if (rows := self._stored).any():
            values["pixel_l1"] = _distance(swapped, result, rows)
        if (rows := self._pairs).any():
            values["pixel_l1_pair"] = _distance(swapped, result, rows)
            values["pixel_l1_pair_target"] = _distance(target, result, rows)
            values["pixel_l1_pair_source"] = _distance(source, result, rows)
        if self.true_swaps:
            found = self._against_truth(swapped)
            values |= {f"true_swap_{name}": value for name, value in found.items()}
        return values

    def _against_truth(self, swapped: Tensor) -> dict[str, float]:
        """Measures of the true swaps."""
        rows = self._swaps
        images = swapped[rows], self._source[rows], self._target[rows], self._result[rows]
        values = pixel_measures(*images, self._faces)
        made, wanted, before, truth = (self._embeddings(part) for part in images)
        values["id_cosine"] = float((made * wanted).sum(1).mean())
        values["id_cosine_target"] = float((made * before).sum(1).mean())
        values["id_cosine_before"] = float((before * wanted).sum(1).mean())
        values["id_cosine_truth"] = float((truth * wanted).sum(1).mean())
        return values

    @torch.no_grad()
    def swapped(self, generator: nn.Module, reader: Identity | None = None) -> Tensor:
        """All samples swapped by a generator in evaluation mode: [N, 3, S, S] on the CPU."""
        rows = []
        pairs = zip(torch.split(self._source, _CHUNK), torch.split(self._target, _CHUNK), strict=True)
        for one, other in pairs:
            embeddings = (reader or self._identity)(one.to(self._device))
            rows.append(generator(other.to(self._device), embeddings).images[0].float().cpu())
        return torch.cat(rows)

    def draw(self, generator: nn.Module, path: Path, reader: Identity | None = None) -> None:
        """Rows of source, target, swapped, result; a result nobody knows is grey."""
        chosen = self._spread()
        columns = [self._source, self._target, self.swapped(generator, reader), self._result]
        cells = torch.stack([column[chosen] for column in columns], dim=1)
        cells = F.pad(cells, (0, _GAP, 0, _GAP), value=1.0)
        rows, across, _, height, width = cells.shape
        sheet = cells.permute(0, 3, 1, 4, 2).reshape(rows * height, across * width, 3)
        pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().numpy().astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def _spread(self) -> list[int]:
        """Samples of the picture, spread over all."""
        count = len(self._stored)
        return sorted({int(i) for i in np.linspace(0, count - 1, min(_ROWS, count))})

    def _embeddings(self, images: Tensor) -> Tensor:
        parts = [self._identity(part.to(self._device)).cpu() for part in torch.split(images, _CHUNK)]
        return torch.cat(parts)


def _held_out(data: str | Path, recipe: Recipe) -> list[tuple[str | Path, Batch]]:
    """Val samples of the dataset and of the recipe's true swaps, as far as there are any."""
    mixed = recipe.model_copy(update={"mix": "triplets", "vanilla": 0.25, "vanilla_same": 0.0})
    pure = mixed.model_copy(update={"vanilla": 0.0, "fresh_pairs": False})
    wanted = [(data, mixed), (recipe.true_swaps, pure)] if recipe.true_swaps else [(data, mixed)]
    batches: list[tuple[str | Path, Batch]] = []
    missing = DatasetError("the val split is empty")
    for place, how in wanted:
        try:
            batch = first_samples(place, "val", how, recipe.validation_samples)
        except DatasetError as error:
            missing = error
            continue
        if batch.kinds:
            batches.append((place, batch))
    if not batches:
        raise missing
    return batches


def _masks(batches: list[tuple[str | Path, Batch]], size: int) -> Iterator[Tensor]:
    """Where the face is in the true swaps of each batch."""
    for place, batch in batches:
        named = zip(batch.keys, batch.kinds, strict=True)
        if keys := [key for key, kind in named if kind == TRUE_SWAP.name]:
            yield face_masks(place, keys, size)


def _distance(images: Tensor, result: Tensor, rows: Tensor) -> float:
    return float((images - result)[rows].abs().mean()) * 127.5
