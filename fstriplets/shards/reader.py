"""Stream triplets for training: shards in, tensors out.

Each shard is read by exactly one rank and worker an epoch. A worker keeps a few shards open and draws
from them in turn, so that neighbours in a batch come from different shards. Where a reader stands is
(epoch, shard, position), which outlives a change of ranks and workers: see mixing.py.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from fstriplets.errors import DatasetError
from fstriplets.records import seed_of
from fstriplets.shards.mixing import Mix, ordered_samples
from fstriplets.shards.stream import StoredSample
from fstriplets.shards.tensors import META, Decoder
from fstriplets.shards.urls import ShardUrl, find_shards

__all__ = ["TripletDataset", "merge_states", "open_triplets"]

#: Workers that can report what they skipped.
_SLOTS = 256


def open_triplets(
    urls: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    batch_size: int | None = None,
    drop_last: bool = False,
    shuffle: int = 0,
    seed: int = 0,
    epoch: int = 0,
    vanilla: float = 0.0,
    vanilla_same: float = 0.0,
    fresh_pairs: bool = False,
    rank: int | None = None,
    world_size: int | None = None,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    open_shards: int = 4,
    on_error: Literal["raise", "skip"] = "raise",
) -> TripletDataset:
    """Open shards as a stream of (source, target, result, meta).

    Iterate it, or hand it to `torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=…)`.
    Decoding whole batches in the workers (`batch_size` here, None in the DataLoader) is fastest.

    Args:
        urls: a dataset folder or URL, a tar, a list of tars, or a pattern (`{000..017}`, `*`).
        split: of a dataset; `train` unless given.
        batch_size: None gives single samples.
        drop_last: leave out a last batch that is not full.
        shuffle: samples of a shard held back to draw from, and shards in random order; 0: stored order.
        seed, epoch: decide every draw; `set_epoch` before each epoch.
        vanilla: share of samples of two different people, without a known result. The paper's loader
            uses 0.6.
        vanilla_same: share of samples that are one photo thrice. The paper's loader uses 0.112.
        fresh_pairs: draw the source of every pair_identity triplet anew each epoch, from all photos of
            the person; needs a dataset of `layout: faces`.
        rank, world_size: of this process; by default torch.distributed's, else $RANK and $WORLD_SIZE.
        image_size: resize to this side, pixels; None: as stored.
        dtype: torch.float32 in [-1, 1] or torch.uint8, a quarter of the bytes for workers to send.
        open_shards: shards a worker draws from at a time (when it shuffles).
        on_error: `raise` on a damaged sample or shard, or `skip` and count it in `.skipped`.

    Returns:
        A TripletDataset. A sample is a dict: `__key__`, `source`, `target`, `result` [3, H, W] and
        `meta` (kind, edit, identity_id, …; `has_result` False: `result` is blank, `vanilla` only).
        A batch has [B, 3, H, W], lists in `meta`, and tensors for strength, has_result and index.

    Raises:
        DatasetError: no such dataset, split or shard; while iterating: a damaged sample.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    return TripletDataset(
        find_shards(urls, split),
        Mix(seed, shuffle, vanilla, vanilla_same, fresh_pairs),
        Decoder(image_size, dtype),
        batch_size=batch_size,
        drop_last=drop_last,
        epoch=epoch,
        place=_place(rank, world_size),
        open_shards=open_shards if shuffle else 1,
        skip=on_error == "skip",
    )


class TripletDataset(IterableDataset):  # type: ignore[type-arg]
    """A stream of triplets; made by `open_triplets`.

    Resume: `state_dict()` says what was handed out. Iterating in the training process keeps it by
    itself; with DataLoader workers call `mark(batch)` for every batch the training loop has used.
    States of all ranks merged (`merge_states`) can be loaded by any number of ranks.
    """

    def __init__(
        self,
        shards: list[ShardUrl],
        mix: Mix,
        decoder: Decoder,
        *,
        batch_size: int | None,
        drop_last: bool,
        epoch: int,
        place: tuple[int, int],
        open_shards: int,
        skip: bool,
    ) -> None:
        self.shards = shards
        self.mix = mix
        self.decoder = decoder
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.open_shards = max(1, open_shards)
        self._rank, self._world_size = place
        self._skip = skip
        self._done: dict[str, int] = {}  # shard -> samples of it handed out in `_done_epoch`
        self._done_epoch = epoch
        # Shared memory, so that persistent workers see the epoch and we see what they skipped.
        self._epoch = _shared([epoch])
        self._skipped = _shared([0] * _SLOTS)

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    @property
    def skipped(self) -> int:
        """Damaged samples and shards passed over so far, by all workers of this rank."""
        return int(self._skipped.sum())

    @property
    def stored(self) -> int | None:
        """Stored triplets an epoch over all ranks; None where the stats do not tell."""
        counts = [shard.samples for shard in self.shards]
        return sum(c or 0 for c in counts) if None not in counts else None

    def set_epoch(self, epoch: int) -> None:
        """Another order. Progress within the former epoch is forgotten."""
        if epoch != self.epoch:
            self._epoch.fill_(epoch)
            self._done, self._done_epoch = {}, epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        stream = self._stream(self._rank * workers + number, self._world_size * workers, number)
        if self.batch_size is None:
            for sample, images, meta in stream:
                self._note(meta["shard"], meta["index"])
                yield self.decoder.one(sample, images, meta)
            return
        rows: list[Any] = []
        for row in stream:
            rows.append(row)
            if len(rows) == self.batch_size:
                yield self._batch(rows)
                rows = []
        if rows and not self.drop_last:
            yield self._batch(rows)

    def mark(self, batch: Mapping[str, Any]) -> None:
        """Count a sample or batch as used; for those that came out of DataLoader workers."""
        names, indices = batch["meta"]["shard"], batch["meta"]["index"]
        if isinstance(names, str):
            names, indices = [names], [indices]
        for name, index in zip(names, indices, strict=True):
            self._note(name, int(index))

    def state_dict(self) -> dict[str, Any]:
        """What this rank has handed out in this epoch; small, plain and safe to save as JSON."""
        return {"epoch": self.epoch, "mix": _described(self.mix), "done": dict(sorted(self._done.items()))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the ranks that made this state stopped (`merge_states` of all of them).

        Raises:
            DatasetError: it was made with another seed, shuffle or vanilla share, or of other shards.
        """
        if state["mix"] != _described(self.mix):
            raise DatasetError(
                f"the loader's state was made with {state['mix']}, this loader has {_described(self.mix)};"
                " the order of samples differs, so they would be repeated and skipped"
            )
        unknown = sorted(set(state["done"]) - {shard.name for shard in self.shards})
        if unknown:
            raise DatasetError(f"the loader's state names {unknown[0]}, which is not among these shards")
        self._epoch.fill_(int(state["epoch"]))
        self._done = {str(name): int(count) for name, count in state["done"].items()}
        self._done_epoch = int(state["epoch"])

    def _stream(
        self, consumer: int, consumers: int, slot: int
    ) -> Iterator[tuple[StoredSample, Any, dict[str, Any]]]:
        """Decoded samples of the shards that are this consumer's, drawn from a few at a time."""
        epoch = self.epoch
        done = dict(self._done) if self._done_epoch == epoch else {}
        waiting = self._share(epoch, consumer, consumers)
        rng = random.Random(seed_of(self.mix.seed, "turns", str(epoch), str(consumer), str(consumers)))
        running: list[tuple[ShardUrl, Iterator[tuple[int, StoredSample | DatasetError]]]] = []
        while waiting or running:
            while waiting and len(running) < self.open_shards:
                shard = waiting.pop(0)
                running.append((shard, _from(shard, self.mix, epoch, done.get(shard.name, 0))))
            turn = rng.randrange(len(running))
            shard, samples = running[turn]
            following = next(samples, None)
            if following is None:
                del running[turn]
                continue
            index, sample = following
            row = self._decoded(shard, index, sample, slot)
            if row is not None:
                yield row

    def _share(self, epoch: int, consumer: int, consumers: int) -> list[ShardUrl]:
        order = list(self.shards)
        if self.mix.shuffle:
            random.Random(seed_of(self.mix.seed, "shards", str(epoch))).shuffle(order)
        if consumers > len(order) and consumer == 0:
            warnings.warn(
                f"{len(order)} shards for {consumers} readers: the others get nothing;"
                " build with a smaller triplets_per_shard, or use fewer workers",
                stacklevel=3,
            )
        return order[consumer::consumers]

    def _decoded(
        self, shard: ShardUrl, index: int, sample: StoredSample | DatasetError, slot: int
    ) -> tuple[StoredSample, Any, dict[str, Any]] | None:
        try:
            if isinstance(sample, DatasetError):
                raise sample
            try:
                images = self.decoder.pixels(sample)
            except DatasetError as error:
                raise DatasetError(f"{shard.url}: {error}") from error
        except DatasetError as error:
            if not self._skip:
                raise DatasetError(
                    f"{error}; check the dataset with `fstriplets audit`, or pass on_error='skip'"
                ) from error
            self._skipped[slot % _SLOTS] += 1
            return None
        return sample, images, _meta(sample, images, shard, index)

    def _batch(self, rows: Sequence[Any]) -> dict[str, Any]:
        samples, images, metas = zip(*rows, strict=True)
        for meta in metas:
            self._note(meta["shard"], meta["index"])
        return self.decoder.batch(samples, images, metas)

    def _note(self, shard: str, index: int) -> None:
        if self._done_epoch != self.epoch:
            self._done, self._done_epoch = {}, self.epoch
        self._done[shard] = max(self._done.get(shard, 0), index + 1)


def merge_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One state from those of all ranks.

    Raises:
        DatasetError: they are of different epochs or loaders.
    """
    first = states[0]
    done: dict[str, int] = {}
    for state in states:
        if (state["epoch"], state["mix"]) != (first["epoch"], first["mix"]):
            raise DatasetError("loader states of different epochs or settings cannot be merged")
        for name, count in state["done"].items():
            done[name] = max(done.get(name, 0), count)
    return {"epoch": first["epoch"], "mix": first["mix"], "done": dict(sorted(done.items()))}


def _shared(numbers: list[int]) -> torch.Tensor:
    shared: torch.Tensor = torch.tensor(numbers).share_memory_()  # type: ignore[no-untyped-call]
    return shared


def _from(
    shard: ShardUrl, mix: Mix, epoch: int, start: int
) -> Iterator[tuple[int, StoredSample | DatasetError]]:
    """A shard's samples with their positions, from `start` on; those before are read, not decoded."""
    for index, sample in enumerate(ordered_samples(shard, mix, epoch)):
        if index >= start:
            yield index, sample


def _meta(sample: StoredSample, images: Sequence[Any], shard: ShardUrl, index: int) -> dict[str, Any]:
    meta = {name: sample.meta.get(name, default) for name, default in META.items()}
    meta["target_identity_id"] = meta["target_identity_id"] or meta["identity_id"]
    return meta | {"has_result": images[2] is not None, "shard": shard.name, "index": index}


def _described(mix: Mix) -> dict[str, Any]:
    return {name: getattr(mix, name) for name in Mix.__slots__}


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None and world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise ValueError(
            f"give rank and world_size together, 0 <= rank < world_size, not {rank} of {world_size}"
        )
    return rank, world_size
