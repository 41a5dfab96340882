"""Skin of a person: a texture drawn from the shipped statistics."""

from __future__ import annotations

import numpy as np

from fstriplets.synth.skin import sample_skin, shipped_skin, smile_folds

__all__ = ["sample_complexion"]


def sample_complexion(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture [512, 512, 3] gamma RGB, its base colour [3] and the smile map [512, 512]."""
    texture, base, *_ = sample_skin(shipped_skin(), rng)
    return texture, base, smile_folds(shipped_skin())
