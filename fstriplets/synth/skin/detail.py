"""Pores, freckles and mottling as noise with the statistics of people's skin, and nobody's own.

A Laplacian pyramid (Burt & Adelson 1983) splits the detail into octaves. Each octave of each person is
normalised by the local deviation of that person; what is kept is pooled over all people: a coarse map
of the deviation, two colour directions and the marginal distribution of the normalised coefficients (it
is skewed: dark spots are rarer and stronger than light ones). New detail is white noise that is given
those statistics, octave by octave (after Heeger & Bergen 1995, with local variance).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["LEVELS", "learn_detail", "log_amplitudes", "pyramid", "synthesise_detail"]

FloatArray = npt.NDArray[np.floating[Any]]

LEVELS = 4
KNOTS = 33
_MAP = 64


def pyramid(image: FloatArray, levels: int = LEVELS) -> list[FloatArray]:
    """Laplacian pyramid without its base: level k has size T / 2^k."""
    bands = []
    for _ in range(levels):
        low = cv2.pyrDown(image)
        bands.append(image - cv2.pyrUp(low, dstsize=image.shape[1::-1]))
        image = low
    return bands


def learn_detail(
    details: Sequence[FloatArray], weights: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Pooled statistics of people's detail.

    Args:
        details: [T, T, 3] ratio residuals, one a person.
        weights: [T, T] trust, 0..1.

    Returns:
        deviation [LEVELS, 2, 64, 32], colour directions [LEVELS, 3, 2], marginals [LEVELS, 2, KNOTS].
    """
    deviations, colours, marginals = [], [], []
    stacks = [pyramid(detail) for detail in details]
    for level in range(LEVELS):
        bands = [stack[level] for stack in stacks]
        masks = [
            cv2.resize(w, b.shape[1::-1], interpolation=cv2.INTER_AREA)
            for w, b in zip(weights, bands, strict=True)
        ]
        colour = _directions(bands, masks)
        parts = [band @ colour for band in bands]
        deviation, marginal = zip(*(_pool([p[..., k] for p in parts], masks) for k in range(2)), strict=True)
        deviations.append(np.stack(deviation))
        colours.append(colour)
        marginals.append(np.stack(marginal))
    found = np.stack(deviations), np.stack(colours), np.stack(marginals)
    return _calibrate(*found), found[1], found[2]


def log_amplitudes(detail: FloatArray, weight: FloatArray) -> FloatArray:
    """Log deviation of the two finest and the two coarser levels, [2]."""
    stack = pyramid(detail)
    level = []
    for band in stack:
        mask = cv2.resize(weight, band.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.8
        level.append(np.log(np.median(np.abs(band[mask].mean(-1))) + 1e-5))
    return np.array([np.mean(level[:2]), np.mean(level[2:])])


def synthesise_detail(
    deviation: FloatArray,
    colour: FloatArray,
    marginal: FloatArray,
    rng: np.random.Generator,
    gains: Sequence[float] = (1.0, 1.0),
    size: int = 512,
) -> FloatArray:
    """New detail [size, size, 3] (a ratio residual), `gains` on the fine and coarse halves of the pyramid."""
    image = np.zeros((size >> LEVELS, size >> LEVELS, 3), np.float32)
    for level in reversed(range(LEVELS)):
        side = size >> level
        gain = gains[0] if level < LEVELS // 2 else gains[1]
        band = np.zeros((side, side, 3), np.float32)
        for k in range(2):
            noise = _shaped_noise(marginal[level, k], side, rng)
            noise *= _full_map(deviation[level, k], side) * np.float32(gain)
            band += noise[..., None] * colour[level, :, k].astype(np.float32)
        image = cv2.pyrUp(image, dstsize=(side, side)) + band
    return image


def _directions(bands: Sequence[FloatArray], masks: Sequence[FloatArray]) -> FloatArray:
    """The two main colour directions of a level, [3, 2], from the pooled covariance."""
    pooled = np.concatenate([band[mask > 0.8] for band, mask in zip(bands, masks, strict=True)])
    values, vectors = np.linalg.eigh(pooled.T @ pooled / len(pooled))
    chosen = vectors[:, np.argsort(values)[::-1][:2]]
    return np.asarray(chosen * np.sign(chosen.sum(0)), np.float32)


def _pool(parts: Sequence[FloatArray], masks: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Typical local deviation, [64, 32] symmetric half, and quantiles of normalised coefficients.

    The median over people, not the mean: one beard must not roughen everybody's skin.
    """
    maps, pooled = [], []
    for part, mask in zip(parts, masks, strict=True):
        share = cv2.resize(mask, (_MAP, _MAP), interpolation=cv2.INTER_AREA)
        energy = cv2.resize(part**2 * mask, (_MAP, _MAP), interpolation=cv2.INTER_AREA) / (share + 1e-3)
        maps += [np.where(share > 0.6, energy, np.nan), np.where(share > 0.6, energy, np.nan)[:, ::-1]]
        local = np.sqrt(
            cv2.GaussianBlur(part**2 * mask, (0, 0), 6) / (cv2.GaussianBlur(mask, (0, 0), 6) + 1e-3)
        )
        pooled.append((part / (local + 1e-5))[mask > 0.9])
    stack = np.stack(maps)
    known = (np.isfinite(stack).sum(0) > 0.3 * len(maps)).astype(np.float32)
    with np.errstate(all="ignore"):
        typical = np.where(known > 0, np.nanmedian(np.where(known > 0, stack, 1.0), axis=0), 0).astype(
            np.float32
        )
    smooth = cv2.GaussianBlur(typical, (0, 0), 1.2) / (cv2.GaussianBlur(known, (0, 0), 1.2) + 1e-4)
    deviation = np.sqrt(known * smooth + (1 - known) * float(np.median(typical[known > 0])))
    quantiles = np.quantile(np.concatenate(pooled), (np.arange(KNOTS) + 0.5) / KNOTS)
    quantiles /= np.sqrt((quantiles**2).mean())
    return deviation[:, : _MAP // 2].astype(np.float32), quantiles.astype(np.float32)


def _calibrate(deviation: FloatArray, colour: FloatArray, marginal: FloatArray) -> FloatArray:
    """Scale each level so that synthesised detail, analysed again, has the deviation that was learned."""
    deviation = deviation.copy()
    wanted = np.sqrt((deviation**2).mean((2, 3)))
    for _ in range(3):
        made = pyramid(synthesise_detail(deviation, colour, marginal, np.random.default_rng(0)))
        for level in range(LEVELS):
            got = np.sqrt(((made[level] @ colour[level]) ** 2).mean((0, 1)))
            deviation[level] *= np.clip(wanted[level] / got, 0.5, 2)[:, None, None]
    return deviation


def _shaped_noise(quantiles: FloatArray, side: int, rng: np.random.Generator) -> FloatArray:
    """White noise [side, side] whose marginal has the given quantiles."""
    table = np.interp(np.linspace(0, KNOTS - 1, 4096), np.arange(KNOTS), quantiles).astype(np.float32)
    drawn: FloatArray = table[rng.integers(0, 4096, (side, side), dtype=np.uint16)]
    return drawn


def _full_map(half: FloatArray, side: int) -> FloatArray:
    full = np.concatenate([half, half[:, ::-1]], 1).astype(np.float32)
    return np.asarray(cv2.resize(full, (side, side), interpolation=cv2.INTER_LINEAR))
