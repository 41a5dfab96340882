"""Haircuts: where hair grows, how long it is, which way it is combed, how it gathers in locks and curls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = [
    "CURLED",
    "HABITS",
    "LONG",
    "STYLES",
    "Habit",
    "HairStyle",
    "comb",
    "lengths",
    "scalp_cover",
    "scalp_density",
]

#: Style -> length at the crown, units.
STYLES: dict[str, float] = {
    "bald": 0.0,
    "buzz": 0.45,
    "crop": 1.3,
    "short": 2.4,
    "swept": 3.6,
    "fringe": 3.0,
    "curly": 4.6,
    "afro": 3.4,
    "tied": 17.0,
    "bob": 12.5,
    "long": 19.0,
}
LONG = ("bob", "long")
CURLED = ("curly", "afro")
#: Cut shorter towards the neck and over the ears; of these, the ones whose sides may be faded to the skin.
_TAPERED = ("buzz", "crop", "short", "swept", "fringe", "curly", "afro")
_FADED = ("buzz", "crop", "short", "swept")
#: Shorter towards the hairline.
_EDGED = ("buzz", "crop", "curly", "afro")


class Habit(NamedTuple):
    """How the hair of a style gathers.

    Attributes:
        locks: how many on a head; apart: how far hair gathers in them towards the ends, 0..1; clump: the
            same of the strands of a lock; uneven: spread of the lengths of locks, share.
        radius, pitch: of curls, units.
    """

    locks: int
    apart: float
    clump: float
    uneven: float
    radius: float = 0.0
    pitch: float = 1.0


HABITS: dict[str, Habit] = {
    "buzz": Habit(400, 0.0, 0.05, 0.02),
    "crop": Habit(300, 0.20, 0.40, 0.12),
    "short": Habit(240, 0.50, 0.62, 0.12),
    "swept": Habit(200, 0.50, 0.65, 0.12),
    "fringe": Habit(200, 0.60, 0.80, 0.15),
    "curly": Habit(300, 0.60, 0.95, 0.16, 0.42, 1.7),
    "afro": Habit(400, 0.10, 0.90, 0.08, 0.17, 0.75),
    "tied": Habit(260, 0.45, 0.60, 0.05),
    "bob": Habit(170, 0.55, 0.80, 0.11),
    "long": Habit(150, 0.62, 0.85, 0.14),
}


@dataclass(frozen=True)
class HairStyle:
    """How a person's hair is cut and grows.

    Attributes:
        name: key of STYLES; length: factor on its length.
        line: how high the hairline is, units above the usual; temples: how far it recedes at the
            sides, units; part: where it is parted, units from the middle (right is positive).
        forward: combed forward (> 0) or back, -1..1; curl: 0 straight, 1 curls.
        volume: lift at the root, about 1; burn: how low the sideburns reach, canonical height.
        thin: thinning of the crown, 0..1; loss: share of all hair that is gone, 0..1.
        fringe: extra hair over the forehead, 0 none .. 1 down to the brows.
        cut: share of every strand cut off, 0..1.
    """

    name: str = "short"
    length: float = 1.0
    line: float = 0.0
    temples: float = 0.4
    part: float = 1.5
    forward: float = 0.2
    curl: float = 0.1
    volume: float = 1.0
    burn: float = 1.5
    thin: float = 0.0
    loss: float = 0.0
    fringe: float = 0.0
    cut: float = 0.0
    seed: int = 0

    @property
    def full(self) -> float:
        """Length at the crown, units."""
        return STYLES[self.name] * self.length

    @property
    def fade(self) -> float:
        """How much shorter the sides are than the top, 0..1."""
        if self.name not in _FADED:
            return 0.0
        return float(np.random.default_rng([self.seed, 31]).random())


def _within(p: np.ndarray, style: HairStyle) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far canonical positions [..., 3] lie within the hairline before, beside and below, units."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    ragged = 0.16 * np.sin(x * 2.1 + style.seed) + 0.10 * np.sin(x * 5.3 + 2.3 * style.seed)
    fine = 0.09 * np.sin(x * 13.7 + 1.7 * style.seed + 2.0 * np.sin(x * 4.1))
    # over the forehead the line runs across, dips back at the temples, then down to the sideburns
    dip = style.temples * np.exp(-(((np.abs(x) - 4.4) / 1.5) ** 2)) * 1.6
    top = 9.0 + style.line + ragged + fine - 0.02 * x * x + dip
    side_z = np.interp(
        y, [-2.5, 1.0, 4.0, 6.5, 9.0, 11.0], [-0.6, 1.6, 3.3, 4.6 - style.temples, 5.6 - style.temples, 8.0]
    )
    side_z = side_z + 0.12 * np.sin(y * 3.1 + style.seed) + 0.08 * np.sin(y * 7.9 + 1.3 * style.seed)
    low = np.interp(z, [-9, -4, -2.6, -1.8, 0, 4], [-5.2, -4.9, -3.4, style.burn, style.burn, style.burn])
    return y - top, side_z + 0.6 * ragged - z, y - low - ragged


def scalp_density(p: np.ndarray, style: HairStyle) -> np.ndarray:
    """How densely hair grows at canonical positions [..., 3], 0..1; the edge is soft."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    front, side, below = _within(p, style)
    front, side = np.clip(front / 1.6 + 0.45, 0, 1), np.clip(side / 1.5 + 0.5, 0, 1)
    above = np.clip(below / 1.6 + 0.25, 0, 1)
    ear = (x > 6.9) & (((y - 1.5) / 2.9) ** 2 + ((z + 0.25) / 2.15) ** 2 < 1)
    crown = np.exp(-((x / 4.5) ** 2) - ((z + 1.0) / 6.0) ** 2) * (y > 9)
    density = np.maximum(front, side * (x > 4.6)) * above * ~ear * np.sqrt(1 - style.thin * crown)
    return np.asarray(density * (z < 10.5), np.float32)


def scalp_cover(p: np.ndarray, style: HairStyle) -> np.ndarray:
    """Share of the skin that hairs too short or too fine to be drawn hide at canonical positions, 0..1."""
    dense = scalp_density(p, style)
    most = 0.95 if style.name in ("buzz", "afro") else 0.86
    faded = 1 - 0.35 * style.fade * (1 - _height(p[..., 1], style))
    return np.asarray(most * faded * dense**1.7 * (1 - style.loss) ** 0.7, np.float32)


def _height(y: np.ndarray, style: HairStyle) -> np.ndarray:
    """0 where the sides of a tapered cut are shortest, 1 where the top begins."""
    return np.asarray(np.clip((y - 2.5 - 1.5 * style.fade) / 5.0, 0, 1))


def lengths(root: np.ndarray, style: HairStyle, lock: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Length [G] of guides with roots [G, 3], units; `lock` [G] says which share theirs."""
    n, full = len(root), style.full
    uneven = HABITS[style.name].uneven
    own = rng.standard_normal(n).clip(-2, 2)
    factor = 1 + uneven * own[lock] + 0.5 * uneven * rng.standard_normal(n).clip(-2, 2)
    if style.name in LONG:
        # between one height of all ends and one length all over
        layered = 0.45 + 0.45 * np.random.default_rng([style.seed, 32]).random()
        y = root[:, 1]
        level = y + 0.35 * np.clip(y - 6, 0, 9) - (10.5 - 1.15 * full)
        return np.asarray(((1 - layered) * level + layered * 0.9 * full) * factor)
    length = full * factor
    if style.name in _TAPERED:
        least = (0.6 if style.name in ("buzz", "afro") else 0.24) * (1 - 0.75 * style.fade)
        length = length * (least + (1 - least) * _height(root[:, 1], style) ** (1 + style.fade))
    if style.name in _EDGED:
        front, side, below = _within(root, style)
        depth = np.minimum(np.maximum(front, side), below)
        short = 0.15 if style.name == "afro" else 0.4
        length = length * np.clip(short + 0.32 * depth, short, 1)
    return np.asarray(length)


def comb(root: np.ndarray, style: HairStyle) -> tuple[np.ndarray, float, float]:
    """Comb direction a guide [G, 3], gravity and lift of a style."""
    x, y, z = root[:, :1], root[:, 1:2], root[:, 2:3]
    ex, ey, ez = np.eye(3, dtype=np.float32)
    side = np.sign(x - style.part * np.clip((y - 4) / 6, 0, 1))
    on_top, backward = np.clip((y - 9.0) / 3.5, 0, 1), np.clip((z + 2.5) / 4, 0, 1)
    name = style.name
    if name in ("buzz", "crop", "short"):
        aside = (0.35 + 0.5 * (1 - abs(style.forward))) * (
            side if abs(style.part) > 1.2 else np.sign(style.part)
        )
        aside = aside * np.clip(1.5 - np.abs(x) / 5, 0, 1)
        down = 0.5 * ey + 0.35 * ez * backward
        return (1.1 * style.forward * ez + aside * ex) * on_top - down * (1 - on_top), 0.12, 0.42
    if name == "swept":
        away = -np.sign(style.part) if style.part else 1.0
        top = (-0.55 * ez + 0.75 * ex * away * np.clip(1.3 - x * away / 5, 0, 1)) * on_top
        return top - (0.75 * ey + 0.45 * ez * backward) * (1 - on_top), 0.22, 0.55
    if name == "fringe":
        return 1.0 * ez * on_top - 0.55 * ey + 0.25 * side * ex * on_top, 0.35, 0.30
    if name == "tied":
        return 0 * root, 0.0, 0.05
    if name == "afro":
        return 0 * root, 0.0, 1.4
    if name == "curly":
        return 0.2 * side * ex * on_top - 0.1 * ey, 0.20, 0.9
    out = 0.9 * side * ex * np.clip((y - 3) / 6, 0, 1)
    return out - (0.55 + 0.5 * np.clip((z - 5) / 3, 0, 1)) * ez * (z > 2), 0.95, 0.22
