"""Crops for the face analyser: cut as the build cuts them, but carelessly, with their truth.

Five points with a detector's noise, scaled, turned, shifted and mirrored; then backgrounds, hats, occluders
and what cameras do (training/augment.py). The more the pictures differ from the renderer's, the less the
network can lean on what only the renderer does.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from fstriplets.faces.align import similarity, transform_points
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.networks.face_analyser import ANALYSER_ATTRIBUTES, ANALYSER_PARTS
from fstriplets.training import augment
from fstriplets.training.pairs import PairSet
from fstriplets.training.recipe import TrainingRecipe

__all__ = [
    "FLIP_68",
    "GLASSES",
    "IGNORED",
    "RANGES",
    "CropBatch",
    "CropRecipe",
    "Crops",
    "auc",
    "part_iou",
    "stack",
    "targets",
]

SIDE = 128
IGNORED = 255
GLASSES = 8  # of synth.regions.LABELS
#: Landmarks of the mirrored face.
FLIP_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
#: Attribute -> (value that scores 0, value that scores 1), in the units of synth.pairs.PAIR_ATTRIBUTES.
RANGES: dict[str, tuple[float, float]] = {
    "age": (18.0, 90.0),
    "chubbiness": (-0.6, 1.8),
    "smile": (0.0, 0.9),
    "mouth_open": (0.0, 0.3),
    "hair_length": (0.75, 1.3),
}
_HAIR = ("bald", "fringe", "hair_cut", "hair_length", "grey_hair", "hair_r", "hair_g", "hair_b")
_HAIR_COLUMNS = [ANALYSER_ATTRIBUTES.index(name) for name in _HAIR]
_COLOUR_COLUMNS = [ANALYSER_ATTRIBUTES.index(name) for name in ("hair_r", "hair_g", "hair_b", "grey_hair")]


class CropRecipe(TrainingRecipe):
    """Keys that say how careless the crops are."""

    tight: float = Field(0.45, ge=0, le=1, description="share of crops cut as by good landmarks")
    background: float = Field(0.55, ge=0, le=1, description="share of pictures with another background")
    hats: float = Field(0.1, ge=0, le=1, description="share of pictures with something on the head")
    occluders: float = Field(0.25, ge=0, le=1, description="share of pictures with something in front")


class CropBatch(NamedTuple):
    """What a step trains on; also one crop, without the first axis.

    Attributes:
        faces: [B, 128, 128, 3] uint8. landmarks: [B, 68, 2] as the network gives them.
        parts: [B, 64, 64] uint8, 255: not to be learnt. pose: [B, 3] degrees.
        attributes: [B, 16] scores 0..1; known: [B, 16] 1 where they can be seen.
    """

    faces: np.ndarray
    landmarks: np.ndarray
    parts: np.ndarray
    attributes: np.ndarray
    known: np.ndarray
    pose: np.ndarray


def targets(pairs: PairSet) -> tuple[np.ndarray, np.ndarray]:
    """Scores 0..1 of all pictures in the order of ANALYSER_ATTRIBUTES, and which are known: [N, 16] each."""
    table = dict(pairs.attributes)
    table["bald"] = np.maximum(table["bald"], table["hair_loss"])
    for name in ("hair_r", "hair_g", "hair_b"):  # as eyes see it: dark hair takes up most of the range
        table[name] = np.sqrt(np.clip(table[name], 0, 1))
    columns = []
    for name in ANALYSER_ATTRIBUTES:
        low, high = RANGES.get(name, (0.0, 1.0))
        columns.append(np.clip((table[name] - low) / (high - low), 0, 1))
    scores = np.stack(columns, axis=1).astype(np.float32)
    known = np.ones_like(scores)
    hairless = np.flatnonzero(table["bald"] > 0.8)
    of_hair = np.array([c for c in _HAIR_COLUMNS if ANALYSER_ATTRIBUTES[c] != "bald"])
    known[np.ix_(hairless, of_hair)] = 0
    return scores, known


def placement(
    landmarks: np.ndarray, rng: np.random.Generator, tight: bool
) -> tuple[npt.NDArray[np.float64], float]:
    """A crop's affine [2, 3] as careless hands would choose it, and by how many degrees it turns the face.

    Args:
        tight: as after landmarks were found; otherwise as after a detector's first guess.
    """
    points = five_points(landmarks)
    across = float(np.hypot(*(points[1] - points[0]))) + float(np.hypot(*(points[3:].mean(0) - points[2])))
    points = points + rng.normal(0, (0.012 if tight else 0.045) * across, (5, 2))
    matrix = similarity(points, template_points("ffhq", SIDE))
    spread = 0.25 if tight else 1.0
    scale = np.exp(rng.uniform(np.log(0.8), np.log(1.25)) * spread)
    angle = np.radians(rng.uniform(-25, 25) * spread)
    shift = rng.uniform(-0.07, 0.07, 2) * SIDE * spread
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, SIDE / 2 - 0.5)
    jitter = np.hstack([turn, (middle + shift - turn @ middle)[:, None]])
    moved = jitter[:, :2] @ matrix
    moved[:, 2] += jitter[:, 2]
    return moved, float(np.degrees(np.arctan2(moved[1, 0], moved[0, 0])))


def cut(
    picture: np.ndarray, labels: np.ndarray, matrix: np.ndarray
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A crop of a picture [128, 128, 3] and of its labels [128, 128], 255 outside the picture."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    source, m = picture, matrix
    if scale < 0.75:  # area averages first, as faces.align.warp does
        side = max(16, round(picture.shape[0] * scale))
        ratio = picture.shape[0] / side
        source = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        m = matrix.copy()
        m[:, 2] += matrix[:, :2].sum(axis=1) * (0.5 * ratio - 0.5)
        m[:, :2] *= ratio
    face = cv2.warpAffine(source, m, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    parts = cv2.warpAffine(
        labels, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(IGNORED,),
    )  # fmt: skip
    return np.asarray(face, np.uint8), np.asarray(parts, np.uint8)


def _half(parts: np.ndarray) -> npt.NDArray[np.uint8]:
    """Labels at half the size; a thin frame stays."""
    quarters = np.stack([parts[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    small: npt.NDArray[np.uint8] = quarters[3].copy()
    small[(quarters == GLASSES).any(axis=0)] = GLASSES
    return small


class Crops:
    """Augmented crops of a set of pairs."""

    def __init__(self, pairs: PairSet, recipe: CropRecipe) -> None:
        self.pairs, self.recipe = pairs, recipe
        self.scores, self.known = targets(pairs)

    def careless(self, index: int, rng: np.random.Generator) -> CropBatch:
        """One training crop."""
        recipe = self.recipe
        matrix, turned = placement(self.pairs.landmarks[index], rng, tight=rng.random() < recipe.tight)
        picture, labels = self.pairs.pixels(index), self.pairs.labels(index)
        face, parts = cut(picture, labels, matrix)
        points = transform_points(self.pairs.landmarks[index], matrix)
        known = self.known[index].copy()
        if rng.random() < recipe.background:
            other = None
            if rng.random() < 0.25:
                other = self.pairs.pixels(int(rng.integers(len(self.pairs))))
            face = augment.replace_background(face, parts == 0, rng, other)
        if rng.random() < recipe.hats:
            face, hidden = augment.hat(face, points, rng)
            parts[hidden & (parts != IGNORED)] = 0
            known[_HAIR_COLUMNS] = 0
        if rng.random() < recipe.occluders:
            face, hidden = augment.occlude(face, rng)
            parts[hidden] = IGNORED
        if rng.random() < augment.DEGRADATIONS["grey"]:
            face = augment.grey(face, rng)
            known[_COLOUR_COLUMNS] = 0
        odds = {**augment.DEGRADATIONS, "grey": 0.0}
        face = augment.degrade(face, rng, odds)
        return self._finish(index, face, points, parts, known, turned, mirrored=rng.random() < 0.5)

    def plain(self, index: int, rng: np.random.Generator) -> CropBatch:
        """One crop as after landmarks were found, nothing else done to it."""
        matrix, turned = placement(self.pairs.landmarks[index], rng, tight=True)
        face, parts = cut(self.pairs.pixels(index), self.pairs.labels(index), matrix)
        points = transform_points(self.pairs.landmarks[index], matrix)
        return self._finish(index, face, points, parts, self.known[index], turned, mirrored=False)

    def _finish(
        self, index: int, face: np.ndarray, points: np.ndarray, parts: np.ndarray, known: np.ndarray,
        turned: float, mirrored: bool,
    ) -> CropBatch:  # fmt: skip
        pose = self.pairs.pose[index] + (0, 0, turned)
        if mirrored:
            face, parts = face[:, ::-1], parts[:, ::-1]
            points = points[FLIP_68] * (-1, 1) + (SIDE - 1, 0)
            pose = pose * (-1, 1, -1)
        landmarks = (points + 0.5) * (2 / SIDE) - 1
        return CropBatch(face, landmarks, _half(parts), self.scores[index], known, pose)


def stack(crops: list[CropBatch]) -> CropBatch:
    columns = [np.stack(values) for values in zip(*crops, strict=True)]
    for i in (1, 3, 4, 5):
        columns[i] = columns[i].astype(np.float32)
    return CropBatch(*columns)


def part_iou(guessed: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> npt.NDArray[np.float64]:
    """Intersection over union of each part over all pictures together; NaN where it is in none: [13]."""
    both = np.bincount(
        wanted[known].astype(int) * ANALYSER_PARTS + guessed[known], minlength=ANALYSER_PARTS**2
    )
    table = both.reshape(ANALYSER_PARTS, ANALYSER_PARTS)
    union = table.sum(axis=0) + table.sum(axis=1) - np.diag(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.diag(table) / union)


def auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the ROC curve, ties counted half; 0.5 when one class is empty."""
    s, p = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if not p.any() or p.all():
        return 0.5
    _, place, counts = np.unique(s, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = float(ranks[p].sum()) - p.sum() * (p.sum() + 1) / 2
    return float(above / (p.sum() * (~p).sum()))
