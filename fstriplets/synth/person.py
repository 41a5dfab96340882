"""A person from one seed: shape, skin, colours, hair, brows, eyes, facial hair, age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fstriplets.synth.finish import Finish, draw_finish
from fstriplets.synth.haircut import HairStyle
from fstriplets.synth.likeness import draw_identity
from fstriplets.synth.skin import SkinSample, sample_skin, shipped_skin, smile_folds, without_stubble

__all__ = ["Person", "make_person", "skin_at"]

_HAIR = np.array(
    [
        [0.010, 0.009, 0.008],
        [0.024, 0.015, 0.010],
        [0.055, 0.031, 0.018],
        [0.105, 0.060, 0.031],
        [0.230, 0.150, 0.080],
        [0.095, 0.036, 0.016],
        [0.210, 0.200, 0.190],
    ]
)
_IRIS = np.array(
    [
        [0.020, 0.012, 0.007],
        [0.045, 0.022, 0.010],
        [0.090, 0.050, 0.020],
        [0.100, 0.110, 0.060],
        [0.090, 0.115, 0.135],
        [0.125, 0.140, 0.140],
    ]
)


#: Median of `SkinSample.stubble`.
_SHAVED = 0.10


@dataclass(frozen=True, eq=False)
class Person:
    """Everything that stays the same in all photos of somebody.

    Attributes:
        seed: the identity seed.
        shape: [151] identity weights, see likeness.py.
        texture: [512, 512, 3] skin, gamma RGB in [0, 1]; base: [3] its usual colour.
        smile_map: [512, 512] log change of the skin at a full smile.
        age: years, 18..80.
        hair_colour, brow_colour: [3] linear RGB; grey: share of grey hair, 0..1.
        hair: cut and growth.
        brow: density of the brows, 0..1; lash: darkness of the lashes, 0..1.
        iris: [6] linear RGB of the iris and of its inner ring; pupil: share of the iris.
        beard, moustache: density 0..1; beard_length: units.
        chubby: -1..3, weight on cheeks, jaw and under the chin, 0 as the shape has it.
        lipstick: 0..1; lip_colour: [3] linear RGB of it.
        glasses: row of wear.FRAMES, -1 never wears them; glasses_seed: their colour and fit.
        skin_seed: the identity seed the skin was drawn from.
        finish: of eyes, teeth and skin.
        sagging: of the face beyond what its years bring, 1 as much as 80 years do.
    """

    seed: int
    shape: np.ndarray
    texture: np.ndarray
    base: np.ndarray
    smile_map: np.ndarray
    age: float
    hair_colour: np.ndarray
    brow_colour: np.ndarray
    grey: float
    hair: HairStyle
    brow: float
    lash: float
    iris: np.ndarray
    pupil: float
    beard: float
    moustache: float
    beard_length: float
    chubby: float
    lipstick: float
    lip_colour: np.ndarray
    glasses: int
    glasses_seed: int
    skin_seed: int
    finish: Finish
    sagging: float = 0.0

    @property
    def tone(self) -> float:
        """Mean linear reflectance of the skin: about 0.08 dark, 0.45 fair."""
        return float((self.base.astype(np.float64) ** 2.2).mean())


def make_person(seed: int) -> Person:
    """The person of an identity seed; the same everywhere."""
    rng = np.random.default_rng([seed, 1])
    age = float(np.clip(rng.normal(38, 14), 19, 78))
    skin = skin_at(seed, age)
    texture, base, smile_map = skin.texture, skin.base, smile_folds(shipped_skin())
    tone = float((base.astype(np.float64) ** 2.2).mean())
    masculine = _bearded(seed, skin)
    shape = draw_identity(seed, skin.identity, skin.tone, masculine)
    fair = float(np.clip((tone - 0.16) / 0.2, 0, 1)) * rng.uniform(0.3, 1.0)
    dark_odds = np.array([0.5, 0.35, 0.12, 0.01, 0, 0, 0.02])
    fair_odds = np.array([0.04, 0.18, 0.30, 0.20, 0.18, 0.07, 0.03])
    odds = (1 - fair) * dark_odds + fair * fair_odds
    hair_colour = _HAIR[rng.choice(7, p=odds / odds.sum())] * rng.uniform(0.85, 1.2)
    grey = float(np.clip((age - 42) / 40 + rng.normal(0, 0.18), 0, 0.95)) if age > 36 else 0.0
    hair = _hair(rng, masculine, age, tone, seed)
    iris_odds = [0.5, 0.36, 0.10, 0.02, 0.01, 0.01] if fair < 0.25 else [0.10, 0.20, 0.18, 0.17, 0.22, 0.13]
    iris = _IRIS[rng.choice(6, p=iris_odds)] * rng.uniform(0.8, 1.25)
    ring = iris * np.array([1.5, 1.15, 0.8]) + 0.02
    style = int(rng.choice(4, p=[0.5, 0.34, 0.10, 0.06])) if masculine else 0
    beard = float(rng.uniform(0.2, 1.0)) if style in (1, 3) else 0.0  # both, moustache alone, beard alone
    moustache = float(rng.uniform(0.3, 1.0)) if style in (1, 2) else 0.0
    made_up = not masculine and rng.random() < 0.35
    return Person(
        seed=seed,
        shape=shape,
        texture=texture,
        base=base,
        smile_map=smile_map,
        age=age,
        hair_colour=hair_colour.astype(np.float32),
        brow_colour=((0.6 * hair_colour + 0.03 * tone + 0.004) * np.exp(rng.normal(-0.05, 0.42))).astype(
            np.float32
        ),
        grey=grey,
        hair=hair,
        brow=float(rng.uniform(0.3, 1.0) if masculine else rng.uniform(0.12, 0.9)),
        lash=float(rng.uniform(0.05, 0.28) if masculine else rng.uniform(0.1, 0.45) + 0.15 * made_up),
        iris=np.concatenate([iris, ring]).astype(np.float32),
        pupil=float(rng.uniform(0.30, 0.46)),
        beard=beard,
        moustache=moustache,
        beard_length=float(rng.choice([0.12, 0.25, 0.6, 1.3], p=[0.4, 0.3, 0.2, 0.1])),
        chubby=float(np.clip(rng.normal(0, 0.25), -0.5, 0.6)),
        lipstick=float(rng.uniform(0.2, 0.6)) if made_up else 0.0,
        lip_colour=(
            np.array([0.24, 0.065, 0.07]) * np.exp(rng.normal(0, [0.35, 0.45, 0.45])) * (0.4 + 1.4 * tone)
        ).astype(np.float32),
        glasses=int(rng.integers(0, 4)) if rng.random() < 0.25 else -1,
        glasses_seed=seed,
        skin_seed=seed,
        finish=draw_finish(seed),
    )


def skin_at(seed: int, age: float) -> SkinSample:
    """The skin of an identity seed at an age in years: the same skin, more mottled and spotted."""
    share = float(np.clip((age - 20) / 60, 0, 1.2))
    skin = sample_skin(shipped_skin(), np.random.default_rng([seed, 2]), age=share)
    return skin if _bearded(seed, skin) else without_stubble(skin)


def _bearded(seed: int, skin: SkinSample) -> bool:
    """Whether a beard would grow on a skin, as on about half: its own shadow of a shaved one decides."""
    return bool(skin.stubble + np.random.default_rng([seed, 23]).normal(0, 0.02) > _SHAVED)


def _hair(rng: np.random.Generator, masculine: bool, age: float, tone: float, seed: int) -> HairStyle:
    names = ["bald", "buzz", "crop", "short", "swept", "fringe", "curly", "afro", "tied", "bob", "long"]
    dark = tone < 0.16
    if masculine:
        odds = [0.05, 0.12, 0.2, 0.27, 0.16, 0.05, 0.07, 0.03, 0.02, 0.01, 0.02]
        if dark:
            odds = [0.09, 0.34, 0.22, 0.06, 0.03, 0.0, 0.10, 0.12, 0.03, 0.0, 0.01]
    else:
        odds = [0.0, 0.01, 0.02, 0.06, 0.08, 0.08, 0.07, 0.02, 0.18, 0.22, 0.26]
        if dark:
            odds = [0.01, 0.04, 0.04, 0.03, 0.04, 0.02, 0.14, 0.16, 0.2, 0.16, 0.16]
    name = names[rng.choice(len(names), p=np.array(odds) / sum(odds))]
    receding = float(max(0, (age - 30) / 45)) * rng.random() if masculine else 0.0
    return HairStyle(
        name=name,
        length=float(rng.uniform(0.8, 1.25)),
        line=float(rng.normal(0.9, 0.45) + 1.2 * receding),
        temples=float(abs(rng.normal(0.35, 0.25)) + 1.6 * receding),
        part=float(rng.choice([-1, 1]) * rng.uniform(0.2, 3.0)),
        forward=float(rng.uniform(-0.7, 0.8)),
        curl=float(rng.random() ** 2 * 0.4),
        volume=float(rng.uniform(0.75, 1.3)),
        burn=float(rng.uniform(0.2, 3.0) if masculine else rng.uniform(1.5, 3.5)),
        thin=float(min(0.85, 1.2 * receding * rng.random())),
        seed=int(seed % 100003),
    )
