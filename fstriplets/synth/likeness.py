"""How far apart synthetic people are: the identity weights of a seed.

The face model's modes have unit variance in its own scans, yet people drawn with it look alike to a
recogniser: independent global modes leave every single feature near its average. So they are drawn
wider, traits (`traits.py`) are added feature by feature, and nobody may be near the average face:
`calibrate.py` learned once to which combinations of weights a recogniser answers, and whoever lies too
near the centre of that space is moved outwards in it. What a recogniser does not answer to is drawn narrow:
it makes nobody easier to tell apart, only odder. At last each proportion of the face (length of the nose,
width of the jaw …) is bent back into the range people have. Each person depends on their own seed only.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from fstriplets.synth.traits import TRAITS

__all__ = ["IDENTITY_SIZE", "LIKENESS_FILE", "distance", "draw_identity"]

IDENTITY_SIZE = 100 + len(TRAITS)
#: Deviation of the face model's weights; reach of the traits, which are uniform; where all are cut off.
MODE_SPREAD, TRAIT_REACH, LIMIT = 1.3, 1.8, 2.7
#: Traits that look like a mood or a caricature before they look like somebody: their reach.
_NARROWER = {
    "brow_tilt": 1.1,
    "brow_inner": 1.1,
    "brow_outer": 1.2,
    "mouth_tilt": 1.0,
    "nose_projection": 1.3,
    "nose_skew": 1.0,
    "eye_skew": 1.0,
    "mouth_skew": 1.0,
    "eye_size": 1.5,
    "lip_thickness": 1.4,
}
#: Share that is kept of weights a recogniser does not see.
UNSEEN = 0.2
#: Least distance from the average face (as of `distance`), and how far weights may be stretched for it.
LEAST, STRETCH = 0.8, 1.8
#: Standard deviations of the face model's scans up to which proportions of the face are left alone, and
#: which they never reach.
USUAL, ODDEST = 1.5, 3.0
LIKENESS_FILE = Path(__file__).resolve().parent / "data" / "likeness.npz"


def draw_identity(seed: int, modes: np.ndarray) -> np.ndarray:
    """Identity weights, float32 [I], of an identity seed.

    Args:
        seed: the identity seed.
        modes: [100] standard normal weights that belong to the person's skin (`sample_skin`).
    """
    rng = np.random.default_rng([seed, 21])
    # Uniform, not normal: many unlike features, none of them grotesque.
    traits = rng.uniform(-1, 1, len(TRAITS)) * _reach()
    weights = np.clip(np.concatenate([modes * MODE_SPREAD, traits]), -LIMIT, LIMIT)
    return np.asarray(np.clip(_within(_outwards(weights)), -_limit(), _limit()), np.float32)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """How different a recogniser should find two identities [I].

    It is the length of the predicted change of its normalised embedding, as far as shape decides it.
    """
    directions, gains = _sensitivity()
    return float(np.linalg.norm(((first - second) @ directions) * gains))


def _outwards(weights: np.ndarray) -> np.ndarray:
    """Move away from the average face along what a recogniser sees, and back along what it does not."""
    directions, gains = _sensitivity()
    seen = weights @ directions
    stretch = np.clip(LEAST / (np.linalg.norm(seen * gains) + 1e-6), 1, STRETCH)
    return np.asarray(UNSEEN * weights + (stretch - UNSEEN) * (directions @ seen))


def _within(weights: np.ndarray) -> np.ndarray:
    """Bend every proportion of the face back that lies outside what people have."""
    rows = _proportions()
    size = (rows**2).sum(1)
    for _ in range(3):  # proportions share weights: what one gives back another may take
        for row, square in zip(rows, size, strict=True):
            value = float(row @ weights)
            if abs(value) > USUAL:
                bent = USUAL + (ODDEST - USUAL) * np.tanh((abs(value) - USUAL) / (ODDEST - USUAL))
                weights = weights + (np.sign(value) * bent - value) * row / square
    return np.asarray(weights)


def _limit() -> np.ndarray:
    """Largest weight of each mode and trait."""
    return np.asarray(np.concatenate([np.full(100, LIMIT), LIMIT / TRAIT_REACH * _reach()]))


@lru_cache(maxsize=1)
def _reach() -> np.ndarray:
    return np.array([_NARROWER.get(name, TRAIT_REACH) for name in TRAITS])


@lru_cache(maxsize=1)
def _sensitivity() -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal directions [I, K] in identity weights and the recogniser's answer [K] to a unit step."""
    with np.load(LIKENESS_FILE) as data:
        return data["directions"].astype(np.float64), data["gains"].astype(np.float64)


@lru_cache(maxsize=1)
def _proportions() -> np.ndarray:
    """Proportions of the face [R, I], linear in the weights, in standard deviations of the face model."""
    with np.load(LIKENESS_FILE) as data:
        return np.asarray(data["proportions"], np.float64)
