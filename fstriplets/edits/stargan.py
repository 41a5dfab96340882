"""The `stargan` editor: attribute edits by an official StarGAN generator (Choi et al., CVPR 2018).

The generator redraws the whole face at 128 px from a vector of all attributes. Two pictures of it are
taken, one with the attributes the face has and one with the edit's, and only their difference goes onto
the photo, at the photo's resolution and through a mask: what the generator merely blurs or recolours in
redrawing is in both pictures and cancels out, and what it does not change stays the photo's own pixels.

The face's own attributes are not given: each is set to what redraws the photo best, except the one that
is edited, which is taken as absent. The frame is CelebA's (aligned, centre crop of 178, then 128 px), and
the instance norms run in training mode, as in the official programs, which never leave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch

from fstriplets.edits.aligned import CELEBA, AlignedCrop
from fstriplets.edits.base import WeightsRecord
from fstriplets.edits.perface import PerFaceEditor
from fstriplets.edits.warp.geometry import smoothstep
from fstriplets.models.weights.local import load_network, settings

__all__ = ["StarGANEditor"]

#: Labels an edit sets, as far as a checkpoint has them.
_SETS: Mapping[str, Mapping[str, int]] = {
    "aging": {"Young": 0},
    "beard": {"No_Beard": 0, "Goatee": 1, "Mustache": 1},
    "chubbiness": {"Chubby": 1, "Double_Chin": 1},
    "glasses": {"Eyeglasses": 1},
    "grin": {"Smiling": 1, "Mouth_Slightly_Open": 1},
}
_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
#: Labels most faces have; all others are taken as absent before the search.
_USUAL = ("Young", "No_Beard")
#: Mean change (of 2, smoothed) below which a pixel is left alone, and above which all of it is taken.
_FAINT, _CLEAR = 0.03, 0.12
#: Pixels over which the change fades out at the frame's edge.
_MARGIN = 8


class StarGANEditor(PerFaceEditor):
    """Edits by a StarGAN checkpoint of the user's own (docs/editors.md).

    Raises:
        WeightsError: no checkpoint was imported; names the command.
    """

    name = "stargan"

    def __init__(self) -> None:
        network, row = load_network("stargan")
        self._network = network.train().requires_grad_(False)
        chosen = settings(row)
        self._labels = chosen["labels"].split(",")
        self._size = int(chosen["size"])
        self._colours = [label for label in _COLOURS if label in self._labels]
        self.edits = frozenset(
            [edit for edit, labels in _SETS.items() if set(labels) & set(self._labels)]
            + (["hair"] if len(self._colours) > 1 else [])
        )
        self.fingerprint = f"stargan-1/{row.sha256[:16]}/{row.note}"
        self.weights: Sequence[WeightsRecord] = (WeightsRecord(row.sha256, row.licence),)

    def edit_face(
        self, photo: np.ndarray, landmarks: np.ndarray, edit: str, strength: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Edit one face; `hair` is another hair colour, drawn by the seed, and strength scales the change."""
        change, where = self._change(photo, landmarks, edit, seed)
        return photo + strength * change, where

    def _change(
        self, photo: np.ndarray, landmarks: np.ndarray, edit: str, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The change at full strength [H, W, 3] and where it is [H, W] 0..1, in the photo's pixels."""
        crop = AlignedCrop(photo, landmarks, CELEBA, self._size)
        small = torch.from_numpy(crop.pixels).permute(2, 0, 1)[None] / 127.5 - 1
        before, after = self._vectors(small, edit, seed)
        pair = self._network(small.expand(2, -1, -1, -1), torch.stack([before, after]))
        change = (pair[1] - pair[0]).permute(1, 2, 0).numpy()
        return crop.lay_back(change * (where := self._where(change))[..., None], where)

    def _where(self, change: np.ndarray) -> np.ndarray:
        amount = cv2.GaussianBlur(np.abs(change).max(-1), (0, 0), 2.0)
        ramp = np.minimum(np.arange(self._size), np.arange(self._size)[::-1]) / _MARGIN
        window = np.minimum.outer(ramp, ramp).clip(0, 1)
        return np.asarray(smoothstep(amount, _FAINT, _CLEAR) * window, np.float32)

    def _vectors(self, small: torch.Tensor, edit: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Attributes as they are, and as the edit wants them; [c_dim] each."""
        has = self._attributes(small, edit)
        wants = dict(has)
        if edit == "hair":
            choices = [colour for colour in self._colours if not has[colour]]
            new = choices[int(np.random.default_rng(seed).integers(len(choices)))]
            wants.update({colour: int(colour == new) for colour in self._colours})
        else:
            for label, value in _SETS[edit].items():
                if label in has:
                    has[label], wants[label] = 1 - value, value
        rows = ([float(vector[label]) for label in self._labels] for vector in (has, wants))
        before, after = (torch.tensor(row) for row in rows)
        return before, after

    def _attributes(self, small: torch.Tensor, edit: str) -> dict[str, int]:
        """What the face has: label by label, the value that redraws it best."""
        has = {label: int(label in _USUAL) for label in self._labels}
        for options in self._options(edit):
            vectors = [{**has, **option} for option in options]
            rows = torch.tensor([[float(v[label]) for label in self._labels] for v in vectors])
            # one by one: what a face gets must not depend on how many are in a batch
            errors = [float((self._network(small, row[None]) - small).abs().mean()) for row in rows]
            has = vectors[int(np.argmin(errors))]
        return has

    def _options(self, edit: str) -> Iterator[list[dict[str, int]]]:
        if self._colours:
            yield [{c: int(c == colour) for c in self._colours} for colour in self._colours]
        for label in self._labels:
            if label not in self._colours and label not in _SETS.get(edit, {}):
                yield [{label: 0}, {label: 1}]
