"""The `flow-gan` editor: edits by one bundled network, trained on synthetic faces with truth.

The face is aligned to the network's 256 px, which predicts where pixels move, how they are relit, and
what is painted over them (models/networks/flow_gan.py). Those maps are carried back to the crop and
applied there, at its own resolution: what they leave alone keeps the photo's own pixels, bit for bit.

Strength goes into the network and scales its maps, so that edits grow from nothing; the seed draws the
frame of glasses and which edit of the hair it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from fstriplets.edits.base import WeightsRecord
from fstriplets.edits.flow_guide import face_guide
from fstriplets.edits.flow_layout import ON_HAIR, glasses_layout, hair_layout
from fstriplets.edits.perface import PerFaceEditor
from fstriplets.errors import PhotoRejected
from fstriplets.faces.align import invert, similarity, transform_points, warp
from fstriplets.faces.analyser import WEIGHTS as ANALYSER
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.bundled import one_thread
from fstriplets.models.cache import cached_model
from fstriplets.models.networks.flow_gan import FRAME_STYLES, SIDE, FlowGanGenerator, edit_code
from fstriplets.models.weights import entry, load_state_dict, require

__all__ = ["FlowGanEditor", "Wish", "apply_maps"]

_VERSION = "flow-gan-4"
#: What the network is built for; which of it some weights do well enough is in their row (`note`).
_ALL = frozenset({"aging", "beard", "chubbiness", "glasses", "grin", "hair", "sunglasses"})
#: Edit of the hair -> how often it is drawn.
HAIR = {"hair_colour": 1.0}
#: Black, brown, blond, red and grey hair, linear RGB.
HAIR_COLOURS = (
    (0.012, 0.010, 0.009),
    (0.060, 0.033, 0.018),
    (0.24, 0.16, 0.085),
    (0.14, 0.045, 0.018),
    (0.30, 0.29, 0.28),
)
#: Black, brown, silver, gold and blue frames, linear RGB.
FRAME_COLOURS = (
    (0.012, 0.012, 0.013),
    (0.06, 0.03, 0.015),
    (0.20, 0.19, 0.18),
    (0.26, 0.17, 0.06),
    (0.05, 0.06, 0.12),
)
#: Below these nothing happens, above the second all of it: mask, logarithm of the gain, pixels of 256 moved.
_MASK, _GAIN, _MOVE = (0.02, 0.08), (0.015, 0.05), (0.1, 0.5)
#: Glasses are not half there: how solid the faintest are, from which strength on.
_SOLID, _THERE = 0.6, 0.1
#: The network's own full grin is wider than people smile: at this much of it London's neutral photos score as
#: their smiling ones do.
_GRIN = 0.7
#: A network trained on an average error is timid: what it does for these edits counts by so much more …
_BOLDER = {"aging": 1.4, "beard": 1.4, "chubbiness": 1.2}
#: … where it does not grey (hair; there the same made noise): a fade of 1 / this is left as it is.
_GREYED = 3.0
#: Weights of red, green and blue in grey, as a row.
_GREY = np.array([[0.299, 0.587, 0.114]], np.float32)
#: Mean change of the crop (of 255) below which an edit of the hair counts as none, and another is tried.
_FAINT = 0.8


class FlowGanEditor(PerFaceEditor):
    """Edits by the bundled network `flow_gan`.

    Args:
        network: another generator to edit with, which offers every edit; None: the bundled one, which
            offers those it does well.
    """

    name = "flow-gan"
    hair_edits = frozenset(HAIR)  # what `edit_as` can be told

    def __init__(self, network: FlowGanGenerator | None = None) -> None:
        self._given = network
        parser, row = entry(ANALYSER), entry("flow_gan")
        used = [parser] if network is not None else [parser, row]
        self.edits = _ALL if network is not None else _offered(row.note)
        own = row.sha256[:16] if network is None else "given"
        self.fingerprint = f"{_VERSION}/{own}/{parser.sha256[:16]}"
        self.weights: Sequence[WeightsRecord] = tuple(WeightsRecord(u.sha256, u.licence) for u in used)

    @cached_property
    def _network(self) -> FlowGanGenerator:
        if self._given is not None:
            return self._given.eval().requires_grad_(False)
        return cached_model("flow-gan", entry("flow_gan").sha256, _bundled)

    def edit_face(
        self, photo: np.ndarray, landmarks: np.ndarray, edit: str, strength: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Edit one face; see PerFaceEditor."""
        aligned = _Aligned(photo, landmarks)
        for wish in _wishes(edit, strength, np.random.default_rng(seed)):
            if edit == "hair" and not aligned.layout(wish).any():
                continue  # a bald head, or a cap
            picture, mask = self._carry_out(aligned, wish)
            if edit != "hair" or 127.5 * float(np.abs(picture - photo).mean()) > _FAINT * strength:
                return picture, mask
        raise PhotoRejected("no_hair", "no edit of the hair shows on this face", "rejected")

    def edit_as(self, photo: np.ndarray, landmarks: np.ndarray, wish: Wish) -> tuple[np.ndarray, np.ndarray]:
        """Like `edit_face`, with the style and colour told instead of drawn."""
        return self._carry_out(_Aligned(photo, landmarks), wish)

    def _carry_out(self, aligned: _Aligned, wish: Wish) -> tuple[np.ndarray, np.ndarray]:
        told = wish.strength
        if wish.edit == "hair_colour":
            told = 1.0  # trained with the colour that is reached; on the way there the maps are scaled
        code = edit_code(wish.edit, told, wish.style, wish.colour)
        layout = torch.from_numpy(aligned.layout(wish))[None, None]
        with one_thread():
            maps = self._network(
                aligned.tensor, aligned.guide, layout, code[None], torch.tensor([wish.strength])
            )
            stack = torch.cat(maps, 1)[0].numpy()
        if bolder := _BOLDER.get(wish.edit):
            stack[:6] *= bolder - (bolder - 1) * np.minimum(_GREYED * stack[9], 1)
            stack[5] = np.minimum(stack[5], 1)
        return apply_maps(aligned.photo, stack, aligned.matrix)


def _offered(note: str) -> frozenset[str]:
    """The edits a row's note names (`edits=chubbiness,grin`); all where it names none."""
    for part in note.split("; "):
        if part.startswith("edits="):
            return _ALL & set(part.removeprefix("edits=").split(","))
    return _ALL


def _bundled() -> FlowGanGenerator:
    network = FlowGanGenerator()
    network.load_state_dict(
        {name: value.float() for name, value in load_state_dict(require("flow_gan")).items()}
    )
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the network is asked for.

    Attributes:
        edit: one of networks.flow_gan.EDITS; strength: 0..1.
        style: of the frame; colour: linear RGB of frame or hair.
    """

    edit: str
    strength: float
    style: int | None = None
    colour: tuple[float, float, float] | None = None


class _Aligned:
    """A photo and its face as the network sees it."""

    def __init__(self, photo: np.ndarray, landmarks: np.ndarray) -> None:
        self.photo = photo
        self.matrix = np.asarray(similarity(five_points(landmarks), template_points("ffhq", SIDE)))
        pixels = np.clip(np.round(photo * 127.5 + 127.5), 0, 255).astype(np.uint8)
        self._face = warp(pixels, self.matrix, SIDE)
        self._landmarks = transform_points(landmarks, self.matrix)
        self.tensor = torch.from_numpy(self._face).permute(2, 0, 1)[None] / 127.5 - 1
        self.guide = torch.from_numpy(face_guide(self._landmarks))[None]

    def layout(self, wish: Wish) -> np.ndarray:
        """Where the matter of the edit goes: float32 [SIDE, SIDE]."""
        if wish.style is not None:
            return glasses_layout(self._landmarks, wish.style, wish.edit == "sunglasses")
        return self._hair if wish.edit in ON_HAIR else np.zeros((SIDE, SIDE), np.float32)

    @cached_property
    def _hair(self) -> np.ndarray:
        return hair_layout(self._face, self._landmarks)


def _wishes(edit: str, strength: float, rng: np.random.Generator) -> Iterator[Wish]:
    """What to try in turn."""
    if edit in ("glasses", "sunglasses"):
        style = int(rng.integers(1 if edit == "sunglasses" else 0, FRAME_STYLES))
        solid = (_SOLID + (1 - _SOLID) * strength) * min(1.0, strength / _THERE)
        yield Wish(edit, solid, style, FRAME_COLOURS[rng.integers(len(FRAME_COLOURS))])
    elif edit != "hair":
        yield Wish(edit, strength * _GRIN if edit == "grin" else strength)
    else:
        odds = np.array(list(HAIR.values()))
        first = str(rng.choice(list(HAIR), p=odds / odds.sum()))
        if first != "hair_colour":
            yield Wish(first, strength)
        for i in rng.permutation(len(HAIR_COLOURS)):
            yield Wish("hair_colour", strength, colour=HAIR_COLOURS[i])


def apply_maps(photo: np.ndarray, maps: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply a generator's maps to a photo of any size.

    Args:
        photo: float32 [H, W, 3] in [-1, 1].
        maps: [10, S, S] flow, gain, mask, colour and fade of the aligned face, see networks.flow_gan.Maps.
        matrix: [2, 3] photo pixels to the aligned face's.

    Returns:
        The picture, and how much was done to each pixel [H, W] 0..1; where it is 0, nothing.
    """
    height, width = photo.shape[:2]
    back = invert(matrix)

    def carried(*layers: np.ndarray) -> np.ndarray:
        together = cv2.merge(layers)
        size, linear, edge = (width, height), cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        return np.asarray(cv2.warpAffine(together, back, size, flags=linear, borderMode=edge))

    across, down = (plane * np.float32(maps.shape[1] / 2) for plane in maps[:2])  # aligned pixels
    moves = _ramp(cv2.magnitude(across, down), *_MOVE)
    across, down = across * moves, down * moves
    turn = back.astype(np.float32)
    shifts = (turn[i, 0] * across + turn[i, 1] * down for i in range(2))
    toning = _ramp(_largest(*maps[2:5]), *_GAIN)
    mask = maps[5] * _ramp(maps[5], *_MASK)
    x, y, mask, fade = cv2.split(carried(*shifts, mask, maps[9]))
    gain = carried(*(plane * toning for plane in maps[2:5]))
    moved = cv2.remap(
        np.ascontiguousarray(photo),
        x + np.arange(width, dtype=np.float32),
        y + np.arange(height, dtype=np.float32)[:, None],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    moved = (np.clip(moved, -1, 1) + 1) * np.float32(0.5)
    if fade.any():
        moved += fade[..., None] * (cv2.transform(moved, _GREY)[..., None] - moved)
    toned = np.minimum(moved * np.exp(gain), 1)
    if mask.any():
        toned += mask[..., None] * (carried(*maps[6:9]) - toned)
    done = np.maximum(np.maximum(mask, cv2.magnitude(x, y)), 4 * _largest(*cv2.split(gain)))
    done = np.maximum(done, fade)
    done[done < 1 / 255] = 0
    return toned * 2 - 1, np.minimum(done, 1)


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`."""
    return np.asarray(np.clip((x - low) * np.float32(1 / (high - low)), 0, 1), np.float32)


def _largest(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Largest absolute value of three planes."""
    return np.asarray(np.maximum(np.maximum(np.abs(a), np.abs(b)), np.abs(c)))
