"""The swap trainer against the training step of the released code, and whether the loader keeps up.

Both sides have the same networks, weights, losses and batches, and the benchmark checks that their losses
are the same numbers. The reference is run as the release runs it: eager, fp32, contiguous memory; the
recogniser once for each scale; the discriminator's weights gathering gradients in the generator's step
too; and each batch read and decoded when the last one is done with. It keeps no average of the weights,
as the release keeps none; ours does.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.connection import Connection
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
from fstriplets.training.memory import keep_freed_memory
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
_SCALES: dict[str, list[dict[str, Any]]] = {
    "cuda": [{"image_size": 256, "batch_size": 16}],
    "cpu": [
        {"image_size": 128, "channels": 32, "batch_size": 8},
        {"image_size": 256, "channels": 32, "batch_size": 4},
    ],
}
#: Device -> steps a side takes at a time, pairs.
_LENGTH = {"cuda": (20, 7), "cpu": (2, 5)}
#: Device -> steps of the run that watches the loader.
_WATCHED = {"cuda": 100, "cpu": 12}
#: Device -> difference of the two sides' losses after one step; bf16 has three digits.
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
    common = {"steps": 1000, "validate_every": 0, "validation_samples": 1}
    common |= {"embedder": "seeded", "perceptual": "seeded"}
    figures = []
    for scale in _SCALES[device]:
        recipe = common | scale
        wall, busy = _compared(dataset, recipe, FAST[device], *_LENGTH[device], _SAME[device])
        taken = [statistics.median(side) / _LENGTH[device][0] for side in zip(*wall, strict=True)]
        size = f"{recipe['image_size']} px"
        plain = Recipe(**recipe)
        detail = f"{plain.channels} channels, batches of {plain.batch_size}, {device}: {taken[0]:.2f} against"
        detail += f" {taken[1]:.2f} s a step; {_spread(wall)}"
        goal = ">= 2.0" if device == "cuda" else ""
        name = f"swap trainer against the released step, {size}"
        figures.append(Figure(name, _ratio(wall), "x", goal, detail))
        if device == "cpu":
            figures.append(Figure("the same by processor time", _ratio(busy), "x", "", _spread(busy)))
    steps = _WATCHED[device]
    waits = 100 * _data_wait(dataset, common | _SCALES[device][0] | FAST[device] | {"steps": steps})
    detail = f"`train swap` streaming shards, {steps} steps, {_SCALES[device][0]['image_size']} px"
    return [*figures, Figure("swap trainer waits for data", waits, "%", "< 5", detail)]


Times = list[tuple[float, float]]


def _compared(
    dataset: Path, recipe: dict[str, Any], fast: dict[str, Any], steps: int, pairs: int, tolerance: float
) -> tuple[Times, Times]:
    """Wall and processor seconds of (ours, theirs), each in a process of its own, run in turn.

    Of their own, since `train swap` tells malloc to keep memory, which cannot be taken back.
    """
    context = multiprocessing.get_context("spawn")
    sides = []
    for ours in (True, False):
        here, there = context.Pipe()
        arguments = dataset, recipe | (fast if ours else {}), ours, steps, there
        process = context.Process(target=_side, args=arguments, daemon=True)
        process.start()
        sides.append((process, here))
    try:
        first = [_asked(pipe) for _, pipe in sides]
        for mine, theirs in zip(*first, strict=True):
            assert abs(mine - theirs) <= tolerance * abs(theirs), f"losses {mine} against {theirs}"
        turns = [[_asked(pipe) for _, pipe in sides] for _ in range(pairs + 1)][1:]
    finally:
        for process, _ in sides:
            process.terminate()
            process.join()
    walls = [(ours[0], theirs[0]) for ours, theirs in turns]
    return walls, [(ours[1], theirs[1]) for ours, theirs in turns]


def _asked(pipe: Connection) -> tuple[float, float]:
    pipe.send(None)
    answer: tuple[float, float] = pipe.recv()
    return answer


def _side(dataset: Path, recipe: dict[str, Any], ours: bool, steps: int, pipe: Connection) -> None:
    """A process of one side: tells the first step's losses, then wall and processor time of each turn."""
    if ours and not torch.cuda.is_available():
        keep_freed_memory()
    job = SwapJob(Recipe(**recipe), dataset) if ours else ReferenceJob(Recipe(**recipe), dataset)
    pipe.recv()
    seed_step(0, 0)
    values = job.step(0, job.batch(0))
    pipe.send((float(values["loss"]), float(values["discriminator"])))
    while True:
        pipe.recv()
        wall, busy = time.perf_counter(), time.process_time()
        _prefetched(job, steps) if ours else _one_by_one(job, steps)
        pipe.send((time.perf_counter() - wall, time.process_time() - busy))


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
    """What precision, channels_last and compile give the generator's passes, forward and back, on the CPU.

    One thread, processor time, all of them in turn; channels, pixels and images as `trainer` has them.
    """
    del work
    scale, threads = _SCALES["cpu"][0], torch.get_num_threads()
    torch.set_num_threads(1)
    size, images = scale["image_size"], scale["batch_size"]
    tried = ("channels_last", "bf16", "compile")
    ways = {name: _pass(name, scale["channels"], images, size) for name in ("plain", *tried)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(6):  # the first one compiles
        for name, call in ways.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    torch.set_num_threads(threads)
    figures = []
    for name in tried:
        pairs = list(zip(times[name][1:], times["plain"][1:], strict=True))
        spent = [statistics.median(side) for side in zip(*pairs, strict=True)]
        detail = f"generator's passes, {spent[0]:.2f} s against {spent[1]:.2f} s; {_spread(pairs)}"
        figures.append(Figure(f"{name} on the CPU", _ratio(pairs), "x", "", detail))
    return figures


def _pass(way: str, channels: int, images: int, size: int) -> Callable[[], None]:
    torch.manual_seed(0)
    layout = torch.channels_last if way in ("channels_last", "bf16") else torch.contiguous_format
    network = MobileFSGANGenerator(channels).to(memory_format=layout)  # type: ignore[call-overload]
    faces = torch.randn(images, 3, size, size).contiguous(memory_format=layout)
    embeddings = torch.nn.functional.normalize(torch.randn(images, network.embedding_size))
    run = torch.compile(network) if way == "compile" else network

    def call() -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "bf16"):
            made = run(faces, embeddings).images
        sum(image.float().mean() for image in made).backward()

    return call
