"""Skin of a person: a texture drawn from the shipped statistics."""

from __future__ import annotations

import os

import cv2
import numpy as np

__all__ = ["sample_complexion"]


def sample_complexion(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture [512, 512, 3] gamma RGB, its base colour [3] and the smile map [512, 512]."""
    stats = _statistics()
    size = 512
    c = np.clip(rng.normal(size=len(stats["std"])) * 0.95, -2.2, 2.2)
    low = stats["mean"] + np.tensordot((c * stats["std"]).astype(np.float32), stats["pcs"], 1)
    low = cv2.resize(low.reshape(256, 256, 3), (size, size), interpolation=cv2.INTER_CUBIC)
    base = np.median(low[154:256, 113:154].reshape(-1, 3), 0)
    a = rng.standard_normal((size, size), np.float32)
    b = cv2.GaussianBlur(a, (0, 0), 1.2)
    band = 0.67 * (a - b) + 5.6 * (b - cv2.GaussianBlur(a, (0, 0), 3))
    detail = band[..., None] * stats["detsd"] * 0.55
    pore = rng.standard_normal((size, size), np.float32)
    pore = cv2.GaussianBlur(pore - cv2.GaussianBlur(pore, (0, 0), 1.6), (0, 0), 0.7)
    mottle = cv2.resize(rng.standard_normal((64, 64), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    fine = (pore * 0.018 + mottle * 0.008)[..., None] * base * np.array([1.2, 1, 0.9], np.float32)
    out = low + detail * base + fine
    out[..., 2] = np.minimum(out[..., 2], out[..., 0] * (base[2] / base[0]) * 1.09)
    return np.clip(out, 0.01, 1).astype(np.float32), base.astype(np.float32), stats["smile"]


_CACHE: dict[str, np.ndarray] = {}


def _statistics() -> dict[str, np.ndarray]:
    if not _CACHE:
        with np.load(os.environ["FSTRIPLETS_SKIN"]) as data:
            _CACHE.update({k: data[k].astype(np.float32) for k in data})
    return _CACHE
