"""Editors on real photos: do their edits pass the gates, what does a recogniser say, does strength grow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fstriplets.config import PipelineConfig
from fstriplets.corpus import open_corpus
from fstriplets.edits.measure import Row, measure_edits, some_faces
from fstriplets.errors import DatasetError
from fstriplets.faces import FaceStage
from fstriplets.records import AlignedFace, Edit

__all__ = ["PhotoRow", "evaluate_photos", "sheet"]

Made = dict[tuple[str, float], list[tuple[Edit, "np.ndarray | None"]]]


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """An editor's edit at one strength over the faces of a folder.

    Attributes:
        cosine: mean to the unedited face; None without an embedder.
        gained: mean rise of the edit's own score; None without a scorer.
        accepted: share that passes the gates; reasons: why the others do not.
        changed_area: mean share of the crop; milliseconds: of a core, a face.
        growing: share of faces that change more at each higher strength; the same on all rows of an edit.
    """

    editor: str
    folder: str
    edit: str
    strength: float
    faces: int
    cosine: float | None
    gained: float | None
    accepted: float
    reasons: dict[str, int]
    changed_area: float
    milliseconds: float
    growing: float


def evaluate_photos(
    folder: Path,
    editor: str,
    config: PipelineConfig,
    stage: FaceStage,
    strengths: Sequence[float],
    count: int,
) -> tuple[list[PhotoRow], list[AlignedFace], Made]:
    """Every edit of an editor on the faces of a folder, one folder a person.

    Returns:
        Rows, the faces, and (edit, strength) -> what became of each face.

    Raises:
        DatasetError: no usable face in the folder.
    """
    faces = some_faces(open_corpus(str(folder), config), stage, config, count)
    if not faces:
        raise DatasetError(f"no usable face in {folder}")
    rows, made = measure_edits(faces, config, stage, sorted(config.edits), strengths)
    growing = {edit: _growing(faces, made, edit, strengths) for edit in config.edits}
    return [_row(row, editor, folder.name, growing[row.edit]) for row in rows], faces, made


def _row(row: Row, editor: str, folder: str, growing: float) -> PhotoRow:
    return PhotoRow(
        editor, folder, row.edit, row.strength, row.faces,
        None if row.similarity is None else row.similarity[0],
        None if row.gained is None else row.gained[0],
        row.accepted, row.reasons, row.changed_area, row.milliseconds, growing,
    )  # fmt: skip


def _growing(faces: Sequence[AlignedFace], made: Made, edit: str, strengths: Sequence[float]) -> float:
    """Share of faces whose mean change grows with every step of the strength."""
    grows = []
    for i, face in enumerate(faces):
        pictures = [made[edit, strength][i][1] for strength in sorted(strengths)]
        changes = [_change(face.pixels, picture) for picture in pictures if picture is not None]
        if len(changes) == len(strengths):
            grows.append(all(a < b for a, b in pairwise(changes)))
    return float(np.mean(grows)) if grows else 0.0


def _change(photo: np.ndarray, picture: np.ndarray) -> float:
    return float(np.abs(photo.astype(np.int16) - picture).mean())


def sheet(faces: Sequence[AlignedFace], made: Made, count: int = 12) -> np.ndarray:
    """The first faces, then a line of them for every edit and strength: uint8 [H, W, 3]."""
    lines = [np.hstack([face.pixels for face in faces[:count]])]
    for answers in made.values():
        shown = zip(faces[:count], answers[:count], strict=True)
        lines.append(np.hstack([face.pixels // 4 if p is None else p for face, (_, p) in shown]))
    return np.vstack(lines)
