"""Triplets for the swap trainer: shards in, batches out, at an order that can be taken up anywhere.

The order of all samples is one for all ranks: every rank reads on through all of it and decodes only its
own rows of each batch. So a batch holds the same samples whatever the number of ranks, epochs end
nowhere in the middle of a batch, and a place in the stream is the same for all. (Reading costs little
beside decoding; `fstriplets.open_triplets`, which gives each rank its own shards, is the loader for
trainings so wide that it does not.)

Within an epoch, shards come in random order, a few are open at a time, and each sample is drawn from one
of them by a number that depends on seed, epoch and turn only.

Where true swaps are mixed in, they are an order of their own with epochs of its own; which of the two a
sample comes from depends on its number alone, so their share of every batch is even.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fstriplets.errors import DatasetError
from fstriplets.records import content_id, seed_of
from fstriplets.shards.mixing import Mix, ordered_samples
from fstriplets.shards.stream import ROLES, StoredSample
from fstriplets.shards.tensors import Decoder
from fstriplets.shards.urls import ShardUrl, find_shards
from fstriplets.training.ranks import Ranks
from fstriplets.training.swap_recipe import Recipe
from fstriplets.triplets.kinds import STORED_KINDS, TRUE_SWAP

__all__ = ["Batch", "Look", "TripletStream", "first_samples"]

#: Rec. 601 luma.
_LUMA = (0.299, 0.587, 0.114)


@dataclass
class Look:
    """What augmentation does to a triplet; the same to all three images."""

    flip: Tensor  #: [B] bool
    brightness: Tensor  #: [B] factor
    contrast: Tensor  #: [B] factor, about the target's mean luma
    saturation: Tensor  #: [B] factor; 0: grey
    width: Tensor  #: [B] factor, and as much flatter


@dataclass
class Batch:
    """Triplets as they are decoded; `images` makes tensors for the networks of them."""

    source: Tensor  #: [B, 3, S, S] uint8
    target: Tensor  #: [B, 3, S, S] uint8
    result: Tensor  #: [B, 3, S, S] uint8; blank where `has_result` is False
    has_result: Tensor  #: [B] bool
    real: Tensor  #: [B] number of the unedited member: 0 source, 1 target, 2 result
    kinds: list[str]
    keys: list[str]
    look: Look
    place: dict[str, Any]  #: of the stream behind this batch; plain values

    def images(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Source, target and result, augmented: [B, 3, S, S] float32 in [-1, 1] on the device."""
        faces = torch.stack([self.source, self.target, self.result])
        faces = faces.to(device, non_blocking=True).float().mul_(1 / 255)
        look = self.look
        faces = torch.where(look.flip.to(device)[:, None, None, None], faces.flip(-1), faces)
        if bool((look.width != 1).any()):
            faces = _widened(faces, look.width.to(device))
        if self._coloured():
            faces = self._recoloured(faces, device)
        source, target, result = faces.mul_(2).sub_(1).unbind()
        return source, target, result

    def _coloured(self) -> bool:
        look = self.look
        return any(bool((factor != 1).any()) for factor in (look.brightness, look.contrast, look.saturation))

    def _recoloured(self, faces: Tensor, device: torch.device) -> Tensor:
        """Brightness, contrast, saturation, in this order; [3, B, 3, S, S] in [0, 1]."""
        luma = torch.tensor(_LUMA, device=device)
        brightness, contrast, saturation = (
            factor.to(device) for factor in (self.look.brightness, self.look.contrast, self.look.saturation)
        )
        eye = torch.eye(3, device=device)
        mixing = saturation[:, None, None] * eye + (1 - saturation[:, None, None]) * luma
        mean = torch.einsum("bchw,c->b", faces[1], luma) / faces[1, 0, 0].numel()
        shift = (1 - contrast) * brightness * mean
        gain = (contrast * brightness)[:, None, None] * mixing
        faces = torch.einsum("bdc,rbchw->rbdhw", gain, faces) + shift[:, None, None, None]
        return faces.clamp_(0, 1)


def _widened(faces: Tensor, width: Tensor) -> Tensor:
    """Faces [3, B, 3, S, S] made wider by the factors [B], and as much flatter, about the crop's centre."""
    shrink = torch.stack([1 / width, width], dim=1)
    matrices = torch.cat([torch.diag_embed(shrink), torch.zeros_like(shrink)[..., None]], dim=2)
    grid = F.affine_grid(matrices, list(faces.shape[1:]), align_corners=False).repeat(len(faces), 1, 1, 1)
    moved = F.grid_sample(faces.flatten(0, 1), grid, padding_mode="reflection", align_corners=False)
    return moved.view_as(faces)


class TripletStream:
    """Batches of a split, epoch after epoch, for one rank.

    Args:
        data: a dataset, or what else `open_triplets` takes.
        split: of the dataset.
        recipe: batch_size, mix, true swaps, augmentation, seed.
        ranks: each gets an equal part of every batch.

    Raises:
        DatasetError: nothing to read; while iterating: a damaged shard or sample.
        ValueError: the batch cannot be shared out evenly.
    """

    def __init__(
        self, data: str | Path | Sequence[str | Path], split: str, recipe: Recipe, ranks: Ranks
    ) -> None:
        if recipe.batch_size % ranks.size:
            raise ValueError(f"batch_size {recipe.batch_size} cannot be shared by {ranks.size} ranks")
        self._recipe = recipe
        self._size = recipe.batch_size
        each = self._size // ranks.size
        self._mine = slice(ranks.rank * each, (ranks.rank + 1) * each)
        self._decoder = Decoder(recipe.image_size, torch.uint8)
        self._order = _Blend(_Order(find_shards(data, split), recipe), *_true_swaps(recipe, split))
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    def seek(self, place: dict[str, Any]) -> None:
        """Go on behind the batch that brought this place.

        Raises:
            DatasetError: it is of other shards.
        """
        self._order.seek(place)

    def batch(self) -> Batch:
        """The next batch; in pinned memory where there is a GPU."""
        drawn = list(islice(self._order, self._size))
        batch = self._decoded(drawn[self._mine], self._order.place())
        if torch.cuda.is_available():
            for name in ("source", "target", "result"):
                setattr(batch, name, getattr(batch, name).pin_memory())
        return batch

    def _decoded(self, drawn: list[_Drawn], place: dict[str, Any]) -> Batch:
        images = list(self._pool.map(self._pixels, drawn))
        samples = [item.sample for item in drawn]
        metas = [
            {"strength": 0.0, "has_result": sample.result is not None, "index": item.turn}
            for item, sample in zip(drawn, samples, strict=True)
        ]
        whole = self._decoder.batch(samples, images, metas)
        if self._recipe.true_swap_reversed:
            _take_back(whole, _reversed(self._recipe, drawn))
        return Batch(
            whole["source"],
            whole["target"],
            whole["result"],
            whole["meta"]["has_result"],
            torch.tensor([ROLES.index(sample.meta["real"]) for sample in samples]),
            [str(sample.meta["kind"]) for sample in samples],
            whole["__key__"],
            _look(self._recipe, drawn),
            place,
        )

    def _pixels(self, item: _Drawn) -> list[np.ndarray | None]:
        try:
            return self._decoder.pixels(item.sample)
        except DatasetError as error:
            raise DatasetError(f"{item.shard}: {error}; see `fstriplets audit`") from error


def first_samples(data: str | Path, split: str, recipe: Recipe, count: int) -> Batch:
    """The same `count` samples of a split (fewer if it holds fewer) for every seed, without augmentation.

    Raises:
        DatasetError: no such split, or a damaged sample.
    """
    still = recipe.model_copy(
        update={
            "flip": 0.0,
            "grey": 0.0,
            "jitter_share": 0.0,
            "stretch": 0.0,
            "shuffle": 256,
            "seed": 0,
            "batch_size": count,
            "true_swap_share": 0.0,
            "true_swap_reversed": 0.0,
        }
    )
    stream = TripletStream(data, split, still, Ranks())
    drawn: list[_Drawn] = []
    for item in stream._order:
        if item.epoch:
            break
        drawn.append(item)
        if len(drawn) == count:
            break
    return stream._decoded(drawn, {})


@dataclass(frozen=True, slots=True)
class _Drawn:
    sample: StoredSample
    shard: str
    seed: int  #: of its order
    epoch: int
    turn: int


def _true_swaps(recipe: Recipe, split: str) -> tuple[_Order | None, float]:
    """The order of the true swaps to mix in, and their share."""
    if not recipe.true_swap_share:
        return None, 0.0
    try:
        shards = find_shards(recipe.true_swaps, split)
    except DatasetError as error:
        raise DatasetError(f"true_swaps: {error}; draw them with `fstriplets synth swaps`") from error
    pure = recipe.model_copy(
        update={
            "seed": seed_of(recipe.seed, "true_swaps") % 2**31,
            **{"mix": "triplets", "vanilla": 0.0, "vanilla_same": 0.0, "fresh_pairs": False},
        }
    )
    return _Order(shards, pure, only=TRUE_SWAP.name), recipe.true_swap_share


class _Blend:
    """Two orders as one; which of them sample n comes from is a matter of n and the share alone."""

    def __init__(self, triplets: _Order, swaps: _Order | None, share: float) -> None:
        self._triplets, self._swaps, self._share = triplets, swaps, share
        self._drawn = 0

    def place(self) -> dict[str, Any]:
        """Where both stand: plain values; the triplets' own where nothing is mixed in."""
        place = self._triplets.place()
        if self._swaps is not None:
            place |= {"drawn": self._drawn, "true_swaps": self._swaps.place()}
        return place

    def seek(self, place: dict[str, Any]) -> None:
        if ("true_swaps" in place) != (self._swaps is not None):
            raise DatasetError(
                "the run was begun with another true_swap_share: resume it with the recipe it began with, or"
                " choose another --output"
            )
        self._triplets.seek(place)
        if self._swaps is not None:
            self._swaps.seek(place["true_swaps"])
            self._drawn = int(place["drawn"])

    def __iter__(self) -> Iterator[_Drawn]:
        return self

    def __next__(self) -> _Drawn:
        before = int(self._drawn * self._share)
        self._drawn += 1
        if self._swaps is not None and int(self._drawn * self._share) > before:
            return next(self._swaps)
        return next(self._triplets)


class _Order:
    """All samples of the shards, undecoded, in the order of the recipe's seed.

    Args:
        only: the one kind the shards may hold.
    """

    def __init__(self, shards: list[ShardUrl], recipe: Recipe, only: str | None = None) -> None:
        self._only = only
        self._shards = {shard.name: shard for shard in shards}
        self._digest = content_id(*(f"{shard.name}:{shard.samples}" for shard in shards))
        self._seed = recipe.seed
        self._mix = Mix(recipe.seed, recipe.shuffle, recipe.vanilla, recipe.vanilla_same, recipe.fresh_pairs)
        self._stored = recipe.mix == "triplets"
        self._width = recipe.open_shards
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self._epoch, self._turn, self._opened, self._kept = epoch, 0, 0, 0
        self._waiting = sorted(self._shards)
        random.Random(seed_of(self._seed, "shards", str(epoch))).shuffle(self._waiting)
        self._running: list[_Running] = []

    def place(self) -> dict[str, Any]:
        """Where the order stands: plain values."""
        return {
            "epoch": self._epoch,
            "turn": self._turn,
            "opened": self._opened,
            "kept": self._kept,
            "running": [[run.shard.name, run.position] for run in self._running],
            "shards": self._digest,
        }

    def seek(self, place: dict[str, Any]) -> None:
        if place["shards"] != self._digest:
            raise DatasetError(
                f"the run was reading other shards than these {len(self._shards)}: resume with the dataset it"
                " began with, or choose another --output"
            )
        self._begin(int(place["epoch"]))
        self._turn, self._opened, self._kept = (int(place[key]) for key in ("turn", "opened", "kept"))
        self._running = [self._open(name, int(position)) for name, position in place["running"]]

    def __iter__(self) -> Iterator[_Drawn]:
        return self

    def __next__(self) -> _Drawn:
        while True:
            while self._opened < len(self._waiting) and len(self._running) < self._width:
                self._running.append(self._open(self._waiting[self._opened], 0))
                self._opened += 1
            if not self._running:
                self._next_epoch()
                continue
            turn, self._turn = self._turn, self._turn + 1
            choice = seed_of(self._seed, "turn", str(self._epoch), str(turn)) % len(self._running)
            run = self._running[choice]
            sample = next(run.samples, None)
            if sample is None:
                del self._running[choice]
                continue
            run.position += 1
            if isinstance(sample, DatasetError):
                raise DatasetError(f"{sample}; check the dataset with `fstriplets audit`") from sample
            self._check_kind(run.shard, sample)
            if self._stored or sample.meta["kind"] not in STORED_KINDS:
                self._kept += 1
                return _Drawn(sample, run.shard.url, self._seed, self._epoch, turn)

    def _check_kind(self, shard: ShardUrl, sample: StoredSample) -> None:
        if self._only is not None and (kind := sample.meta["kind"]) != self._only:
            raise DatasetError(
                f"true_swaps: {shard.url} holds a sample of kind {kind}; name a dataset of"
                " `fstriplets synth swaps`"
            )

    def _next_epoch(self) -> None:
        if not self._kept:
            raise DatasetError(
                "the shards hold nothing to train on: mix without_triplets forms samples of two people, so a"
                " shard needs two at least"
                if not self._stored
                else "the shards hold no samples"
            )
        self._begin(self._epoch + 1)

    def _open(self, name: str, position: int) -> _Running:
        shard = self._shards[name]
        samples = ordered_samples(shard, self._mix, self._epoch)
        return _Running(shard, islice(samples, position, None), position)


@dataclass
class _Running:
    shard: ShardUrl
    samples: Iterator[StoredSample | DatasetError]
    position: int


def _reversed(recipe: Recipe, drawn: Sequence[_Drawn]) -> Tensor:
    """Which samples are true swaps to be taken back, drawn for each by its turn alone: [B] bool."""
    return torch.tensor(
        [
            item.sample.meta["kind"] == TRUE_SWAP.name
            and float(np.random.default_rng([item.seed, item.epoch, item.turn, 1]).random())
            < recipe.true_swap_reversed
            for item in drawn
        ]
    )


def _take_back(batch: dict[str, Any], rows: Tensor) -> None:
    """In these rows, from the swap to the photo it was made of: that photo is the result, and mirrored, so
    that its embedding tells more of the person than of the picture, the source."""
    source, target, result = (batch[role] for role in ROLES)
    source[rows], target[rows], result[rows] = target[rows].flip(-1), result[rows], target[rows]


def _look(recipe: Recipe, drawn: Sequence[_Drawn]) -> Look:
    """Augmentation drawn for each sample by its turn alone."""
    rows = np.ones((len(drawn), 5), np.float32)
    for row, item in zip(rows, drawn, strict=True):
        rng = np.random.default_rng([item.seed, item.epoch, item.turn])
        flip, grey, jitter = rng.random(3)
        factors = rng.uniform(1 - recipe.jitter, 1 + recipe.jitter, 3)
        row[0] = flip < recipe.flip
        if jitter < recipe.jitter_share:
            row[1:4] = factors
        if grey < recipe.grey:
            row[3] = 0.0
        if recipe.stretch:
            row[4] = np.exp(rng.uniform(-recipe.stretch, recipe.stretch))
    columns = torch.from_numpy(rows)
    return Look(columns[:, 0] > 0, *columns[:, 1:].unbind(1))
