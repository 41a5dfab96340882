"""What a swapper is worth while it trains: measures and pictures on people it never saw.

Two cheap answers are measured beside it, copying the target and copying the source: on triplets of two
photos, a swapper must be nearer to the result than both.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.errors import DatasetError
from fstriplets.training.swap_data import first_samples
from fstriplets.training.swap_features import Identity
from fstriplets.training.swap_recipe import Recipe

__all__ = ["Validation"]

_CHUNK = 16  # samples at a time
_ROWS, _GAP = 8, 4  # of the picture


class Validation:
    """The first samples of the val split, stored triplets and two-people ones.

    Raises:
        DatasetError: the dataset has no val split.
    """

    def __init__(self, data: str | Path, recipe: Recipe, identity: Identity) -> None:
        mixed = recipe.model_copy(update={"mix": "triplets", "vanilla": 0.25, "vanilla_same": 0.0})
        batch = first_samples(data, "val", mixed, recipe.validation_samples)
        if not batch.kinds:
            raise DatasetError("the val split is empty")
        self._images = batch.images(torch.device("cpu"))
        self._has_result = batch.has_result
        kinds = np.array(batch.kinds)
        self._strangers = torch.from_numpy(kinds == "vanilla")
        self._pairs = torch.from_numpy(kinds == "pair_identity")
        self._identity = identity
        self._device = next(identity.parameters()).device

    @torch.no_grad()
    def measure(self, generator: nn.Module) -> dict[str, float]:
        """Means over the samples.

        Returns:
            `pixel_l1`: of swapped against result, 0..255, over the stored triplets; `pixel_l1_pair`: over
            those of two photos, where copying is never right, with `_target` and `_source` for what
            copying would give. Over samples of two people: `id_cosine` of swapped to source,
            `id_cosine_target` of swapped to target, `id_cosine_before` of target to source.
        """
        source, target, result = self._images
        swapped = self.swapped(generator)
        values: dict[str, float] = {}
        if (rows := self._strangers).any():
            wanted, before, made = (self._embeddings(images[rows]) for images in (source, target, swapped))
            values["id_cosine"] = float((made * wanted).sum(1).mean())
            values["id_cosine_target"] = float((made * before).sum(1).mean())
            values["id_cosine_before"] = float((before * wanted).sum(1).mean())
        if (rows := self._has_result).any():
            values["pixel_l1"] = _distance(swapped, result, rows)
        if (rows := self._pairs).any():
            values["pixel_l1_pair"] = _distance(swapped, result, rows)
            values["pixel_l1_pair_target"] = _distance(target, result, rows)
            values["pixel_l1_pair_source"] = _distance(source, result, rows)
        return values

    @torch.no_grad()
    def swapped(self, generator: nn.Module) -> Tensor:
        """All samples swapped by a generator in evaluation mode: [N, 3, S, S] on the CPU."""
        source, target, _ = self._images
        rows = []
        for one, other in zip(torch.split(source, _CHUNK), torch.split(target, _CHUNK), strict=True):
            embeddings = self._identity(one.to(self._device))
            rows.append(generator(other.to(self._device), embeddings).images[0].float().cpu())
        return torch.cat(rows)

    def draw(self, generator: nn.Module, path: Path) -> None:
        """Rows of source, target, swapped, result; a result nobody knows is grey."""
        source, target, result = self._images
        chosen = self._spread()
        columns = [source, target, self.swapped(generator), result]
        cells = torch.stack([column[chosen] for column in columns], dim=1)
        cells = F.pad(cells, (0, _GAP, 0, _GAP), value=1.0)
        rows, across, _, height, width = cells.shape
        sheet = cells.permute(0, 3, 1, 4, 2).reshape(rows * height, across * width, 3)
        pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().numpy().astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def _spread(self) -> list[int]:
        """Samples of the picture, spread over all."""
        count = len(self._has_result)
        return sorted({int(i) for i in np.linspace(0, count - 1, min(_ROWS, count))})

    def _embeddings(self, images: Tensor) -> Tensor:
        parts = [self._identity(part.to(self._device)).cpu() for part in torch.split(images, _CHUNK)]
        return torch.cat(parts)


def _distance(images: Tensor, result: Tensor, rows: Tensor) -> float:
    return float((images - result)[rows].abs().mean()) * 127.5
