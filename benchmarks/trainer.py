"""The swap trainer against the training step of the released code, and whether the loader keeps up.

Both sides have the same networks, weights, losses and batches, and the benchmark checks that their losses
are the same numbers. The reference is run as the release runs it: eager, fp32, contiguous memory; the
recogniser once for each scale; the discriminator's weights gathering gradients in the generator's step
too; and each batch read and decoded when the last one is done with. It keeps no average of the weights,
as the release keeps none; ours does.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Figure
from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator
from fstriplets.training.loop import _batches, seed_step
from fstriplets.training.losses import (
    adv_loss_discriminator,
    adv_loss_generator,
    id_loss,
    pixel_loss,
)
from fstriplets.training.recipe import read_recipe
from fstriplets.training.session import Session, run_here
from fstriplets.training.swap import SwapJob
from fstriplets.training.swap_data import Batch
from fstriplets.training.swap_losses import at_scales
from fstriplets.training.swap_recipe import Recipe

__all__ = ["FAST", "keys", "trainer"]

#: Device -> recipe keys of the fast step.
FAST: dict[str, dict[str, Any]] = {
    "cuda": {"precision": "bf16", "channels_last": True, "compile": True},
    "cpu": {},  # neither compile nor channels_last pays: `python -m benchmarks keys`
}
#: Device -> keys of both sides: what the device is there for.
_SCALE: dict[str, dict[str, Any]] = {
    "cuda": {"image_size": 256, "batch_size": 16},
    "cpu": {"image_size": 128, "channels": 32, "batch_size": 8},
}
#: Device -> steps a side takes at a time, pairs, steps of the run that watches the loader.
_LENGTH = {"cuda": (20, 7, 100), "cpu": (2, 5, 12)}
#: Difference of the two sides' losses after one step; bf16 has three digits.
_SAME = {"cuda": 0.05, "cpu": 1e-3}


class ReferenceJob(SwapJob):
    """The same training, a step as the release takes it."""

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        self._set_rate(step)
        source, target, result = batch.images(self.device)
        with torch.no_grad():
            embeddings = self.identity(source)
        images = self.generator(target, embeddings).images
        real = torch.stack([source, target, result], dim=1)[torch.arange(len(source)), batch.real]
        values = {"discriminator": self._judge_both(real, images)}
        has_result = batch.has_result.to(self.device)
        values |= self._generator_step(images, embeddings, target, result, has_result)
        return values

    def _judge_both(self, real: Tensor, images: list[Tensor]) -> Tensor:
        """A step of the discriminator: real and swapped images, one backward pass."""
        assert self.discriminator is not None
        assert self._d is not None
        fakes = [image.detach() for image in images]
        self._d.zero_grad()
        scores = self.discriminator(*at_scales(real, fakes)), self.discriminator(*fakes)
        loss = adv_loss_discriminator(*scores)
        loss.backward()  # type: ignore[no-untyped-call]
        self._d.step()
        return loss.detach()

    def _generator_step(
        self, images: list[Tensor], embeddings: Tensor, target: Tensor, result: Tensor, has_result: Tensor
    ) -> dict[str, Tensor]:
        assert self.discriminator is not None
        perceptual = self.losses._perceptual
        assert perceptual is not None
        recipe, loss = self.recipe, torch.zeros((), device=self.device)
        scores = self.discriminator(*images)
        truths = at_scales(target, images), at_scales(result, images)
        scales = zip(self.losses.weights.values(), images, scores, *truths, strict=True)
        for weights, image, score, wanted, known in scales:
            loss = loss + weights.adv * adv_loss_generator([score], form=recipe.adv_form)
            loss = loss + weights.id * id_loss(self.identity(image), embeddings, form=recipe.id_form)
            if weights.pixel:
                loss = loss + weights.pixel * pixel_loss(image, known, has_result)
            if weights.perceptual:
                loss = loss + weights.perceptual * perceptual(image, wanted)
        self._g.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._g.step()
        return {"loss": loss.detach()}


def trainer(dataset: Path) -> list[Figure]:
    """Both sides' images a second, and the share of time steps wait for batches."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps, pairs, watched = _LENGTH[device]
    recipe = {"steps": 1000, "validate_every": 0, "validation_samples": 1, **_SCALE[device]}
    recipe |= {"embedder": "seeded", "perceptual": "seeded"}
    ours = SwapJob(Recipe(**recipe, **FAST[device]), dataset)
    plain = ReferenceJob(Recipe(**recipe), dataset)
    _check_same(ours, plain, _SAME[device])
    sides = (lambda: _prefetched(ours, steps)), (lambda: _one_by_one(plain, steps))
    wall, busy = _paired(*sides, pairs)
    images = steps * ours.recipe.batch_size
    rates = [images / statistics.median(side) for side in zip(*wall, strict=True)]
    size = (
        f"{ours.recipe.image_size} px, {ours.recipe.channels} channels, batches of {ours.recipe.batch_size}"
    )
    detail = f"{size}, {device}: {rates[0]:,.1f} against {rates[1]:,.1f} triplets/s; {_spread(wall)}"
    goal = ">= 2.0" if device == "cuda" else ""
    figures = [Figure("swap trainer against the released step", _ratio(wall), "x", goal, detail)]
    if device == "cpu":
        figures.append(Figure("the same by processor time", _ratio(busy), "x", "", _spread(busy)))
    waits = 100 * _data_wait(dataset, recipe | FAST[device] | {"steps": watched})
    detail = f"`train swap` streaming shards, {watched} steps of {ours.recipe.batch_size}"
    return [*figures, Figure("swap trainer waits for data", waits, "%", "< 5", detail)]


def _check_same(ours: SwapJob, plain: SwapJob, tolerance: float) -> None:
    """Both sides take the first batch and must tell the same losses."""
    told = []
    for job in (ours, plain):
        seed_step(0, 0)
        told.append(job.step(0, job.batch(0)))
    for name in ("loss", "discriminator"):
        mine, theirs = (float(values[name]) for values in told)
        assert abs(mine - theirs) <= tolerance * abs(theirs), f"{name}: {mine} against {theirs}"


def _prefetched(job: SwapJob, steps: int) -> None:
    """Steps in the trainer's loop, which begins with no batch ready."""
    for step, batch, _ in _batches(job, 0, steps):
        seed_step(0, step)
        values = job.step(step, batch)
    assert torch.isfinite(values["loss"])  # waits for the GPU


def _one_by_one(job: SwapJob, steps: int) -> None:
    for step in range(steps):
        seed_step(0, step)
        values = job.step(step, job.batch(step))
    assert torch.isfinite(values["loss"])


Times = list[tuple[float, float]]


def _paired(ours: Callable[[], None], theirs: Callable[[], None], pairs: int) -> tuple[Times, Times]:
    """Wall and processor seconds of (ours, theirs), run in turn; a pair to warm up is left out."""
    wall, busy = [], []
    for _ in range(pairs + 1):
        marks = [(time.perf_counter(), time.process_time())]
        for call in (ours, theirs):
            call()
            marks.append((time.perf_counter(), time.process_time()))
        first, second, third = marks
        wall.append((second[0] - first[0], third[0] - second[0]))
        busy.append((second[1] - first[1], third[1] - second[1]))
    return wall[1:], busy[1:]


def _ratio(times: Times) -> float:
    return statistics.median(theirs / ours for ours, theirs in times)


def _spread(times: Times) -> str:
    ratios = sorted(theirs / ours for ours, theirs in times)
    return f"{len(ratios)} pairs: {ratios[0]:.2f} to {ratios[-1]:.2f} x"


def _data_wait(dataset: Path, recipe: dict[str, Any]) -> float:
    """Share of a run's time, up to the first report left out."""
    run = dataset.parent / "run-trainer"
    values = read_recipe("train-swap", []) | recipe
    assert run_here(Session(values, "train-swap", "swap", str(dataset), str(run)))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    spans = [b["seconds"] - a["seconds"] for a, b in pairwise(train)]
    waited = sum(line["data_wait"] * span for line, span in zip(train[1:], spans, strict=True))
    return float(waited / sum(spans))


def keys(work: Path) -> list[Figure]:
    """What channels_last and compile give the generator's forward and backward pass on the CPU.

    One thread, processor time, the three in turn; as many channels, pixels and images as `trainer` takes.
    """
    del work
    scale, threads = _SCALE["cpu"], torch.get_num_threads()
    torch.set_num_threads(1)
    size, images = scale["image_size"], scale["batch_size"]
    ways = {
        name: _pass(name, scale["channels"], images, size) for name in ("plain", "channels_last", "compile")
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(6):  # the first one compiles
        for name, call in ways.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    torch.set_num_threads(threads)
    figures = []
    for name in ("channels_last", "compile"):
        pairs = list(zip(times[name][1:], times["plain"][1:], strict=True))
        spent = [statistics.median(side) for side in zip(*pairs, strict=True)]
        detail = f"generator's passes, {spent[0]:.2f} s against {spent[1]:.2f} s; {_spread(pairs)}"
        figures.append(Figure(f"{name} on the CPU", _ratio(pairs), "x", "", detail))
    return figures


def _pass(way: str, channels: int, images: int, size: int) -> Callable[[], None]:
    torch.manual_seed(0)
    layout = torch.channels_last if way == "channels_last" else torch.contiguous_format
    network = MobileFSGANGenerator(channels).to(memory_format=layout)  # type: ignore[call-overload]
    faces = torch.randn(images, 3, size, size).contiguous(memory_format=layout)
    embeddings = torch.nn.functional.normalize(torch.randn(images, network.embedding_size))
    run = torch.compile(network) if way == "compile" else network

    def call() -> None:
        network.zero_grad()
        sum(image.mean() for image in run(faces, embeddings).images).backward()

    return call
