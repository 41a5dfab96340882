"""From people's skin to statistics that name nobody.

What keeps people out of the file: only means, components, spreads, correlations and pooled histograms
are kept; a component is kept only while at least `MINIMUM_PEOPLE` people carry it (participation ratio
of its squared weights), so that no one's beard or mole becomes a component of its own; correlations are
shrunk; the detail becomes noise.

Left and right are one: every map is split into its symmetric and antisymmetric half. The symmetric half
fills what is hidden on one side from the other; of the antisymmetric half only mid frequencies are
people, the rest is the light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.synth.skin.delight import GAMMA, Reflectance, Regions, blur
from fstriplets.synth.skin.detail import learn_detail, log_amplitudes
from fstriplets.synth.skin.statistics import SkinStatistics
from fstriplets.synth.skin.unwrap import Atlas

__all__ = ["MINIMUM_PEOPLE", "SIZE", "Studied", "statistics_of"]

FloatArray = npt.NDArray[np.floating[Any]]

SIZE = 512
HALF = SIZE // 2
EVEN, ODD = 26, 6  # components asked for; fewer are kept where too few people carry one
MINIMUM_PEOPLE = 8.0
MODES = 40  # identity modes in the joint distribution: those that the landmarks of a photo determine
MEAN_TOP = 1.6  # ratio that 65535 stands for in the mean map
_SHRINK = 0.35  # of every correlation: tens of people determine thousands of them
_KNOTS = np.linspace(-1.5, 1.5, 7)  # standard normal values at which the skin tone is tabulated
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Studied:
    """What one person contributes; lives in memory only."""

    identity: FloatArray  #: [IDENTITY_MODES]
    neutral: Reflectance
    smiling: Reflectance | None


@dataclass(frozen=True)
class _Components:
    parts: npt.NDArray[np.int8]  #: [K, HALF, HALF // 2, 3] left half
    scale: FloatArray  #: [K] ratio of int8 1 at one standard deviation
    weights: FloatArray  #: [N, K] of the people, unit deviation; never stored

    def rebuild(self, person: int, sign: float) -> FloatArray:
        """Sum of the components of one person, [HALF, HALF, 3]; `sign` mirrors it as even (1) or odd (-1)."""
        flat = (self.weights[person] * self.scale) @ self.parts.reshape(len(self.parts), -1).astype(
            np.float32
        )
        left = flat.reshape(self.parts.shape[1:])
        return np.concatenate([left, sign * left[:, ::-1]], 1).astype(np.float32)


def statistics_of(people: Sequence[Studied], atlas: Atlas, credit: str) -> SkinStatistics:
    """Aggregate what `learn.study` found, for the layout of `atlas` (512 texels)."""
    regions = Regions.of(atlas)
    people = [person for person in people if not _has_fringe(person, atlas)]
    filled = [_mirror_fill(person.neutral) for person in people]
    mean = _complete_mean([f[0] for f in filled], [f[1] for f in filled], atlas)
    even = _principal([_left(_deviation(ratio, mean, known)) for ratio, known in filled], EVEN)
    odd = _principal([_left(_odd_part(person.neutral)) for person in people], ODD)
    details = [_residual(p.neutral, mean, even, odd, i, regions) for i, p in enumerate(people)]
    trusted = [person.neutral.trust for person in people]
    deviation, colour, marginal = learn_detail(details, trusted)
    amplitudes = np.stack([log_amplitudes(d, w) for d, w in zip(details, trusted, strict=True)])
    bases = np.stack([person.neutral.base for person in people])
    tone, knots = _tone(bases)
    tint, tints = _tint(bases, tone)
    brows = np.stack([_brow_colour(person.neutral, atlas) for person in people])
    shape = np.stack([person.identity for person in people])[:, :MODES]
    table = {"tone": tone, "tint_r": tints[0], "tint_b": tints[1]}
    table |= {f"even_{k}": column for k, column in enumerate(even.weights.T)}
    table |= {f"odd_{k}": column for k, column in enumerate(odd.weights.T)}
    table |= {"fine": amplitudes[:, 0], "coarse": amplitudes[:, 1]}
    table |= {f"brow_{c}": column for c, column in zip("rgb", brows.T, strict=True)}
    table |= {f"shape_{k}": column for k, column in enumerate(shape.T)}
    return SkinStatistics(
        mean=np.clip(mean[:, :HALF] / MEAN_TOP * 65535, 0, 65535).astype(np.uint16),
        even=even.parts,
        even_scale=even.scale,
        odd=odd.parts,
        odd_scale=odd.scale,
        names=np.array(list(table)),
        correlation=_correlations(np.stack(list(table.values()), 1)),
        tone_knots=knots,
        tint=tint,
        detail=np.stack([amplitudes.mean(0), amplitudes.std(0)], 1),
        brow=np.stack([brows.mean(0), brows.std(0)], 1),
        band_std=deviation.astype(np.float16),
        band_colour=colour,
        band_quantiles=marginal,
        smile=_smile_map(people, regions, atlas).astype(np.float16),
        people=len(people),
        credit=credit,
    )


def _has_fringe(person: Studied, atlas: Atlas) -> bool:
    """Hair covers a third of the forehead's middle: it would teach hair instead of skin."""
    x, y = atlas.position[..., 0], atlas.position[..., 1]
    forehead = atlas.inside & (np.abs(x) < 3.5) & (y > 6.8) & (y < 8)
    return bool((person.neutral.trust[forehead] < 0.3).mean() > 0.35)


def _mirror_fill(skin: Reflectance) -> tuple[FloatArray, FloatArray]:
    """Symmetric half of a ratio [T, T, 3] and how far it is known [T, T]."""
    weight = skin.trust[..., None]
    other = weight[:, ::-1]
    ratio = (skin.ratio * weight + skin.ratio[:, ::-1] * other) / (weight + other + 1e-4)
    return ratio, np.clip(1.5 * np.maximum(weight, other)[..., 0], 0, 1)


def _complete_mean(ratios: Sequence[FloatArray], known: Sequence[FloatArray], atlas: Atlas) -> FloatArray:
    """Mean ratio of the whole layout: what nobody shows fades from the face's rim to plain skin."""
    total = np.sum(known, 0)
    mean = sum(r * k[..., None] for r, k in zip(ratios, known, strict=True)) / (total[..., None] + 1e-3)
    support = np.clip(total / 10, 0, 1) * atlas.inside
    filled = _pull_push(np.asarray(mean, np.float32), (support**2).astype(np.float32))
    near = np.clip(blur(support.astype(np.float32), 14), 0, 1)[..., None]
    return np.asarray(near * filled + (1 - near) * (0.35 * filled + 0.65), np.float32)


def _deviation(ratio: FloatArray, mean: FloatArray, known: FloatArray) -> FloatArray:
    """Person minus mean at half size, [HALF, HALF, 3]; unknown texels fade to 0 smoothly."""
    small = _half(ratio - mean)
    weight = _half(known)
    filled = _pull_push(small, weight**2)
    reach = np.clip(blur(weight, 10) * 1.5, 0, 1)[..., None]
    return np.asarray(filled * np.maximum(weight[..., None], 0.8 * reach), np.float32)


def _odd_part(skin: Reflectance) -> FloatArray:
    """Antisymmetric half at half size, [HALF, HALF, 3]; its low frequencies are light, not skin."""
    both = np.minimum(skin.trust, skin.trust[:, ::-1])[..., None]
    odd = _half((skin.ratio - skin.ratio[:, ::-1]) / 2 * both)
    return np.asarray(np.clip(blur(odd, 1.0) - blur(odd, 10), -0.25, 0.25), np.float32)


def _principal(maps: Sequence[FloatArray], count: int) -> _Components:
    """Components of left halves [N, HALF, HALF // 2, 3] that at least MINIMUM_PEOPLE people carry."""
    flat = np.stack([m.ravel() for m in maps]).astype(np.float32)
    flat -= flat.mean(0)
    left, spread, right = np.linalg.svd(flat, full_matrices=False)
    carriers = 1 / (left**4).sum(0)  # participation ratio: N when all carry it alike, 1 when one person is it
    chosen = [k for k in range(min(3 * count, len(maps) - 1)) if carriers[k] >= MINIMUM_PEOPLE][:count]
    spread = spread[chosen] / np.sqrt(len(maps))
    parts = right[chosen] * spread[:, None]
    scale = np.abs(parts).max(1) / 127
    stored = np.round(parts / scale[:, None]).astype(np.int8)
    weights = left[:, chosen] * np.sqrt(len(maps))
    return _Components(stored.reshape(len(chosen), HALF, HALF // 2, 3), scale.astype(np.float32), weights)


def _residual(
    skin: Reflectance, mean: FloatArray, even: _Components, odd: _Components, person: int, regions: Regions
) -> FloatArray:
    """What mean and components leave of a person: the detail [T, T, 3], faded out where it is not trusted."""
    known = np.clip(skin.trust * 1.5, 0, 1)
    explained = even.rebuild(person, 1) + odd.rebuild(person, -1)
    rest = skin.ratio - mean - cv2.resize(explained, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    rest = rest - blur(rest * known[..., None], 16) / (
        blur(known, 16)[..., None] + 1e-3
    )  # light and fit, not detail
    return np.asarray(rest * known[..., None] * (1 - 0.3 * regions.feature[..., None]), np.float32)


def _tone(bases: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Normal score of each person's skin luminance, and luminance at `_KNOTS`."""
    light = bases @ _LUMA
    score = normal_scores(light)
    order = np.argsort(light)
    knots = np.interp(_KNOTS, score[order], _running_mean(light[order]))
    return score, knots.astype(np.float32)


def _tint(bases: FloatArray, tone: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log r/g and b/g: [2, 4] mean, spread, slope and curvature in tone; and the people's scores [2, N]."""
    logs = np.stack([np.log(bases[:, 0] / bases[:, 1]), np.log(bases[:, 2] / bases[:, 1])])
    design = np.stack([np.ones_like(tone), tone, tone**2], 1)
    solution = np.linalg.lstsq(design, logs.T, rcond=None)[0]
    rest = logs - (design @ solution).T
    table = np.stack([solution[0], rest.std(1), solution[1], solution[2]], 1)
    return table.astype(np.float32), rest / rest.std(1, keepdims=True)


def _brow_colour(skin: Reflectance, atlas: Atlas) -> FloatArray:
    """Log of linear brow hair colour over skin colour, [3]: the darkest eighth of the brow's texels."""
    x, y = np.abs(atlas.position[..., 0]), atlas.position[..., 1]
    brow = atlas.inside & (x > 1.4) & (x < 5.2) & (y > 5.0) & (y < 7.0)
    texels = np.clip(blur(skin.ratio, 1.0)[brow], 0.02, 2)
    dark = texels[np.argsort(texels.sum(1))[: len(texels) // 8]]
    return np.asarray(GAMMA * np.log(dark.mean(0)))


def _correlations(table: FloatArray) -> FloatArray:
    """Shrunk rank correlations of the columns of [N, D]: outliers have no say."""
    scores = np.stack([normal_scores(column) for column in table.T])
    raw = np.corrcoef(scores)
    chance = 1 / np.sqrt(len(table))
    kept = np.sign(raw) * np.clip(np.abs(raw) - 0.5 * chance, 0, None) * (1 - _SHRINK)
    kept[-MODES:, -MODES:] = (
        0  # the face model's modes are independent; the fit's trade-offs between them are not people
    )
    np.fill_diagonal(kept, 1)
    values, vectors = np.linalg.eigh(kept)  # cutting entries can leave the positive cone
    valid = (vectors * np.clip(values, 0.02, None)) @ vectors.T
    spread = np.sqrt(np.diag(valid))
    return np.asarray(valid / spread / spread[:, None], np.float32)


def _smile_map(people: Sequence[Studied], regions: Regions, atlas: Atlas) -> FloatArray:
    """Mean log darkening of a smile at half size, left half: folds that the geometry does not have."""
    total, weight = np.zeros((SIZE, SIZE), np.float32), np.full((SIZE, SIZE), 4.0, np.float32)
    for person in people:
        if person.smiling is None:
            continue
        both = person.neutral.trust * person.smiling.trust
        change = np.log(np.clip(person.smiling.ratio, 0.05, 3) / np.clip(person.neutral.ratio, 0.05, 3)).mean(
            -1
        )
        total += np.clip(blur(change, 1.2), -0.5, 0.5) * both
        weight += both
    mouth = np.clip(regions.feature * (atlas.position[..., 1] < -2) * 1.5, 0, 1)
    mean = total / weight * (1 - mouth)
    return _half((mean + mean[:, ::-1]) / 2)[:, : HALF // 2]


def _pull_push(image: FloatArray, weight: FloatArray) -> FloatArray:
    """Fill texels of weight 0 from a pyramid of weighted averages (Gortler et al. 1996)."""
    levels: list[tuple[FloatArray, FloatArray]] = [(image * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 1:
        levels.append((_half(levels[-1][0]), _half(levels[-1][1])))
    filled = levels[-1][0].reshape(1, 1, -1) / (levels[-1][1].reshape(1, 1, 1) + 1e-6)
    for colour, known in levels[-2::-1]:
        up = cv2.resize(filled, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
        share = np.clip(known * 4, 0, 1)[..., None]
        filled = share * colour / (known[..., None] + 1e-6) + (1 - share) * up
    return np.asarray(filled, np.float32)


def _half(image: FloatArray) -> FloatArray:
    size = max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _left(image: FloatArray) -> FloatArray:
    return image[:, : image.shape[1] // 2]


def normal_scores(values: FloatArray) -> FloatArray:
    """Standard normal quantile of each value's rank."""
    from scipy.special import ndtri

    rank = np.argsort(np.argsort(values))
    return np.asarray(ndtri((rank + 0.5) / len(values)))


def _running_mean(values: FloatArray, reach: int = 3) -> FloatArray:
    """Mean over neighbours in order, so that no single person's value is kept."""
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid"))
