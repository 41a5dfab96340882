"""The `warp` editor: landmark-driven edits drawn by rules, the baseline every GAN must beat.

The one network in it is the bundled face parser, which says where the hair is (hair_mask.py). Each edit is a
file of its own: it looks at a Portrait and paints on a Canvas. What it does not paint stays the photo's own
pixels, bit for bit. Strength scales geometry and opacity alike, so that edits grow continuously from nothing;
the seed draws style (frames, hair colour, where the wrinkles are).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fstriplets.edits.base import WeightsRecord
from fstriplets.edits.perface import PerFaceEditor
from fstriplets.edits.warp.aging import aging
from fstriplets.edits.warp.beard import beard
from fstriplets.edits.warp.chubbiness import chubbiness
from fstriplets.edits.warp.eyewear import glasses, sunglasses
from fstriplets.edits.warp.grin import grin
from fstriplets.edits.warp.hair import hair
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.faces.analyser import WEIGHTS
from fstriplets.models.weights import entry

__all__ = ["WarpEditor"]

_EDITS: dict[str, Callable[[Portrait, Canvas, float, np.random.Generator], None]] = {
    "aging": aging,
    "beard": beard,
    "chubbiness": chubbiness,
    "glasses": glasses,
    "grin": grin,
    "hair": hair,
    "sunglasses": sunglasses,
}


class WarpEditor(PerFaceEditor):
    """Edits from 68 landmarks; hair is found by the bundled face parser."""

    name = "warp"
    edits = frozenset(_EDITS)

    def __init__(self) -> None:
        parser = entry(WEIGHTS)
        self.fingerprint = f"warp-2/{parser.sha256[:16]}"
        self.weights: Sequence[WeightsRecord] = (WeightsRecord(parser.sha256, parser.licence),)

    def edit_face(
        self, photo: np.ndarray, landmarks: np.ndarray, edit: str, strength: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Edit one face; see PerFaceEditor."""
        picture, where = edit_one(photo * 0.5 + 0.5, landmarks, edit, strength, seed)
        return picture * 2 - 1, where


def edit_one(
    image: np.ndarray, landmarks: np.ndarray, edit: str, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Edit one face.

    Args:
        image: float32 [H, W, 3] RGB in 0..1.
        landmarks: [68, 2] pixels.
        edit: key of the editor's edits.
        strength: 0..1.
        seed: draws the style.

    Returns:
        The edited picture in 0..1, and the mask [H, W] of what was painted.

    Raises:
        PhotoRejected: the edit needs what the face does not show (`no_hair`).
    """
    canvas = Canvas(image)
    _EDITS[edit](Portrait(image, landmarks), canvas, strength, np.random.default_rng(seed))
    return np.clip(canvas.image, 0, 1), canvas.mask
