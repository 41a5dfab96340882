"""How far apart synthetic people are, and how far from odd: the identity weights of a seed.

The face model's modes have unit variance in its own scans, yet people drawn with it look alike to a
recogniser: independent global modes leave every single feature near its average. Drawn wider, and with
traits (`traits.py`) feature by feature, they differ, but features come together that no face has together:
caricatures. So weights are drawn freely first and then moved, as little as can be, until the frontal face
has proportions drawn from the joint distribution of real people's (`proportions.py`: mean, components and
spreads of what a landmark network sees), given the tone of their skin and their sex. What landmarks show
badly (slant and opening of the eyes) or not at all (depth in profile) is held to the face model's scans: to
what the scan has that is nearest to the person's own modes and has these proportions (`measures.py`).

What all drawn faces have in common for a recogniser is no proportion: the mean of all is moved against
it, within what landmarks do not show. Each person depends on their own seed only.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fstriplets.synth.browshape import draw_brow_shape
from fstriplets.synth.traits import TRAITS

__all__ = ["IDENTITY_SIZE", "LIKENESS_FILE", "MODES", "Likeness", "draw_identity", "shipped_likeness"]

MODES = 100
IDENTITY_SIZE = MODES + len(TRAITS)
#: Deviation of the face model's weights and of the traits, and where all are cut off.
MODE_SPREAD, TRAIT_SPREAD, LIMIT = 1.2, 0.95, 3.2
#: Traits that are a mood or a disfigurement before they are somebody, and those that a frontal landmark does
#: not see: their deviation.
_NARROWER = {
    "brow_tilt": 0.25,
    "brow_inner": 0.25,
    "brow_outer": 0.25,
    "mouth_tilt": 0.25,
    "nose_skew": 0.25,
    "eye_skew": 0.25,
    "mouth_skew": 0.25,
    "nose_projection": 0.6,
    "chin_projection": 0.6,
    "mouth_projection": 0.6,
    "brow_ridge": 0.7,
    "bridge_height": 0.8,
    "cheek_fullness": 0.7,
    "jaw_angle": 0.7,
    "tip_turn": 0.6,
    "tip_size": 0.7,
    "wing_flare": 0.7,
    "wing_height": 0.6,
    "nose_width": 0.8,
    "bridge_hump": 0.8,
    "eye_size": 0.8,
    "lid_open": 0.8,
    "ear_out": 0.6,
    "ear_size": 0.7,
}
#: Deviation of people's proportions, that of the people photographed being 1; where each is cut off; and how
#: far all together may lie from the mean, in units of their usual distance.
PROPORTION_SPREAD, PROPORTION_LIMIT, FARTHEST = 1.25, 2.4, 1.1
#: Scores of skin tone beyond which a face changes no more with it.
_TONE_LIMIT = 2.0
#: Deviation of measures, that of the scans being 1; where each ends; and how strictly they are met.
MEASURE_SPREAD, MEASURE_LIMIT, MEASURE_NOISE = 1.1, 2.2, 0.3
#: How far everybody is moved against the look that drawn faces share, in deviations of one weight.
AWAY = 3.0
LIKENESS_FILE = Path(__file__).resolve().parent / "data" / "likeness.npz"


class Likeness(NamedTuple):
    """What `calibrate.py` learned; R proportions, the last of them how far lips stand open."""

    rows: np.ndarray  #: [R, I] change of each proportion by identity weights, in deviations of real people's
    brows: np.ndarray  #: [R, 10] the same by the fields of a BrowShape
    centre: np.ndarray  #: [R] proportions at weights and brows of zero, the mean of real people being 0
    noise: np.ndarray  #: [R] what of a proportion is not explained: those are followed less
    spread: np.ndarray  #: [R] 1 where people differ, 0 where all are alike (the lips)
    belongs: np.ndarray  #: [R, 2] change by a deviation of skin tone, and from people's mean to men
    look: np.ndarray  #: [I] change of what all drawn faces have in common for a recogniser
    measures: np.ndarray  #: [M, I] change of each measure (`measures.py`), in deviations of the scans


def draw_identity(seed: int, modes: np.ndarray, tone: float, masculine: bool) -> np.ndarray:
    """Identity weights, float32 [I], of an identity seed.

    Args:
        seed: the identity seed.
        modes: [100] standard normal weights that belong to the person's skin (`sample_skin`).
        tone: standard normal score of the skin's lightness, negative is dark.
        masculine: whether a beard would grow on it.
    """
    learned, spread = shipped_likeness(), _spread()
    plan = _plan()
    rng = np.random.default_rng([seed, 21])
    free = np.concatenate([modes, np.clip(rng.standard_normal(len(TRAITS)), -2, 2)]) * spread + plan.away
    brows = learned.centre + learned.brows @ np.array(draw_brow_shape(seed))
    kind = np.array([np.clip(tone, -_TONE_LIMIT, _TONE_LIMIT), 1.0 if masculine else -1.0])
    drawn = _draw_proportions(rng, learned.belongs, kind) * learned.spread
    wanted = drawn - brows
    # the mean of all is left out of what the scan has: it is the network's habit, and nobody has its depth
    scan = modes + plan.scan_gain @ (drawn - learned.rows[:, :MODES] @ modes)
    measures = MEASURE_SPREAD * (learned.measures[:, :MODES] @ scan)
    measures = MEASURE_LIMIT * np.tanh(measures / MEASURE_LIMIT)
    missing = np.concatenate([wanted, measures]) - plan.rows @ free
    return np.asarray(np.clip(free + plan.gain @ missing, -LIMIT, LIMIT), np.float32)


def _draw_proportions(rng: np.random.Generator, belongs: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Proportions [R] of one person, in deviations of real people's: neither one nor all together too far.

    Args:
        belongs: [R, 2], see Likeness; kind: [2] tone and sex of the person.
    """
    own = np.sqrt(np.maximum(0.0, 1 - (belongs**2).sum(1)))
    drawn = belongs @ kind + own * rng.standard_normal(len(belongs))
    far = np.sqrt((drawn**2).mean())
    drawn *= PROPORTION_SPREAD * min(1.0, FARTHEST / far)
    return np.asarray(np.clip(drawn, -PROPORTION_LIMIT, PROPORTION_LIMIT))


class _Plan(NamedTuple):
    """What is the same for everybody."""

    rows: np.ndarray  #: [R + M, I] change of each proportion, then of each measure
    gain: np.ndarray  #: [I, R + M] least change of weights that brings them where they should be
    scan_gain: np.ndarray  #: [MODES, R] the same of the scans' own weights, by proportions only
    away: np.ndarray  #: [I] the shift of all


@lru_cache(maxsize=1)
def _plan() -> _Plan:
    """Weights are normal and what is wanted is linear in them, so people are conditional draws.

    The gains are those of a Kalman filter whose measurement is the wanted face.
    """
    learned, variance = shipped_likeness(), _spread() ** 2
    rows = np.concatenate([learned.rows, learned.measures])
    noise = np.concatenate([learned.noise, np.full(len(learned.measures), MEASURE_NOISE)])
    gain = _gain(rows, variance, noise)
    scan_gain = _gain(learned.rows[:, :MODES], np.ones(MODES), learned.noise)
    away = variance * learned.look
    away -= gain @ (rows @ away)
    return _Plan(rows, gain, scan_gain, -AWAY * away / np.sqrt((away**2 / variance).sum()))


def _gain(rows: np.ndarray, variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    spread_rows = rows * variance
    return np.asarray(np.linalg.solve(spread_rows @ rows.T + np.diag(noise**2), spread_rows).T)


@lru_cache(maxsize=1)
def _spread() -> np.ndarray:
    """Deviation of each weight [I] before proportions are met."""
    traits = [TRAIT_SPREAD * _NARROWER.get(name, 1.0) for name in TRAITS]
    return np.concatenate([np.full(MODES, MODE_SPREAD), traits])


@lru_cache(maxsize=1)
def shipped_likeness() -> Likeness:
    """The file that comes with fstriplets."""
    with np.load(LIKENESS_FILE) as data:
        return Likeness(*(np.asarray(data[name], np.float64) for name in Likeness._fields))
