"""What the ablations' swappers are worth, the table, and where its order differs from the paper's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.chart import Panel, draw
from fstriplets.faces.aligned import canonical
from fstriplets.faces.analyser import Reading, shared_analyser
from fstriplets.swapping.model import load_swapper
from fstriplets.training.swap_features import dataset_crop, load_identity
from fstriplets.training.swap_recipe import Recipe
from fstriplets.training.swap_validation import Validation

__all__ = ["measure", "write_report"]

_SAMPLES = 160  # of the val split
_INNER = slice(17, 68)  # landmarks: brows, eyes, nose, mouth

#: The supplement's table: identity retrieved (%), pose error, expression error.
PAPER = {
    "wide": (99.48, 2.32, 2.84),
    "shallow": (94.86, 1.95, 2.67),
    "no_fusion": (97.84, 15.80, 3.65),
    "hourglass": (34.40, 3.60, 2.52),
    "baseline": (98.48, 2.18, 2.68),
}
_EQUAL = 0.02  # values nearer to each other than this share are not ranked: the paper's, and ours
_NEAR = 0.02  # nor our cosines nearer than this
_TITLES = ("as in the paper", "the other way round", "too near to tell")

#: Measure -> (heading, whether more is better).
COLUMNS = {
    "id_cosine": ("cosine to source", True),
    "id_cosine_target": ("cosine to target", False),
    "pose_error_deg": ("pose error, degrees", False),
    "expression_error": ("expression error, %", False),
    "pixel_l1": ("L1 to result", False),
    "pixel_l1_pair": ("L1, two photos", False),
    "true_swap_psnr": ("true swaps: PSNR, dB", True),
    "true_swap_id_cosine": ("true swaps: cosine to source", True),
}
#: What nobody's training changes: copying the target, or the best there is.
REFERENCES = {
    "copying the target": {
        "id_cosine": "id_cosine_before",
        "pixel_l1_pair": "pixel_l1_pair_target",
        "true_swap_psnr": "true_swap_psnr_target",
        "true_swap_id_cosine": "true_swap_id_cosine_before",
    },
    "the truth": {"true_swap_id_cosine": "true_swap_id_cosine_truth"},
}


@torch.no_grad()
def measure(swapper: Path, data: str, recipe: Recipe) -> dict[str, float]:
    """Validation's measures over more samples, and what the swap changes of pose and expression.

    Returns:
        As Validation.measure; `pose_error_deg`: length of the difference of yaw, pitch and roll of swapped
        and target; `expression_error`: mean distance of their inner landmarks after the best similarity,
        per cent of the crop's side; both as the bundled analyser reads them. `parameters`: of the network.
    """
    crop = dataset_crop(data)
    held_out = Validation(
        data, recipe.model_copy(update={"validation_samples": _SAMPLES}), load_identity("auto", crop)
    )
    network, _ = load_swapper(swapper)
    values = held_out.measure(network)
    swapped = held_out.swapped(network)
    pairs = zip(_readings(swapped, crop), _readings(held_out._target, crop), strict=True)
    errors = np.array([_apart(one, other, swapped.shape[-1]) for one, other in pairs])
    values["pose_error_deg"], values["expression_error"] = map(float, errors.mean(0))
    values["parameters"] = float(sum(p.numel() for p in network.parameters()))
    return values


def _readings(images: torch.Tensor, crop: str) -> Iterator[Reading]:
    points = canonical(crop, images.shape[-1]).points
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    for picture in pixels.numpy():
        yield shared_analyser().read(np.ascontiguousarray(picture), points)


def _apart(one: Reading, other: Reading, size: int) -> tuple[float, float]:
    pose = float(np.linalg.norm(np.subtract(one.pose, other.pose)))
    here, there = (_centred(reading.landmarks[_INNER]) for reading in (one, other))
    turn = (there.conj() * here).sum() / (abs(there) ** 2).sum()  # best similarity, as a complex factor
    return pose, 100 * float(abs(here - turn * there).mean()) / size


def _centred(points: np.ndarray) -> np.ndarray:
    plane: np.ndarray = points[:, 0] + 1j * points[:, 1]
    return plane - plane.mean()


def write_report(output: Path, finished: dict[str, str]) -> None:
    """table.md and curves.png of the variants that are measured; name -> what it is."""
    found = {name: json.loads((output / name / "measures.json").read_text()) for name in finished}
    recipes = {name: json.loads((output / name / "recipe.json").read_text()) for name in finished}
    parts = [*_table(found, finished, recipes), "", *_order(found)]
    (output / "table.md").write_text("\n".join(parts) + "\n")
    draw(output / "curves.png", list(_panels(output, list(finished))))


def _table(
    found: dict[str, dict[str, float]], words: dict[str, str], recipes: dict[str, dict[str, object]]
) -> Iterator[str]:
    yield "| variant | | parameters | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |"
    yield "|---|---|---:|" + "---:|" * len(COLUMNS)
    for name, values in found.items():
        size = f"{words[name]}; {recipes[name]['image_size']} px, {recipes[name]['steps']} steps"
        cells = " | ".join(_cell(values.get(column)) for column in COLUMNS)
        yield f"| `{name}` | {size} | {values['parameters']:,.0f} | {cells} |"
    for label, names in REFERENCES.items():
        some = next(iter(found.values()), {})
        cells = " | ".join(_cell(some.get(names.get(column, ""))) for column in COLUMNS)
        yield f"| {label} | | | {cells} |"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


@dataclass(frozen=True)
class Claim:
    """The paper finds the first better than the second."""

    better: str
    worse: str
    measure: str


def _claims() -> Iterator[Claim]:
    """Figure 4, then the supplement's table, pair by pair."""
    shown = [("baseline", "without_triplets"), ("baseline", "outputs_256_128")]
    shown += [("baseline", "outputs_256"), ("outputs_256_128", "outputs_256")]
    for better, worse in shown:
        yield Claim(better, worse, "id_cosine")
        yield Claim(better, worse, "pixel_l1")
    for column, name in enumerate(("id_cosine", "pose_error_deg", "expression_error")):
        for one, other in combinations(PAPER, 2):
            here, there = PAPER[one][column], PAPER[other][column]
            if abs(here - there) <= _EQUAL * max(here, there):
                continue
            first = (here > there) == COLUMNS[name][1]
            better, worse = (one, other) if first else (other, one)
            if "hourglass" in (one, other):
                if "baseline" not in (one, other):
                    continue  # it has another size than the rest
                better, worse = (n if n == "hourglass" else "baseline_256px" for n in (better, worse))
            yield Claim(better, worse, name)


def _order(found: dict[str, dict[str, float]]) -> Iterator[str]:
    lines: dict[str, list[str]] = {title: [] for title in _TITLES}
    for claim in _claims():
        heading, more = COLUMNS[claim.measure]
        values = [found.get(name, {}).get(claim.measure) for name in (claim.better, claim.worse)]
        if values[0] is None or values[1] is None:
            continue
        least = _NEAR if "cosine" in claim.measure else _EQUAL * max(values)
        near, as_paper = abs(values[0] - values[1]) <= least, (values[0] > values[1]) == more
        line = f"{heading}: `{claim.better}` {_cell(values[0])}, `{claim.worse}` {_cell(values[1])}"
        lines[_TITLES[2] if near else _TITLES[0] if as_paper else _TITLES[1]].append(line)
    counts = ", ".join(f"{len(rows)} {title}" for title, rows in lines.items())
    yield f"Of the pairs that the paper ranks: {counts}."
    for title, rows in lines.items():
        if rows:
            yield from ["", f"{title[0].upper()}{title[1:]}, the paper's better one first:", ""]
            yield from (f"- {row}" for row in rows)


def _panels(output: Path, names: list[str]) -> Iterator[Panel]:
    groups = {
        "data and outputs": ["baseline", "without_triplets", "outputs_256_128", "outputs_256"],
        "networks": ["baseline", "wide", "shallow", "no_fusion"],
        "networks at 256 px": ["baseline_256px", "hourglass"],
    }
    measures = {
        "id_cosine": ("cosine to source, two people", 0.1),
        "true_swap_id_cosine": ("cosine to source, true swaps", 0.1),
        "pixel_l1": ("L1 to result", 2.0),
    }
    for key, (heading, span) in measures.items():
        for title, members in groups.items():
            lines = {name: _curve(output / name, key) for name in members if name in names}
            yield Panel(f"{heading}: {title}", {name: line for name, line in lines.items() if line}, span)


def _curve(run: Path, key: str) -> list[tuple[float, float]]:
    """(step, value) of a run's validations; the last word on a step counts, a resumed run repeats some.

    What grew beyond all numbers has no place on a chart; the table shows it as nan.
    """
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    held_out = {line["step"]: line[key] for line in lines if line["kind"] == "validation" and key in line}
    return sorted((step, value) for step, value in held_out.items() if np.isfinite(value))
