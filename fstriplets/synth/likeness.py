"""How far apart synthetic people are: the identity weights of a seed.

The face model's modes have unit variance in its own scans, yet people drawn with it look alike to a
recogniser: independent global modes leave every single feature near its average. So they are drawn wider,
and traits (`traits.py`) are added feature by feature.
"""

from __future__ import annotations

import numpy as np

from fstriplets.synth.traits import TRAITS

__all__ = ["IDENTITY_SIZE", "draw_identity"]

#: Standard deviation of the face model's weights and of the traits, and where both are cut off.
MODE_SPREAD, TRAIT_SPREAD, LIMIT = 1.5, 1.0, 3.2
IDENTITY_SIZE = 100 + len(TRAITS)


def draw_identity(seed: int, modes: np.ndarray) -> np.ndarray:
    """Identity weights, float32 [128], of an identity seed.

    Args:
        seed: the identity seed.
        modes: [100] standard normal weights that belong to the person's skin (`sample_skin`).
    """
    rng = np.random.default_rng([seed, 21])
    traits = rng.standard_normal(len(TRAITS)) * TRAIT_SPREAD
    return np.clip(np.concatenate([modes * MODE_SPREAD, traits]), -LIMIT, LIMIT).astype(np.float32)
