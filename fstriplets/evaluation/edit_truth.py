"""Editors against the truth: held-out synthetic people, whose edited photos are known.

A pair of `synth pairs` is cut to the aligned crop a build would edit. An editor that can be told the
frame's style and the colour (`edit_as`) is told the truth's; others draw theirs. The edits of the hair
(colour, fringe, bald, cut) are told apart only for the former; others do `hair`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fstriplets.edits.accept import AttributeScorer
from fstriplets.edits.base import Editor
from fstriplets.edits.stage import from_tensor, to_tensor
from fstriplets.models.networks.flow_gan import EDITS, SIDE
from fstriplets.records import seed_of
from fstriplets.training.edit_pairs import Batch, EditPairs
from fstriplets.training.pairs import PairSet

__all__ = ["TruthRow", "evaluate_truth"]

#: Region share below which a pixel was not to be touched, and above which it was.
_OUTSIDE, _INSIDE = 0.01, 0.3
#: Pairs whose truth changed less of the crop than this show no edit (a beard for the bearded).
_LEAST_AREA = 0.004

Embed = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]


@dataclass(frozen=True, slots=True)
class TruthRow:
    """An editor's edit against the truth; means over pairs.

    Attributes:
        error: mean absolute error in the edited region, of 255; copied: the unedited photo's.
        likeness: structural similarity in the region; copied_likeness: the unedited photo's.
        outside: mean change of what was not to be touched, of 255.
        cosine: to the photo before the edit; true_cosine: of the truth to it; None without an embedder.
        rise: of the edit's attribute score; true_rise: of the truth's; None without a scorer.
    """

    editor: str
    edit: str
    pairs: int
    error: float
    copied: float
    likeness: float
    copied_likeness: float
    outside: float
    cosine: float | None
    true_cosine: float | None
    rise: float | None
    true_rise: float | None


def evaluate_truth(
    folder: Path, editors: Sequence[Editor], each: int, embed: Embed | None, scorer: AttributeScorer | None
) -> tuple[list[TruthRow], dict[tuple[str, str], list[np.ndarray]]]:
    """Editors on the held-out people of a folder of `synth pairs`.

    Args:
        each: pairs of an edit, at most.
        embed, scorer: of aligned crops [B, S, S, 3] and landmarks [B, 68, 2]; None: no such figures.

    Returns:
        Rows, editor by editor within an edit; and (edit, "photo" | "truth" | editor) -> pictures.
    """
    pairs = EditPairs(PairSet(folder, "val"), dict.fromkeys(EDITS, 1.0), SIDE)
    rows, pictures = [], {}
    for edit, members in pairs.of.items():
        chosen = _showing(pairs, members, each)
        if not chosen:
            continue
        photos, truths, regions, points = _crops(pairs, chosen)
        pictures[edit, "photo"], pictures[edit, "truth"] = photos, truths
        for editor in editors:
            if not _can(editor, edit):
                continue
            made = [
                _made(editor, pairs, i, photo, p) for i, photo, p in zip(chosen, photos, points, strict=True)
            ]
            pictures[edit, editor.name] = made
            judged = _Judged(photos, truths, made, regions, points)
            rows.append(judged.row(editor.name, edit, embed, scorer))
    return rows, pictures


def _showing(pairs: EditPairs, members: np.ndarray, each: int) -> list[int]:
    """Pairs in which the edit shows."""
    chosen = []
    for i in members:
        if float((pairs.collate([int(i)], None).region > _INSIDE).float().mean()) > _LEAST_AREA:
            chosen.append(int(i))
        if len(chosen) == each:
            break
    return chosen


def _crops(
    pairs: EditPairs, chosen: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Aligned photos and truths uint8 [SIDE, SIDE, 3], regions [SIDE, SIDE], landmarks [68, 2]."""
    photos, truths, regions, points = [], [], [], []
    for i in chosen:
        pair: Batch = pairs.collate([i], None)
        photos.append(_bytes(pair.photo[0]))
        truths.append(_bytes(pair.edited[0]))
        regions.append(pair.region[0, 0].numpy())
        points.append(pairs.crop_landmarks(i))
    return photos, truths, regions, points


def _bytes(picture: torch.Tensor) -> np.ndarray:
    pixels = from_tensor(picture)
    assert pixels is not None, "a picture that was bytes is finite"
    return pixels


def _can(editor: Editor, edit: str) -> bool:
    if not edit.startswith("hair"):
        return edit in editor.edits
    # an editor that can be told the edit of the hair says which ones it knows; others draw any
    return "hair" in editor.edits and edit in getattr(editor, "hair_edits", {edit})


def _made(editor: Editor, pairs: EditPairs, index: int, photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The editor's picture; the photo itself where it turned the face down."""
    wish = pairs.wish(index)
    faces = to_tensor([photo])
    tell = getattr(editor, "edit_as", None)
    with torch.inference_mode():
        if tell is not None:
            before = faces[0].permute(1, 2, 0).numpy()
            picture, mask = tell(before, points, wish)
            return _bytes(torch.from_numpy(np.where(mask[..., None] > 0, picture, before)).permute(2, 0, 1))
        name = "hair" if wish.edit.startswith("hair") else wish.edit
        seed = seed_of(0, str(index), name) % 2**31
        extras: dict[str, Any] = {}
        if "landmarks" in getattr(editor, "needs", ()):
            extras["landmarks"] = torch.from_numpy(points[None].astype(np.float32))
        strengths = torch.tensor([pairs.pairs.strength[index]], dtype=torch.float32)
        result = editor.edit(faces, name, strengths, torch.tensor([seed]), **extras)
    return photo if result.rejected else _bytes(result.images[0])


@dataclass(frozen=True, eq=False)
class _Judged:
    """Photos, truths and what an editor made of the photos."""

    photos: list[np.ndarray]
    truths: list[np.ndarray]
    made: list[np.ndarray]
    regions: list[np.ndarray]
    points: list[np.ndarray]

    def row(self, editor: str, edit: str, embed: Embed | None, scorer: AttributeScorer | None) -> TruthRow:
        """Means over the pictures; what needs `embed` or `scorer` is None without it."""
        cosine = true_cosine = rise = true_rise = None
        points = np.stack(self.points).astype(np.float32)
        stacks = [np.stack(pictures) for pictures in (self.photos, self.truths, self.made)]
        vectors = None if embed is None else [embed(stack, points) for stack in stacks]
        if vectors is not None and all(v is not None for v in vectors):
            before, truth, after = (np.asarray(v) for v in vectors)
            cosine, true_cosine = float((before * after).sum(1).mean()), float((before * truth).sum(1).mean())
        scores = [] if scorer is None else [scorer(stack, points) for stack in stacks]
        if scores and edit in scores[0]:
            start, goal, end = (np.asarray(score[edit]) for score in scores)
            rise, true_rise = float((end - start).mean()), float((goal - start).mean())
        errors = [_error(m, t, r) for m, t, r in zip(self.made, self.truths, self.regions, strict=True)]
        copies = [_error(p, t, r) for p, t, r in zip(self.photos, self.truths, self.regions, strict=True)]
        leaks = [_leak(m, p, r) for m, p, r in zip(self.made, self.photos, self.regions, strict=True)]
        return TruthRow(
            editor, edit, len(self.made),
            error=float(np.mean([e for e, _ in errors])), copied=float(np.mean([e for e, _ in copies])),
            likeness=float(np.mean([s for _, s in errors])),
            copied_likeness=float(np.mean([s for _, s in copies])),
            outside=float(np.mean(leaks)),
            cosine=cosine, true_cosine=true_cosine, rise=rise, true_rise=true_rise,
        )  # fmt: skip


def _error(made: np.ndarray, truth: np.ndarray, region: np.ndarray) -> tuple[float, float]:
    """Mean absolute error (of 255) and structural similarity in the region."""
    difference = cv2.absdiff(made, truth).astype(np.float32).mean(-1)
    total = float(region.sum())
    return float((difference * region).sum()) / total, float((_ssim(made, truth) * region).sum()) / total


def _leak(made: np.ndarray, photo: np.ndarray, region: np.ndarray) -> float:
    outside = region < _OUTSIDE
    return (
        float(cv2.absdiff(made, photo).astype(np.float32).mean(-1)[outside].mean()) if outside.any() else 0.0
    )


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Map of the structural similarity of two pictures' luma (Wang et al. 2004): [H, W]."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (a, b))

    def mean(picture: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(picture, (11, 11), 1.5))

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + low) * (2 * cov + high)
    return np.asarray(top / ((mx * mx + my * my + low) * (vx + vy + high)))
