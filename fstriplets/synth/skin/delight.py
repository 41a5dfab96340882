"""Take the light out of unwrapped photos and find out which texels can be trusted.

All photos of the studio share one light, so one second-order spherical harmonic shading (Ramamoorthi &
Hanrahan 2001) explains them all; it is found by robust regression over skin texels of all people,
divided out, and highlights are compressed. What is left is each person's colour relative to their own
skin: the *ratio*, about 1 on the cheeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.synth.skin.unwrap import Atlas, Unwrapped

__all__ = ["GAMMA", "Reflectance", "Regions", "blur", "reflectance", "studio_light", "trust"]

FloatArray = npt.NDArray[np.floating[Any]]

GAMMA = 2.2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MATT = 1.07  # ratio above which a texel is a highlight
_FLOOR = 2e-3  # linear; keeps logarithms finite


@dataclass(frozen=True)
class Regions:
    """Parts of the layout, found by position on the neutral model."""

    inside: npt.NDArray[np.bool_]  #: on the mesh
    feature: FloatArray  #: 1 on eyes, brows' surroundings, mouth and nostrils: not plain skin
    cheeks: npt.NDArray[np.bool_]  #: plain skin that stands for the person's skin colour
    coverable: npt.NDArray[np.bool_]  #: where hair, ears or the wall may cover or replace skin
    hairline: npt.NDArray[np.bool_]  #: the forehead's upper half
    jowl: npt.NDArray[np.bool_]  #: beside the jaw, where the wall leaks in
    frame: FloatArray  #: 1 on the face proper, 0 on neck, ears and scalp

    @classmethod
    def of(cls, atlas: Atlas) -> Regions:
        """Regions of an atlas, from where each texel lies on the neutral mesh (model units): [S, S] each."""
        x, y, z = (atlas.position[..., k] for k in range(3))
        eyes = ((np.abs(x) - 3.2) / 3.0) ** 2 + ((y - 3.9) / 1.9) ** 2 < 1
        mouth = (x / 3.4) ** 2 + ((y + 4.4) / 1.9) ** 2 < 1
        nostrils = (np.abs(x) < 2.3) & (np.abs(y + 0.9) < 1.3)
        feature = blur((eyes | mouth | nostrils).astype(np.float32), 2)
        skin = atlas.inside & (feature < 0.1)
        row, col = np.mgrid[0 : atlas.size, 0 : atlas.size] / atlas.size
        frame = (row < 0.715) & ~((row > 0.57) & (np.abs(col - 0.5) > 0.25)) & (np.abs(x) < 7.1)
        brow_top = 7.1 - 0.7 * np.clip(np.abs(x) - 4.6, 0, 2)
        return cls(
            inside=atlas.inside,
            feature=feature,
            cheeks=skin & (np.abs(x) < 5.5) & (y > -3) & (y < 8.5) & (z > 3),
            coverable=atlas.inside & ((y > brow_top) | (np.abs(x) > 6.2)),
            hairline=atlas.inside & (y > 7.6),
            jowl=atlas.inside & (np.abs(x) > 4.4) & (y < -2),
            frame=blur(frame.astype(np.float32), 8) ** 2 * np.clip((y + 8.4) / 1.6, 0, 1) * (z > 1.0),
        )


@dataclass(frozen=True)
class Reflectance:
    """A person's skin without light."""

    ratio: FloatArray  #: [T, T, 3] colour in gamma space over `base`
    base: FloatArray  #: [3] gamma RGB of the plain skin
    trust: FloatArray  #: [T, T] 0..1


def blur(image: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur, sigma in texels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def trust(texture: Unwrapped, regions: Regions) -> FloatArray:
    """How far each texel shows this person's skin, [T, T] 0..1: seen well, not hair, wall, ear or neck."""
    weight = np.clip((texture.normal[..., 2] - 0.08) / 0.3, 0, 1) * regions.inside * regions.frame
    plain = regions.cheeks & (weight > 0.8)
    colour = texture.colour + _FLOOR
    log = np.log(blur(colour, 1.5) / np.median(colour[plain], axis=0))
    light = log.mean(-1)
    tint = log - light[..., None]
    # Highlights on dark skin are bright and bluish beside it, but darker than the wall or fair hair.
    bright = (light > 0.6) & (colour @ _LUMA > 0.30)
    stained = np.abs(tint).max(-1) > 0.28 + 0.35 * np.clip(light, 0, 1)
    shaded = (light < -0.4) & regions.hairline  # hair shines through the first strands of the hairline
    foreign = (light < -0.75) | bright | stained | shaded
    wall = regions.jowl & ((bright & (light > 0.28)) | ((tint[..., 2] > 0.12) & (light > 0.15)))
    bad = (regions.coverable & foreign) | wall
    spread = blur(cv2.dilate(bad.astype(np.float32), np.ones((9, 9))), 3)
    return np.asarray(weight * np.clip(1 - 2 * spread, 0, 1), np.float32)


def studio_light(
    textures: Sequence[Unwrapped], weights: Sequence[FloatArray], regions: Regions, seed: int = 0
) -> FloatArray:
    """Spherical harmonic coefficients [9] of the light all `textures` were taken in (luminance, skin = 1)."""
    rng = np.random.default_rng(seed)
    rows, values = [], []
    for texture, weight in zip(textures, weights, strict=True):
        luma = texture.colour @ _LUMA + _FLOOR
        skin = (weight > 0.6) & (regions.feature < 0.1)
        middle = np.median(luma[regions.cheeks & (weight > 0.8)])
        chosen = skin & (rng.random(skin.shape) < 0.03)
        rows.append(_harmonics(texture.normal[chosen]))
        values.append(luma[chosen] / middle)
    basis, value = np.concatenate(rows), np.concatenate(values)
    ridge = 5e-4 * len(value) * np.diag([0, 1, 1, 1, 3, 3, 3, 3, 3])
    credence = np.ones(len(value))
    for _ in range(5):  # iteratively reweighted: highlights, beards and moles do not count
        weighted = basis * credence[:, None]
        light = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ value)
        credence = 1 / (1 + ((basis @ light - value) / 0.12) ** 2)
    return np.asarray(light)


def reflectance(texture: Unwrapped, weight: FloatArray, light: FloatArray, regions: Regions) -> Reflectance:
    """Divide the studio's shading out, compress highlights and relate to the person's own skin colour."""
    shading = _harmonics(texture.normal) @ light
    gamma = ((texture.colour + _FLOOR) / np.clip(shading, 0.35, 1.6)[..., None]) ** (1 / GAMMA)
    base = np.median(gamma[regions.cheeks & (weight > 0.8)], axis=0)
    ratio = gamma / base
    # Nothing on a face is much lighter than its skin: what is, in any channel, is a highlight.
    ratio = np.minimum(ratio, _MATT + 0.2 * (ratio - _MATT))
    lit = np.clip(
        (shading - 0.58) / 0.18, 0, 1
    )  # where the model light hardly reaches, its error is amplified
    return Reflectance(ratio.astype(np.float32), base, (weight * lit).astype(np.float32))


def _harmonics(normal: FloatArray) -> FloatArray:
    x, y, z = normal[..., 0], normal[..., 1], normal[..., 2]
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)
