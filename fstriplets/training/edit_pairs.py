"""Batches for the `flow-gan` trainer: aligned pairs (photo, edited photo) with their codes.

What happens to a pair on its way happens to both pictures alike: crop, mirror, light, blur, noise, what
hides the face, what is behind it. So the edit stays the only difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fstriplets.edits.flow_gan import Wish
from fstriplets.edits.flow_guide import MIRRORED, face_guide
from fstriplets.edits.flow_layout import ON_HAIR
from fstriplets.faces.align import similarity, transform_points
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.networks.flow_gan import EDITS, FRAME_STYLES, SIDE, edit_code
from fstriplets.training import augment
from fstriplets.training.pairs import PairSet

__all__ = ["Batch", "EditPairs"]

#: Change of a pixel (of 255) that counts as fully edited; width of the region's soft edge, pixels.
_CLEAR, _EDGE = 18.0, 7
#: Standard deviations of the crop's errors: landmarks (pixels), scale, shift (pixels), turn (degrees).
_LANDMARK, _SCALE, _SHIFT, _TURN = 1.5, 0.06, 5.0, 4.0
#: Part labels (synth.regions.LABELS).
_HAIR, _GLASSES = 7, 8
_GLASSES_EDITS = frozenset({"glasses", "sunglasses"})
#: Standard deviation of the landmarks the guide is drawn from, pixels.
_GUIDED = 1.0


@dataclass(frozen=True, eq=False)
class Batch:
    """B pairs.

    Attributes:
        photo, edited: [B, 3, SIDE, SIDE] float32 in [-1, 1].
        region: [B, 1, SIDE, SIDE] 0..1, where they differ.
        code: [B, CODE_SIZE]; strength: [B].
        guide: [B, GUIDE, CELLS, CELLS] of the photo's landmarks; layout: [B, 1, SIDE, SIDE];
            parts: [B, CELLS, CELLS] the photo's labels.
        windows: [B, 2] top and left of the window to learn from.
        points: [B, 68, 2] landmarks of the edited face, pixels; moves: [B, 68, 2] from there to where the
            photo shows them.
    """

    photo: Tensor
    edited: Tensor
    region: Tensor
    code: Tensor
    strength: Tensor
    guide: Tensor
    layout: Tensor
    parts: Tensor
    windows: Tensor
    points: Tensor
    moves: Tensor

    @property
    def asked(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The generator's arguments for whole faces."""
        return self.photo, self.guide, self.layout, self.code, self.strength


class EditPairs:
    """Draws pairs.

    Args:
        pairs: pictures and their truth.
        odds: edit -> how often it is drawn; absent edits are not.
        window: side of the windows, a multiple of 4.
    """

    def __init__(self, pairs: PairSet, odds: Mapping[str, float], window: int) -> None:
        self.pairs = pairs
        self.window = window
        self.of = {e: np.flatnonzero(pairs.edit == e) for e in EDITS if odds.get(e, 0) > 0}
        for edit in self.of.keys() & _GLASSES_EDITS:  # fainter ones are not among the labels
            self.of[edit] = self.of[edit][pairs.strength[self.of[edit]] >= 0.5]
        self.of = {edit: members for edit, members in self.of.items() if len(members)}
        weights = np.array([odds[edit] for edit in self.of])
        self._odds = weights / weights.sum()

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Random pairs, augmented."""
        names = rng.choice(list(self.of), size, p=self._odds)
        return self.collate([int(rng.choice(self.of[str(name)])) for name in names], rng)

    def collate(self, indices: list[int], rng: np.random.Generator | None) -> Batch:
        """The pairs of these edited pictures; without `rng` as they are, seen through the middle window."""
        rows = [self._pair(i, rng) for i in indices]
        wishes = [self.wish(i) for i in indices]
        corners = [_window(row.region, self.window, rng) for row in rows]
        before, after = (np.stack([row.landmarks[k] for row in rows]) for k in range(2))
        guided = before if rng is None else before + rng.normal(0, _GUIDED, before.shape)
        return Batch(
            photo=_tensor(np.stack([row.photo for row in rows])),
            edited=_tensor(np.stack([row.edited for row in rows])),
            region=torch.from_numpy(np.stack([row.region for row in rows]))[:, None],
            code=torch.stack([edit_code(w.edit, w.strength, w.style, w.colour) for w in wishes]),
            strength=torch.tensor([wish.strength for wish in wishes], dtype=torch.float32),
            guide=torch.from_numpy(np.stack([face_guide(points) for points in guided])),
            layout=torch.from_numpy(np.stack([row.layout for row in rows]))[:, None],
            parts=torch.from_numpy(np.stack([row.labels[2::4, 2::4] for row in rows]).astype(np.int64)),
            windows=torch.tensor(corners),
            points=torch.from_numpy(after),
            moves=torch.from_numpy(before - after),
        )

    def wish(self, i: int) -> Wish:
        """What the network is asked for, to get the i-th picture from its base."""
        known, edit = self.pairs.attributes, str(self.pairs.edit[i])
        strength = float(self.pairs.strength[i])
        if edit in _GLASSES_EDITS:
            r, g, b = (float(known[f"frame_{c}"][i]) for c in "rgb")
            return Wish(edit, strength, int(known["frame_style"][i]) % FRAME_STYLES, (r, g, b))
        if edit == "hair_colour":
            # the colour is the one that was reached, and reaching it is all that was asked for
            r, g, b = (float(known[f"hair_{c}"][i]) for c in "rgb")
            return Wish(edit, 1.0, None, (r, g, b))
        return Wish(edit, strength)

    def crop_landmarks(self, i: int) -> np.ndarray:
        """[68, 2] float32 pixels of the crop that `collate` makes without `rng`."""
        points = self.pairs.landmarks[self.pairs.base[i]]
        return transform_points(points, _matrix(points, None)).astype(np.float32)

    def _pair(self, i: int, rng: np.random.Generator | None) -> _Pair:
        base = int(self.pairs.base[i])
        matrix = _matrix(self.pairs.landmarks[base], rng)
        two = [_crop(self.pairs.pixels(k), matrix) for k in (base, i)]
        points = [transform_points(self.pairs.landmarks[k], matrix).astype(np.float32) for k in (base, i)]
        if np.linalg.det(matrix[:, :2]) < 0:
            points = [p[MIRRORED] for p in points]
        labels = _crop(self.pairs.labels(base), matrix, cv2.INTER_NEAREST)
        layout = self._layout(i, matrix, rng)
        if rng is None:
            return _Pair(two[0], two[1], _region(*two), labels, layout, points)
        if rng.random() < 0.4:
            others = _crop(self.pairs.labels(i), matrix, cv2.INTER_NEAREST)
            two = _alike(two, rng, _Behind((labels == 0) & (others == 0), rng))
        if rng.random() < 0.1:
            two = _alike(two, rng, lambda p, r: augment.occlude(p, r)[0])
        if rng.random() < 0.08:
            two = _alike(two, rng, lambda p, r: augment.hat(p, points[0], r)[0])
        region = _region(*two)
        if rng.random() < 0.8:
            two = _alike(two, rng, augment.degrade)
        return _Pair(two[0], two[1], region, labels, layout, points)

    def _layout(self, i: int, matrix: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Float32 [SIDE, SIDE]: where the edit puts glasses, or the hair it is about; with `rng` as roughly
        as it is known of a photo.
        """
        edit = str(self.pairs.edit[i])
        if edit in _GLASSES_EDITS:
            area, rough = self.pairs.labels(i) == _GLASSES, 0.7
        elif edit in ON_HAIR:
            area, rough = self.pairs.labels(int(self.pairs.base[i])) == _HAIR, 2.0
        else:
            return np.zeros((SIDE, SIDE), np.float32)
        layout = _crop(area.astype(np.uint8) * 255, matrix).astype(np.float32) / 255
        if rng is None:
            return layout
        shift = np.hstack([np.eye(2), rng.normal(0, rough / 2, (2, 1))])
        layout = cv2.warpAffine(layout, shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        layout = cv2.GaussianBlur(layout, (0, 0), 0.3 + rng.exponential(rough / 2))
        # a threshold moved up or down makes it narrower or wider
        low = rng.uniform(0, 0.3)
        return np.asarray(np.clip((layout - low) / rng.uniform(0.5, 0.7), 0, 1), np.float32)


@dataclass(frozen=True, eq=False)
class _Pair:
    """One pair, aligned.

    Attributes:
        photo, edited: uint8 [SIDE, SIDE, 3]; region: float32 [SIDE, SIDE]; labels: uint8 [SIDE, SIDE] of
            the photo; layout: float32 [SIDE, SIDE]; landmarks: [68, 2] of both.
    """

    photo: np.ndarray
    edited: np.ndarray
    region: np.ndarray
    labels: np.ndarray
    layout: np.ndarray
    landmarks: list[np.ndarray]


class _Behind:
    """Replaces the background, by the same picture each time."""

    def __init__(self, background: np.ndarray, rng: np.random.Generator) -> None:
        self._background = background
        self._other = augment.texture(background.shape[0], background.shape[1], rng)

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return augment.replace_background(picture, self._background, rng, self._other)


def _alike(
    two: list[np.ndarray],
    rng: np.random.Generator,
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> list[np.ndarray]:
    """The same random change to both."""
    seed = int(rng.integers(2**63))
    return [change(picture, np.random.default_rng(seed)) for picture in two]


def _matrix(landmarks: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Photo pixels -> aligned crop [2, 3]; with `rng` as badly as a landmarker would, at times mirrored."""
    five = five_points(landmarks)
    target = template_points("ffhq", SIDE)
    if rng is None:
        return np.asarray(similarity(five, target))
    matrix = np.asarray(similarity(five + rng.normal(0, _LANDMARK, (5, 2)), target))
    middle = SIDE / 2
    turn = cv2.getRotationMatrix2D((middle, middle), rng.normal(0, _TURN), np.exp(rng.normal(0, _SCALE)))
    turn[:, 2] += rng.normal(0, _SHIFT, 2)
    matrix = np.hstack([turn[:, :2] @ matrix[:, :2], (turn[:, :2] @ matrix[:, 2] + turn[:, 2])[:, None]])
    if rng.random() < 0.5:
        matrix[0] = -matrix[0]
        matrix[0, 2] += SIDE - 1
    return matrix


def _crop(picture: np.ndarray, matrix: np.ndarray, filter: int = cv2.INTER_LINEAR) -> np.ndarray:
    crop = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=filter, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(crop)


def _region(photo: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """Where two pictures differ, softly: float32 [H, W] 0..1."""
    channels = cv2.split(cv2.absdiff(photo, edited))
    largest = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    change = cv2.GaussianBlur(largest.astype(np.float32), (0, 0), 1.0)
    return np.asarray(cv2.blur(np.clip(change / _CLEAR, 0, 1), (_EDGE, _EDGE)))


def _window(region: np.ndarray, size: int, rng: np.random.Generator | None) -> tuple[int, int]:
    """Top and left of a window, mostly round a random place of the region."""
    if rng is None:
        corner = ((SIDE - size) // 2, (SIDE - size) // 2)
    elif rng.random() < 0.1 or region.max() < 0.3:
        corner = tuple(rng.integers(0, SIDE - size + 1, 2))
    else:
        rows, columns = np.nonzero(region > 0.3)
        k = int(rng.integers(len(rows)))
        around = rng.normal(0, size / 8, 2) - size / 2
        corner = (int(rows[k] + around[0]), int(columns[k] + around[1]))
    y, x = (int(np.clip(v, 0, SIDE - size)) // 4 * 4 for v in corner)
    return y, x


def _tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return planes.to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1
