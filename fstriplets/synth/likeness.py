"""How far apart synthetic people are: the identity weights of a seed.

The face model's modes have unit variance in its own scans, yet people drawn with it look alike to a
recogniser: independent global modes leave every single feature near its average. So they are drawn
wider, traits (`traits.py`) are added feature by feature, and nobody may be near the average face:
`calibrate.py` learned once to which combinations of weights a recogniser answers, and whoever lies too
near the centre of that space is moved outwards in it. Each person depends on their own seed only.
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
#: Least distance from the average face (as of `distance`), and how far weights may be stretched for it.
LEAST, STRETCH = 0.55, 1.4
LIKENESS_FILE = Path(__file__).resolve().parent / "data" / "likeness.npz"


def draw_identity(seed: int, modes: np.ndarray) -> np.ndarray:
    """Identity weights, float32 [130], of an identity seed.

    Args:
        seed: the identity seed.
        modes: [100] standard normal weights that belong to the person's skin (`sample_skin`).
    """
    rng = np.random.default_rng([seed, 21])
    # Uniform, not normal: many unlike features, none of them grotesque.
    traits = rng.uniform(-TRAIT_REACH, TRAIT_REACH, len(TRAITS))
    weights = np.clip(np.concatenate([modes * MODE_SPREAD, traits]), -LIMIT, LIMIT)
    return np.asarray(np.clip(_outwards(weights), -LIMIT, LIMIT), np.float32)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """How different a recogniser should find two identities [130].

    It is the length of the predicted change of its normalised embedding, as far as shape decides it.
    """
    directions, gains = _sensitivity()
    return float(np.linalg.norm(((first - second) @ directions) * gains))


def _outwards(weights: np.ndarray) -> np.ndarray:
    """Move away from the average face along what a recogniser sees."""
    directions, gains = _sensitivity()
    seen = weights @ directions
    stretch = np.clip(LEAST / (np.linalg.norm(seen * gains) + 1e-6), 1, STRETCH)
    return np.asarray(weights + (stretch - 1) * (directions @ seen))


@lru_cache(maxsize=1)
def _sensitivity() -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal directions [130, K] in identity weights and the recogniser's answer [K] to a unit step."""
    with np.load(LIKENESS_FILE) as data:
        return data["directions"].astype(np.float64), data["gains"].astype(np.float64)
