"""The swap trainer's step against the plain one, and whether the loader keeps up.

The reference-equivalent step has the same networks, losses and batch, run the way the released code runs
them: eager, fp32, contiguous memory. Ours is what pays on the machine at hand (`FAST`).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Figure, paired
from fstriplets.training.loop import run_training, seed_step
from fstriplets.training.swap import SwapJob
from fstriplets.training.swap_recipe import Recipe

__all__ = ["FAST", "train_swap"]

#: Device -> recipe keys of the fast step.
FAST: dict[str, dict[str, Any]] = {
    "cuda": {"precision": "bf16", "channels_last": True, "compile": True},
    "cpu": {},  # compile gave 0.89x on two cores with AVX2, channels_last 0.85x: neither pays
}
#: Device -> (image_size, batch_size, steps of a run, pairs of runs).
_SCALE = {"cuda": (256, 16, 20, 5), "cpu": (64, 4, 1, 3)}
_STEPS = 12  # of the run that watches the loader


def train_swap(dataset: Path) -> list[Figure]:
    """Images a second of both, and the share of time steps wait for batches."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, batch_size, steps, pairs = _SCALE[device]
    common = {"steps": _STEPS, "batch_size": batch_size, "image_size": size, "validate_every": 0}
    networks = {"embedder": "seeded", "perceptual": "seeded", "validation_samples": 1}
    ours = SwapJob(Recipe(**common, **networks, **FAST[device]), dataset)
    plain = SwapJob(Recipe(**common, **networks), dataset)
    batch = plain.batch(0)

    def run(job: SwapJob) -> None:
        for step in range(steps):
            seed_step(0, step)
            values = job.step(step, batch)
        assert torch.isfinite(values["loss"])  # waits for the GPU

    run(ours), run(plain)
    ratio, mine, theirs = paired(lambda: run(ours), lambda: run(plain), pairs)
    images = batch_size * steps
    detail = f"{size} px on {device}: {images / mine:,.1f} against {images / theirs:,.1f} triplets/s"
    goal = ">= 2.0" if device == "cuda" else ""
    waits = 100 * _data_wait(ours)
    return [
        Figure("swap step against eager fp32", ratio, "x", goal, detail),
        Figure("swap trainer waits for data", waits, "%", "< 5", f"{_STEPS} steps of {batch_size}"),
    ]


def _data_wait(job: SwapJob) -> float:
    """Share of a run's time, its first steps left out."""
    with tempfile.TemporaryDirectory(prefix="fstriplets-bench-") as folder:
        run = Path(folder)
        run_training(job, run, steps=_STEPS, seed=0, recipe={}, log_every=_STEPS // 3)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float([line for line in lines if line["kind"] == "train"][-1]["data_wait"])
