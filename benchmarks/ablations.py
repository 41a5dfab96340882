"""The paper's ablations at a small scale: eight trainings of one recipe that differ in one thing each.

    python -m benchmarks ablations --data DATASET --output DIR [--steps N] [--only NAME ...]

Yu et al. (ICME 2022), figure 4 (with triplets or without; fewer outputs) and the supplement's table (wide,
shallow, no_fusion, hourglass). All see the same data for the same number of steps. The hourglass goes down
to a vector, which takes 256 px; it has a baseline of its own size beside it. What was stopped goes on when
the command is given again; what is done is skipped. DIR gets a run a variant, table.md and curves.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ablation_report import measure, write_report
from fstriplets.errors import FstripletsError, Interrupted
from fstriplets.training.session import Session, run_here
from fstriplets.training.swap_recipe import Recipe

__all__ = ["COMMON", "VARIANTS", "Variant", "main"]

_POINTS = 6  # validations of a run


@dataclass(frozen=True)
class Variant:
    """What one training changes in the common recipe."""

    words: str
    changes: dict[str, Any]


_LARGE = {"image_size": 256, "channels": 4, "batch_size": 4}
VARIANTS: dict[str, Variant] = {
    "baseline": Variant("the recipe itself: triplets, outputs 256+128+64", {}),
    "without_triplets": Variant(
        "FaceShifter's arrangement: results of one photo only, no true swaps",
        {"mix": "without_triplets", "true_swap_share": 0.0},
    ),
    "outputs_256_128": Variant("outputs 256+128", {"outputs": [256, 128]}),
    "outputs_256": Variant("output 256 only", {"outputs": [256]}),
    "shallow": Variant("one block less a side", {"variant": "shallow"}),
    "no_fusion": Variant("no residuals, no skips", {"variant": "no_fusion"}),
    "wide": Variant("channels double with every halving", {"variant": "wide"}),
    "baseline_256px": Variant("as baseline, at the hourglass' size", _LARGE),
    "hourglass": Variant("down to a vector and up again", {**_LARGE, "variant": "hourglass"}),
}

#: Small enough for one core; the losses and the mix of triplets are the paper's.
COMMON: dict[str, Any] = {
    "batch_size": 8,
    "image_size": 64,
    "channels": 16,
    "discriminator_channels": 8,
    "discriminator_layers": 3,
    "attention_reach": 2.0,  # unbounded, some held-out pictures grow to infinity
    "learning_rate": 1e-3,  # small networks bear more than the paper's 1e-4
    "betas": [0.5, 0.999],
    "warmup": 50,
    "schedule": "cosine",
    "clip": 5.0,
    "ema": 0.99,
    "validation_samples": 64,
}
#: Of all samples, where --true-swaps names some: triplets of one person alone teach copying for very long.
_TRUE_SWAPS = 0.4


def main(arguments: Sequence[str]) -> None:
    """Train what is not yet trained, measure it, write the report."""
    options = _parsed(arguments)
    swaps = {"true_swaps": options.true_swaps, "true_swap_share": _TRUE_SWAPS} if options.true_swaps else {}
    common = COMMON | swaps | options.changes
    common |= {"steps": options.steps, "validate_every": max(1, options.steps // _POINTS)}
    chosen = options.only or list(VARIANTS)
    try:
        for name in chosen:
            folder = options.output / name
            values = common | VARIANTS[name].changes
            if not _done(folder, values):
                print(f"{name}: {VARIANTS[name].words}", flush=True)
                _train(name, values, options)
            _report(options.output, options.data)
    except (FstripletsError, Interrupted) as error:
        sys.exit(str(error))
    print((options.output / "table.md").read_text())


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="DATASET", help="of `fstriplets build`")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a run a variant")
    parser.add_argument("--true-swaps", metavar="DATASET", help="of `fstriplets synth swaps`: mixed in")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="of each training (1000)")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change the recipe of all")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads (1)")
    options = parser.parse_args(list(arguments))
    options.changes = {}
    for item in options.set:
        key, separator, text = item.partition("=")
        if not separator:
            parser.error(f"--set {item}: give KEY=VALUE")
        options.changes[key] = yaml.safe_load(text)
    return options


def _done(folder: Path, values: dict[str, Any]) -> bool:
    """Whether a variant is measured; by this recipe, else the run's folder is refused."""
    if not (folder / "measures.json").is_file():
        return False
    begun = Recipe.completed(json.loads((folder / "recipe.json").read_text()))
    wanted = json.loads(json.dumps(Recipe(**values).model_dump(mode="json")))
    if differ := sorted(key for key in wanted if begun.get(key) != wanted[key]):
        sys.exit(f"{folder} was trained by another recipe ({', '.join(differ)}): choose another --output")
    return True


def _train(name: str, values: dict[str, Any], options: argparse.Namespace) -> None:
    folder = options.output / name
    session = Session(
        {"trainer": "swap", **values}, name, "swap", str(options.data), str(folder), options.threads
    )
    run_here(session, notice=print)
    measures = measure(folder / "export" / "swapper.safetensors", options.data, Recipe(**values))
    (folder / "measures.json").write_text(json.dumps(measures, indent=1) + "\n")


def _report(output: Path, data: str) -> None:
    finished = {
        name: variant.words
        for name, variant in VARIANTS.items()
        if (output / name / "measures.json").is_file()
    }
    write_report(output, finished)
