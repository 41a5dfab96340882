"""The grin against real truth: people photographed neutral and smiling (folders with both photos).

The neutral photo is given a grin; then the landmarker looks at neutral, smiling and edited crops alike.
Mouths are compared with the eyes laid over each other, in distances between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fstriplets.config import PipelineConfig
from fstriplets.corpus.base import DecodedPhoto
from fstriplets.edits.accept import AttributeScorer
from fstriplets.edits.stage import EditStage
from fstriplets.errors import PhotoRejected
from fstriplets.faces import FaceStage
from fstriplets.faces.align import similarity, transform_points
from fstriplets.records import AlignedFace, Photo, PlannedEdit, seed_of

__all__ = ["SmileRow", "evaluate_smiles"]


@dataclass(frozen=True, slots=True)
class SmileRow:
    """Means over people.

    Attributes:
        before, after: distance of the mouth to the person's own smiling photo, in distances between the
            eyes, of the unedited and of the edited photo.
        nearer: share of people whose mouth came nearer.
        score_neutral, score_edited, score_smiling: of the grin; None without a scorer.
    """

    editor: str
    strength: float
    people: int
    before: float
    after: float
    nearer: float
    score_neutral: float | None
    score_edited: float | None
    score_smiling: float | None


def evaluate_smiles(
    folder: Path,
    config: PipelineConfig,
    stage: FaceStage,
    strength: float,
    people: int,
    scorer: AttributeScorer | None,
) -> SmileRow | None:
    """The grin of `config.editor` on the people of a folder; None where nobody has both photos.

    Args:
        folder: one folder a person, with neutral.* and smiling.*.
    """
    before, after, scores = [], [], []
    runner = EditStage(config, lambda crops, landmarks: None)
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        pair = [_face(stage, person, name) for name in ("neutral", "smiling")]
        if pair[0] is None or pair[1] is None:
            continue
        neutral, smiling = pair[0], pair[1]
        planned = PlannedEdit(
            neutral.face.face_id, "grin", strength, config.editor, seed_of(0, neutral.face.face_id)
        )
        pixels = next(iter(runner.run({neutral.face.face_id: neutral}, [planned])))[2]
        edited = None if pixels is None else _look(stage, pixels, person.name)
        if edited is None:
            continue
        goal, start, end = (_mouth(f) for f in (smiling, neutral, edited))
        before.append(float(np.hypot(*(start - goal).T).mean()))
        after.append(float(np.hypot(*(end - goal).T).mean()))
        if scorer is not None:
            faces = (neutral, edited, smiling)
            points = np.array([f.face.landmarks for f in faces], np.float32)
            scores.append(np.asarray(scorer(np.stack([f.pixels for f in faces]), points)["grin"]))
        if len(before) == people:
            break
    if not before:
        return None
    means = [float(v) for v in np.mean(scores, axis=0)] if scores else [None, None, None]
    return SmileRow(
        config.editor, strength, len(before), float(np.mean(before)), float(np.mean(after)),
        float(np.mean(np.array(after) < np.array(before))), *means,
    )  # fmt: skip


def _face(stage: FaceStage, person: Path, name: str) -> AlignedFace | None:
    found = sorted(person.glob(f"{name}.*"))
    pixels = cv2.imread(str(found[0])) if found else None
    return None if pixels is None else _look(stage, np.ascontiguousarray(pixels[..., ::-1]), person.name)


def _look(stage: FaceStage, pixels: np.ndarray, who: str) -> AlignedFace | None:
    try:
        face = stage.candidates(Photo(who, who, who), DecodedPhoto(pixels, "png"))[0]
    except PhotoRejected:
        return None
    return face if len(face.face.landmarks) == 68 else None


def _mouth(face: AlignedFace) -> np.ndarray:
    """Mouth [20, 2] in the frame of its eyes: the left one at (0, 0), the right one at (1, 0)."""
    points = np.array(face.face.landmarks, np.float64)
    eyes = np.stack([points[36:42].mean(0), points[42:48].mean(0)])
    return np.asarray(transform_points(points[48:68], similarity(eyes, [[0.0, 0.0], [1.0, 0.0]])))
