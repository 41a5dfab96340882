"""The `spade` editor: a fringe painted by a SPADE generator from an edited label map (Park et al. 2019).

SPADE paints a face from labels alone: nothing in it knows the person, so only what the edit adds may come
from its picture. The label map of the face is drawn from 68 landmarks and the hair found by colour; the
forehead down to the brows is relabelled as hair; what SPADE paints there, in the tones of the photo's own
hair, is laid on the photo, and everything else stays. That is why this editor does `hair` and no more:
glasses, a grin or age painted by SPADE would be somebody else's eyes, mouth and skin.

Labels are CelebAMask-HQ's 19. Neck, ears and clothes are not looked for and stay background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fstriplets.edits.aligned import CELEBA_HQ, AlignedCrop
from fstriplets.edits.base import WeightsRecord
from fstriplets.edits.perface import PerFaceEditor
from fstriplets.edits.warp.geometry import smoothstep
from fstriplets.edits.warp.hair import find_hair
from fstriplets.edits.warp.parse import face_outline
from fstriplets.edits.warp.portrait import Portrait
from fstriplets.errors import PhotoRejected
from fstriplets.models.weights.local import load_network, settings

__all__ = ["LABELS", "SpadeEditor", "label_map"]

#: CelebAMask-HQ's classes in the order of their numbers.
LABELS = ("background", "skin", "nose", "eyeglasses", "left_eye", "right_eye", "left_brow", "right_brow",
          "left_ear", "right_ear", "mouth", "upper_lip", "lower_lip", "hair", "hat", "earring",
          "necklace", "neck", "cloth")  # fmt: skip
#: Landmarks of each part, painted in this order over the skin.
_PARTS = {
    "nose": (27, 31, 32, 33, 34, 35),
    "left_brow": (17, 18, 19, 20, 21),
    "right_brow": (22, 23, 24, 25, 26),
    "left_eye": (36, 37, 38, 39, 40, 41),
    "right_eye": (42, 43, 44, 45, 46, 47),
    "upper_lip": (48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60),
    "lower_lip": (54, 55, 56, 57, 58, 59, 48, 60, 67, 66, 65, 64),
    "mouth": (60, 61, 62, 63, 64, 65, 66, 67),
}
#: How far above the brows a full fringe ends, and how soft its lower edge is; face units.
_END, _SOFT = 0.10, 0.08
#: Height above the eyes up to which a forehead is looked for, face units.
_CROWN = -1.6


class SpadeEditor(PerFaceEditor):
    """A fringe by a SPADE checkpoint of the user's own (docs/editors.md).

    Raises:
        WeightsError: no checkpoint was imported; names the command.
    """

    name = "spade"
    edits = frozenset({"hair"})

    def __init__(self) -> None:
        network, row = load_network("spade")
        self._network = network.requires_grad_(False)
        self._size = int(settings(row)["size"])
        self.fingerprint = f"spade-1/{row.sha256[:16]}/{row.note}"
        self.weights: Sequence[WeightsRecord] = (WeightsRecord(row.sha256, row.licence),)

    def edit_face(
        self, photo: np.ndarray, landmarks: np.ndarray, edit: str, strength: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A fringe; strength is how far down it comes.

        The seed is not used: SPADE without image encoder paints one picture of a label map.
        """
        del edit, seed
        paint, where = self._fringe(photo, landmarks, strength)
        return photo * (1 - where[..., None]) + paint, where  # the paint is already times its mask

    def _fringe(
        self, photo: np.ndarray, landmarks: np.ndarray, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Paint times mask [H, W, 3] in [-1, 1], and the mask [H, W], in the photo's pixels."""
        crop = AlignedCrop(photo, landmarks, CELEBA_HQ, self._size)
        portrait = Portrait(crop.pixels.astype(np.float32) / 255, crop.landmarks)
        hair = find_hair(portrait)
        labels = label_map(portrait, hair)
        forehead = _forehead(portrait, labels)
        where = _reveal(portrait, hair, forehead, strength)
        labels[forehead > 0.5] = LABELS.index("hair")
        one_hot = np.eye(len(LABELS), dtype=np.float32)[labels].transpose(2, 0, 1)
        picture = self._network(torch.from_numpy(one_hot)[None])[0].permute(1, 2, 0).numpy()
        tones = crop.pixels[hair > 0.7].astype(np.float32) / 127.5 - 1
        painted = _in_tones(picture, picture[forehead > 0.5], tones)
        return crop.lay_back(painted * where[..., None], where)


def label_map(portrait: Portrait, hair: np.ndarray) -> np.ndarray:
    """CelebAMask-HQ labels [H, W] int64, as far as landmarks and hair tell them.

    Args:
        hair: [H, W] in 0..1, from warp.hair.find_hair.
    """
    labels = np.zeros(hair.shape, np.int64)
    skin = portrait.polygon(face_outline(portrait)) > 0.5
    # foreheads are of any height: skin goes up to the hair where there is hair above
    skin |= (portrait.polygon(face_outline(portrait, _CROWN)) > 0.5) & np.logical_or.accumulate(hair > 0.5)
    labels[skin] = LABELS.index("skin")
    labels[hair > 0.5] = LABELS.index("hair")
    for name, points in _PARTS.items():
        labels[portrait.polygon(portrait.points[list(points)]) > 0.5] = LABELS.index(name)
    return labels


def _forehead(portrait: Portrait, labels: np.ndarray) -> np.ndarray:
    """Skin above the brows [H, W] in 0 or 1: what a fringe can cover."""
    points = portrait.frame.to_face(portrait.points)
    x, y = portrait.grid
    above = y < np.interp(x, points[17:27, 0], points[17:27, 1]) - _END
    above &= (x > points[17, 0]) & (x < points[26, 0])
    forehead: np.ndarray = (above & (labels == LABELS.index("skin"))).astype(np.float32)
    if forehead.sum() < (0.2 * portrait.unit) ** 2:
        raise PhotoRejected("no_forehead", "no bare forehead that a fringe could cover")
    return forehead


def _reveal(portrait: Portrait, hair: np.ndarray, forehead: np.ndarray, strength: float) -> np.ndarray:
    """The part of the forehead the fringe has reached [H, W] 0..1: at 1 all of it, soft at the end."""
    y = portrait.grid[1]
    rows = y[forehead > 0.5]
    top, bottom = float(np.percentile(rows, 2)), float(rows.max()) + _SOFT
    reached = smoothstep(y, top + strength * (bottom - top), top + strength * (bottom - top) - _SOFT)
    # soft towards the skin, full towards the hair it hangs from
    edge = smoothstep(portrait.blur(np.maximum(forehead, hair), 0.05), 0.5, 0.95)
    return np.asarray(forehead * reached * edge, np.float32)


def _in_tones(picture: np.ndarray, painted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`picture` with the mean and spread of `painted` [N, 3] moved to those of `wanted` [M, 3]."""
    spread = wanted.std(0) / np.maximum(painted.std(0), 1e-3)
    toned = (picture - painted.mean(0)) * np.minimum(spread, 4) + wanted.mean(0)
    return np.asarray(np.clip(toned, -1, 1), np.float32)
