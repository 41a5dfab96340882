"""New people's skin, drawn from the statistics.

One standard normal vector with the learned correlations gives skin tone, component weights, detail
strengths, brow colour and (for the modes that photos determine) the shape of the face, so that skin and
shape belong together. Draws are wider than the learned spread, because the components that few people
carry are missing from it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.synth.skin.aggregate import MEAN_TOP, SIZE
from fstriplets.synth.skin.complexion import add_complexion, calm_colours
from fstriplets.synth.skin.delight import blur
from fstriplets.synth.skin.detail import synthesise_detail
from fstriplets.synth.skin.spots import add_spots
from fstriplets.synth.skin.statistics import SkinStatistics

__all__ = ["SkinSample", "sample_skin", "smile_folds", "without_stubble"]

FloatArray = npt.NDArray[np.floating[Any]]

#: How much wider than learned each group of variables is drawn.
WIDTH = {
    "tone": 1.25,
    "tint": 1.05,
    "even": 1.85,
    "odd": 1.3,
    "brow": 1.1,
    "fine": 1.0,
    "coarse": 1.0,
    "shape": 1.0,
}
_BROWS_FADED = 0.8  # share of the painted brows that is taken away
_SATURATION = 1.2  # of the plain skin: a camera's tone curve pales what is drawn
_LIMIT = 2.8  # standard deviations; beyond, components stop looking like skin
_LUMA = np.array([0.299, 0.587, 0.114])


class SkinSample(NamedTuple):
    """One person's skin; unpacks as `texture, base, *_`."""

    texture: FloatArray  #: [512, 512, 3] float32 gamma RGB in [0, 1], without light
    base: FloatArray  #: [3] gamma RGB of the plain skin
    brow: FloatArray  #: [3] gamma RGB of the brow hair
    stubble: (
        float  #: how much darker than the cheeks lip and chin are, about 0 (smooth) … 0.3 (shaved dark beard)
    )
    tone: float  #: standard normal score of the skin's lightness, negative is dark
    identity: FloatArray  #: [100] identity weights that belong to this skin


def sample_skin(
    statistics: SkinStatistics,
    rng: np.random.Generator,
    *,
    age: float = 0.3,
    freckles: float | None = None,
    modes: int = 100,
) -> SkinSample:
    """Draw one person.

    Args:
        statistics: of `load_skin` or `shipped_skin`.
        rng: the person's own generator; all draws come from it.
        age: 0 (20 years) … 1 (80 years): mottling, spots and the roughness of the skin grow with it.
        freckles: 0 … 1, how freckled; None draws it (most people have few).
        modes: how many identity weights to return; those beyond the learned ones are independent.
    """
    drawn = _draw(statistics, rng)
    identity = np.r_[drawn["shape"], rng.standard_normal(max(0, modes - len(drawn["shape"])))][:modes]
    base = _base_colour(statistics, drawn["tone"][0], drawn["tint"])
    ratio: FloatArray = _mean(statistics) + _structure(statistics, drawn["even"], drawn["odd"])
    shadow = _beard_shadow(ratio)
    # components that take a beard away make paler jaws than anybody has
    ratio *= 1 + min(0.0, shadow + 0.02) * _beard_mask()[..., None]
    gains = np.exp(statistics.detail[:, 1] * np.r_[drawn["fine"], drawn["coarse"]]) * (
        0.9 + np.array([0.35, 0.5]) * age
    )
    ratio += synthesise_detail(
        statistics.band_std, statistics.band_colour, statistics.band_quantiles, rng, gains.tolist(), SIZE
    )
    ratio = add_complexion(_without_brows(ratio), np.random.default_rng(rng.integers(2**31)))
    ratio = calm_colours(ratio)
    chosen = float(rng.beta(0.5, 3.0)) if freckles is None else freckles
    ratio = add_spots(ratio, rng, age=age, freckles=chosen * float(np.clip(0.5 + drawn["tone"][0], 0, 1)))
    texture = np.clip(ratio * base.astype(np.float32), 0.01, 1)
    brow = base * np.exp((statistics.brow[:, 0] + statistics.brow[:, 1] * drawn["brow"]) / 2.2)
    return SkinSample(
        texture,
        base.astype(np.float32),
        brow.astype(np.float32),
        max(0.0, shadow),
        float(drawn["tone"][0]),
        identity,
    )


def smile_folds(statistics: SkinStatistics, size: int = SIZE) -> FloatArray:
    """Log darkening [size, size] of a full smile's folds: a texture times exp(strength * folds)."""
    half = statistics.smile.astype(np.float32)
    return np.asarray(
        cv2.resize(np.concatenate([half, half[:, ::-1]], 1), (size, size), interpolation=cv2.INTER_CUBIC)
    )


def without_stubble(skin: SkinSample) -> SkinSample:
    """The same skin without the shadow that a shaved beard leaves on it."""
    light = 1 + 1.1 * np.float32(skin.stubble) * _beard_mask()[..., None]
    return skin._replace(texture=np.clip(skin.texture * light, 0.01, 1))


@lru_cache(maxsize=1)
def _beard_mask() -> FloatArray:
    """1 where a beard shades the average skin (upper lip, chin, jaw), 0 on lips and cheeks, [SIZE, SIZE]."""
    row, col = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    across = np.abs(col - SIZE / 2 + 0.5)
    below = np.clip((row - np.interp(across, [0, 50, 90, 140], [226, 234, 268, 262])) / 14, 0, 1)
    ends = np.clip((400 - row) / 40, 0, 1) * np.clip((165 - across) / 30, 0, 1)
    lips = ((across / 66) ** 2 + ((row - 290) / 42) ** 2) < 1
    return blur((below * ends * (1 - lips)).astype(np.float32), 4)


def _without_brows(ratio: FloatArray) -> FloatArray:
    """Fade the painted brows into the skin around them: brows are drawn hair by hair, where they belong."""
    rows, mask = _brow_mask()
    band = ratio[rows]
    skin = 1 - mask
    smooth = blur(band * skin[..., None], 7) / (blur(skin, 7)[..., None] + 1e-3)
    faded = ratio.copy()
    faded[rows] = band + (_BROWS_FADED * blur(mask, 2))[..., None] * (smooth - band)
    return faded


@lru_cache(maxsize=1)
def _brow_mask() -> tuple[slice, FloatArray]:
    """Rows of the layout that hold the brows, and 1 on the brows of the average face."""
    rows = slice(56, 142)
    row, col = np.mgrid[rows, 0:SIZE].astype(np.float32)
    across = np.abs(col - SIZE / 2 + 0.5)
    middle = np.interp(across, [10, 30, 52, 72, 92, 110, 132], [114, 107, 100, 97, 98, 105, 121])
    near = np.clip((17 - np.abs(row - middle)) / 4, 0, 1)
    ends = np.clip((across - 6) / 8, 0, 1) * np.clip((140 - across) / 8, 0, 1)
    return rows, (near * ends).astype(np.float32)


def _beard_shadow(ratio: FloatArray) -> float:
    """How much darker the chin is than the cheeks."""
    chin, cheek = ratio[322:350, 212:300].mean(), ratio[200:260, 130:180].mean()
    return float(np.clip(cheek - chin, -1, 1))


def _draw(statistics: SkinStatistics, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Correlated standard normal scores by group, widened and limited."""
    groups, factor = _plan(statistics)
    scores = factor @ rng.standard_normal(len(factor))
    return {name: np.clip(scores[index] * WIDTH[name], -_LIMIT, _LIMIT) for name, index in groups.items()}


def _base_colour(statistics: SkinStatistics, tone: float, tint: FloatArray) -> FloatArray:
    knots = statistics.tone_knots
    step = tone / 0.5 + (len(knots) - 1) / 2
    light = float(np.interp(step, np.arange(len(knots)), knots))
    light += min(0.0, step) * float(knots[1] - knots[0]) + max(0.0, step - len(knots) + 1) * 0.02
    table = statistics.tint
    log = table[:, 0] + table[:, 1] * tint + table[:, 2] * tone + table[:, 3] * tone**2
    ratio = np.exp(np.clip(log, [0.13, -0.5], [0.5, -0.07]))  # skin is never grey or blue
    colour = np.array([ratio[0], 1.0, ratio[1]]) ** _SATURATION
    return np.asarray(colour * np.clip(light, 0.23, 0.76) / (colour @ _LUMA))


def _structure(statistics: SkinStatistics, even: FloatArray, odd: FloatArray) -> FloatArray:
    """Sum of the components, [SIZE, SIZE, 3]."""
    left = _combine(statistics.even, even * statistics.even_scale)
    skew = _combine(statistics.odd, odd * statistics.odd_scale)
    full = np.concatenate([left + skew, (left - skew)[:, ::-1]], 1)
    return np.asarray(cv2.resize(full, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))


def _combine(parts: npt.NDArray[np.int8], weights: FloatArray) -> FloatArray:
    total = np.zeros(parts.shape[1:], np.float32)
    for part, weight in zip(parts, weights, strict=True):
        total += part * np.float32(weight)
    return total


@lru_cache(maxsize=2)
def _mean(statistics: SkinStatistics) -> FloatArray:
    left = statistics.mean.astype(np.float32) / 65535 * MEAN_TOP
    return np.concatenate([left, left[:, ::-1]], 1)


@lru_cache(maxsize=2)
def _plan(statistics: SkinStatistics) -> tuple[dict[str, npt.NDArray[np.intp]], FloatArray]:
    """Columns of each group of variables, and the factor of their correlations."""
    kinds = np.array([str(name).split("_")[0] for name in statistics.names])
    groups = {name: np.nonzero(kinds == name)[0] for name in WIDTH}
    # Cholesky's factor is unique; eigenvectors are not, and another machine would draw other people.
    return groups, np.linalg.cholesky(statistics.correlation.astype(np.float64))
