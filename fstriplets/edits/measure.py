"""What an editor's edits are worth, on a folder of photos: `python -m fstriplets.edits.measure FOLDER`.

For every edit and strength: how alike the edited face is to the original (cosine of the installed
embedder), how much the score of the wanted attribute rose and which other score moved most (of the
attribute scorer), how many edits pass the gates and why the others do not, how much of the crop changed,
and the time an edit takes. `--sheet` writes a picture of the edits, to be looked at.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fstriplets.config import PipelineConfig, load_config
from fstriplets.corpus import decode_photo, open_corpus
from fstriplets.edits.accept import judge
from fstriplets.edits.base import EDIT_GROUPS
from fstriplets.edits.registry import load_editor
from fstriplets.edits.stage import EditStage
from fstriplets.errors import PhotoRejected, UserError
from fstriplets.faces import FaceStage
from fstriplets.faces.attributes import load_scorer
from fstriplets.faces.limits import IdentityLimits
from fstriplets.records import AlignedFace, Edit, PlannedEdit, seed_of

if TYPE_CHECKING:
    from fstriplets.corpus import Corpus

__all__ = ["Row", "measure_edits", "some_faces"]

#: Gates wide open: everything is measured, `judge` decides afterwards.
_OPEN = {
    "identity_max": 1.0, "identity_floor": -1.0, "identity_min": -1.0, "min_inside_change": 0.0,
    "max_outside_change": 255.0, "max_changed_area": 1.0, "min_attribute_change": -1.0,
    "max_attribute_drift": 1.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One edit at one strength."""

    edit: str
    strength: float
    faces: int
    similarity: tuple[float, float, float] | None  #: mean, 10th and 90th percentile; None: no embedder
    gained: tuple[float, float] | None  #: rise of its own score, mean and 10th percentile
    moved: tuple[str, float] | None  #: the other score that moved most, and by how much, 95th percentile
    accepted: float  #: share, 0..1
    changed_area: float  #: mean, 0..1
    milliseconds: float  #: of a core, per face: the edit and its conversion, without embedding
    reasons: dict[str, int]


def some_faces(corpus: Corpus, stage: FaceStage, config: PipelineConfig, count: int) -> list[AlignedFace]:
    """Up to `count` faces that pass the quality gates, at most two of a person."""
    faces: list[AlignedFace] = []
    for _, photos in corpus.identities():
        found: list[AlignedFace] = []
        for photo in islice((p for p in photos if p.status == "ok"), 4):
            try:
                pixels = decode_photo(corpus.read(photo), config.max_pixels)
                found += [f for f in stage.candidates(photo, pixels)[:1] if f.face.status == "ok"]
            except PhotoRejected:
                continue
        faces += found[:2]
        if len(faces) >= count:
            break
    return faces[:count]


def measure_edits(
    faces: Sequence[AlignedFace],
    config: PipelineConfig,
    stage: FaceStage,
    edits: Iterable[str],
    strengths: Sequence[float],
) -> tuple[list[Row], dict[tuple[str, float], list[tuple[Edit, np.ndarray | None]]]]:
    """Make every edit of every face and judge it.

    Returns:
        The rows of the table, and (edit, strength) -> what became of each face, in order.
    """
    rows, made = [], {}
    lookup = {face.face.face_id: face for face in faces}
    lenient = config.model_copy(update={"accept": config.accept.model_copy(update=_OPEN)})
    for edit in edits:
        for strength in strengths:
            plan = [
                PlannedEdit(f, edit, strength, config.editor, seed_of(config.seed, f, edit)) for f in lookup
            ]
            embed, scorer = _Timed(stage.embed), load_scorer(config)
            score = None if scorer is None else _Timed(scorer)
            start = time.process_time()
            runner = EditStage(lenient, embed, attribute_scorer=score)
            answers = {planned.face_id: (e, pixels) for planned, e, pixels in runner.run(lookup, plan)}
            seconds = time.process_time() - start - embed.seconds - (score.seconds if score else 0)
            made[edit, strength] = [answers[f] for f in lookup]
            results = [e for e, _ in made[edit, strength]]
            rows.append(_row(edit, strength, results, config, stage.limits, seconds))
    return rows, made


class _Timed:
    """An embedder or scorer, with the processor time it took."""

    def __init__(self, judge: Callable[[np.ndarray, np.ndarray], Any]) -> None:
        self._judge = judge
        self.seconds = 0.0

    def __call__(self, crops: np.ndarray, landmarks: np.ndarray) -> Any:
        start = time.process_time()
        answer = self._judge(crops, landmarks)
        self.seconds += time.process_time() - start
        return answer


def _row(
    edit: str,
    strength: float,
    edits: Sequence[Edit],
    config: PipelineConfig,
    limits: IdentityLimits,
    seconds: float,
) -> Row:
    reasons = Counter(
        (judge(edit, e.values, config.accept, limits)[0] if e.values else "")
        if e.status == "ok"
        else e.reason
        for e in edits
    )
    accepted = reasons.pop("", 0)
    alike = [e.values["identity_similarity"] for e in edits if "identity_similarity" in e.values]
    low, high = np.percentile(alike, [10, 90]) if alike else (0.0, 0.0)
    areas = [e.values["changed_area"] for e in edits if "changed_area" in e.values]
    gained, moved = _scores(edit, edits)
    return Row(
        edit=edit,
        strength=strength,
        faces=len(edits),
        similarity=(float(np.mean(alike)), float(low), float(high)) if alike else None,
        gained=gained,
        moved=moved,
        accepted=accepted / max(1, len(edits)),
        changed_area=float(np.mean(areas)) if areas else 0.0,
        milliseconds=1e3 * seconds / max(1, len(edits)),
        reasons=dict(reasons.most_common()),
    )


def _scores(edit: str, edits: Iterable[Edit]) -> tuple[tuple[float, float] | None, tuple[str, float] | None]:
    """What `Row` says of the attribute scores."""
    changes: dict[str, list[float]] = {}
    for made in edits:
        for key, value in made.values.items():
            if key.startswith("attribute_"):
                changes.setdefault(key.removeprefix("attribute_"), []).append(value)
    own = changes.pop(edit, None)
    gained = None if own is None else (float(np.mean(own)), float(np.percentile(own, 10)))
    ends = {name: float(np.percentile(np.abs(values), 95)) for name, values in changes.items()}
    return gained, max(ends.items(), key=lambda item: item[1]) if ends else None


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| edit | group | strength | cosine (10–90 %) | own score, mean (10 %) | other score, 95 % | accepted"
        " | changed | core ms | reasons |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gained = "–" if row.gained is None else "{:+.2f} ({:+.2f})".format(*row.gained)
        moved = "–" if row.moved is None else "{} {:.2f}".format(*row.moved)
        alike = "–" if row.similarity is None else "{:.2f} ({:.2f}–{:.2f})".format(*row.similarity)
        why = ", ".join(f"{name} {n}" for name, n in row.reasons.items())
        lines.append(
            f"| {row.edit} | {EDIT_GROUPS[row.edit]} | {row.strength:g} | {alike} | {gained} | {moved}"
            f" | {row.accepted:.0%}"
            f" | {row.changed_area:.0%} | {row.milliseconds:.0f} | {why} |"
        )
    return "\n".join(lines)


def _sheet(
    faces: Sequence[AlignedFace], made: dict[tuple[str, float], list[tuple[Edit, np.ndarray | None]]]
) -> np.ndarray:
    """Originals above, then a line of faces for every edit and strength; uint8 [H, W, 3]."""
    rows = [np.hstack([face.pixels for face in faces])]
    for answers in made.values():
        shown = zip(faces, answers[: len(faces)], strict=True)
        rows.append(np.hstack([face.pixels // 4 if p is None else p for face, (_, p) in shown]))
    return np.vstack(rows)


@click.command()
@click.argument("folder")
@click.option("--editor", default="warp", show_default=True, help="Editor to measure.")
@click.option("--edits", default="", help="Comma-separated; all the editor can do by default.")
@click.option("--strengths", default="0.5,1.0", show_default=True, help="Comma-separated, 0..1.")
@click.option("--faces", "count", default=50, show_default=True, help="How many faces, at most two a person.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a PNG of the first faces and edits.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Pipeline keys, as in build.")
def main(
    folder: str, editor: str, edits: str, strengths: str, count: int, sheet: Path | None, overrides: list[str]
) -> None:
    """Measure an editor on the photos of FOLDER (one folder a person)."""
    import cv2
    import torch

    torch.set_num_threads(1)  # times are for one core
    cv2.setNumThreads(1)
    try:
        config = load_config(None, [f"editor={editor}", *overrides])
        names = edits.split(",") if edits else sorted(load_editor(config.editor).edits)
        config = load_config(None, [f"editor={editor}", f"edits=[{','.join(names)}]", *overrides])
        stage = FaceStage(config)
        faces = some_faces(open_corpus(folder, config), stage, config, count)
        if not faces:
            raise click.ClickException(f"no usable face in {folder}")
        levels = [float(s) for s in strengths.split(",")]
        rows, made = measure_edits(faces, config, stage, names, levels)
    except UserError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{editor} on {len(faces)} faces of {folder}, {config.image_size} px")
    click.echo(f"recogniser {stage.recogniser or 'none'}: {stage.limits}\n")
    click.echo(_table(rows))
    if sheet is not None:
        from PIL import Image

        Image.fromarray(_sheet(faces[:8], made)).save(sheet)
        click.echo(f"\nsheet: {sheet}")


if __name__ == "__main__":
    main()
