"""Ageing: skin sags, creases and coarsens, its colour gets uneven, hair and brows turn grey.

The photo's own skin detail is amplified first: what is there already ages most believably. The seed
draws the creases, the spots and how early the hair went grey.
"""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import apply_flow, dense_flow, smoothstep
from fstriplets.edits.warp.hair import colour_hair
from fstriplets.edits.warp.hair_mask import hair_mask
from fstriplets.edits.warp.parse import skin_mask, skin_tone
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.texture import cloud, sharpness_sigma
from fstriplets.edits.warp.wrinkles import crease, face_lines

__all__ = ["aging"]

Array = np.ndarray

#: Moves at strength 1, face units: landmark -> (outward, down). Jowls, lids, lips, nose.
_SAG: dict[int, tuple[float, float]] = {
    5: (0.05, 0.06), 6: (0.05, 0.07), 10: (0.05, 0.07), 11: (0.05, 0.06), 4: (0.03, 0.03), 12: (0.03, 0.03),
    48: (0.0, 0.03), 54: (0.0, 0.03), 49: (0.0, 0.015), 53: (0.0, 0.015),
    50: (0, 0.025), 52: (0, 0.025), 51: (0, 0.025), 57: (0, -0.02), 56: (0, -0.02), 58: (0, -0.02),
    37: (0, 0.025), 38: (0, 0.015), 43: (0, 0.015), 44: (0, 0.025), 36: (0, 0.025), 45: (0, 0.025),
    18: (0, 0.04), 25: (0, 0.04), 17: (0.01, 0.06), 26: (0.01, 0.06), 19: (0, 0.02), 24: (0, 0.02),
    30: (0, 0.05), 33: (0, 0.04), 31: (0.03, 0.02), 35: (0.03, 0.02),
}  # fmt: skip


def aging(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Make the face older."""
    greying = float(rng.uniform(0.75, 1.0))
    hair = hair_mask(portrait)  # before anything moves
    points, moves = _sag(portrait, strength)
    flow = dense_flow(points, moves, 0.8 * portrait.unit, portrait.height, portrait.width)
    warped, mask = apply_flow(portrait.image, flow)
    canvas.paint(warped, mask)
    if hair.any():
        hair = cv2.remap(hair, *_grid(flow), cv2.INTER_LINEAR)
        _grey(portrait, canvas, hair, strength * greying, rng)
    old = Portrait(np.clip(canvas.image, 0, 1), portrait.points + _moved(portrait, strength))
    skin = skin_mask(old, top=-1.3) * (1 - hair)
    _coarsen(old, canvas, skin, strength)
    _crease(old, canvas, skin, strength, rng)
    _discolour(old, canvas, skin, strength, rng)
    _grey_brows(old, canvas, strength * greying)


def _grid(flow: Array) -> tuple[Array, Array]:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x + flow[..., 0], y + flow[..., 1]


def _sag_face(portrait: Portrait, strength: float) -> tuple[list[int], Array]:
    face = portrait.frame.to_face(portrait.points)
    index = list(_SAG)
    side = np.sign(face[index, 0] - face[30, 0])
    table = np.array([_SAG[i] for i in index])
    return index, strength * np.stack([side * table[:, 0], table[:, 1]], -1)


def _moved(portrait: Portrait, strength: float) -> Array:
    index, moves = _sag_face(portrait, strength)
    shift = np.zeros_like(portrait.points)
    shift[index] = moves @ (np.vstack([portrait.frame.right, portrait.frame.down]) * portrait.unit)
    return shift


def _sag(portrait: Portrait, strength: float) -> tuple[Array, Array]:
    face = portrait.frame.to_face(portrait.points)
    index, moves = _sag_face(portrait, strength)
    rim = face[[1, 3, 5, 7, 8, 9, 11, 13, 15]]
    outward = rim - face[30]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    fixed = np.vstack([face[[0, 1, 8, 15, 16, 27, 39, 42]], rim + 0.4 * outward])
    turn = np.vstack([portrait.frame.right, portrait.frame.down]) * portrait.unit
    points = portrait.frame.to_picture(np.vstack([face[index], fixed]))
    return points, np.vstack([moves, np.zeros_like(fixed)]) @ turn


def _coarsen(old: Portrait, canvas: Canvas, skin: Array, strength: float) -> None:
    """Amplify the skin's own relief at three scales."""
    grey = cv2.cvtColor(old.image, cv2.COLOR_RGB2GRAY)
    levels = [grey] + [old.blur(grey, sigma) for sigma in (0.02, 0.05, 0.11)]
    relief = sum(
        gain * np.clip(a - b, -0.08, 0.08)
        for a, b, gain in zip(levels[:-1], levels[1:], (0.7, 1.0, 0.55), strict=True)
    )
    canvas.shade(1 + strength * skin * relief / np.maximum(levels[2], 0.12) * 0.9)


def _crease(old: Portrait, canvas: Canvas, skin: Array, strength: float, rng: np.random.Generator) -> None:
    """Draw the lines of age, deepest where the face moves most."""
    face = old.frame.to_face(old.points)
    blur = sharpness_sigma(old.image) / old.unit
    shading = np.zeros_like(skin)
    for line, width, depth in face_lines(face, rng):
        shading += crease(old, old.frame.to_picture(line), max(width, 0.8 * blur), depth)
    # creases are never even
    uneven = 1 + 0.25 * np.clip(cloud(rng, old.height, old.width, 0.15 * old.unit), -2, 2)
    fine = _fine_lines(old, rng)
    x, y = old.grid
    hollow = np.zeros_like(x)
    for eye, corner, side in ((41, 48, -1), (46, 54, 1)):
        spot = 0.45 * face[eye] + 0.55 * face[corner] + [side * 0.26, 0.08]
        hollow += 0.13 * np.exp(-(((x - spot[0]) / 0.17) ** 2 + ((y - spot[1]) / 0.26) ** 2))
        bag = face[eye] + [side * 0.02, 0.14]
        hollow += 0.08 * np.exp(-(((x - bag[0]) / 0.22) ** 2 + ((y - bag[1]) / 0.09) ** 2))
    deep = 1.25 * strength**0.9
    canvas.shade(1 + skin * (deep * np.clip(shading * uneven, -0.5, 0.25) + strength * (fine - hollow)))


def _fine_lines(old: Portrait, rng: np.random.Generator) -> Array:
    """Crepe: stretched noise [H, W], across on the forehead and under the eyes, slanting on the cheeks."""
    x, y = old.grid
    noise = cloud(rng, old.height, old.width, 0.035 * old.unit, 2)
    flat = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.10 * old.unit, sigmaY=max(0.3, 0.008 * old.unit))
    steep = cv2.GaussianBlur(noise, (0, 0), sigmaX=max(0.3, 0.008 * old.unit), sigmaY=0.07 * old.unit)
    across = np.exp(-((y + 0.5) ** 2) / 0.3) + 0.6 * np.exp(
        -((np.abs(x) - 0.5) ** 2 + (y - 0.25) ** 2) / 0.05
    )
    along = np.exp(-((np.abs(x) - 0.75) ** 2) / 0.12 - ((y - 0.9) ** 2) / 0.4)
    return np.asarray(0.07 * np.clip(across, 0, 1) * flat / max(float(flat.std()), 1e-3) * 0.5
                      + 0.07 * along * steep / max(float(steep.std()), 1e-3) * 0.5, np.float32)  # fmt: skip


def _discolour(old: Portrait, canvas: Canvas, skin: Array, strength: float, rng: np.random.Generator) -> None:
    """Sallow, blotchy, with spots: relative to this skin's own colour, dark or bright."""
    image = canvas.image
    grey = image.mean(-1, keepdims=True)
    tone = skin_tone(old)
    sallow = tone / max(float(tone.mean()), 1e-3) * np.array([0.99, 1.01, 0.95], np.float32)
    blotch = cloud(rng, old.height, old.width, 0.22 * old.unit, 3)
    faded = image + 0.25 * (grey * sallow - image)
    faded = faded * (1 + blotch[..., None] * np.array([0.012, 0.025, 0.028], np.float32))
    canvas.paint(faded, 0.9 * strength * skin)
    shade = np.array([0.16, 0.24, 0.28], np.float32)
    canvas.shade(1 - strength * (skin * _spots(old, rng))[..., None] * shade)


def _spots(old: Portrait, rng: np.random.Generator) -> Array:
    """Age spots at temples and cheeks [H, W] 0..1."""
    middle = float(old.frame.to_face(old.points)[27, 0])
    spots = np.zeros((old.height, old.width), np.float32)
    for _ in range(rng.integers(14, 30)):
        place = [middle + rng.choice([-1, 1]) * rng.uniform(0.45, 1.0), rng.uniform(-0.9, 0.9)]
        centre = old.frame.to_picture(np.array([place]))[0]
        size, flat = rng.uniform(0.012, 0.035) * old.unit, rng.uniform(0.7, 1.3)
        depth = rng.uniform(0.3, 1.0)
        x0, y0 = (max(0, int(v - 3 * size - 1)) for v in centre)
        x1, y1 = (max(0, int(v + 3 * size + 2)) for v in centre)
        y, x = np.ogrid[y0 : min(y1, old.height), x0 : min(x1, old.width)]
        bump = np.exp(-(((((x - centre[0]) * flat) ** 2 + (y - centre[1]) ** 2) / size**2) ** 1.5))
        patch = spots[y0:y1, x0:x1]
        np.maximum(patch, depth * bump, out=patch)
    return spots


def _grey(portrait: Portrait, canvas: Canvas, hair: Array, amount: float, rng: np.random.Generator) -> None:
    """Salt and pepper, then grey: single strands first, temples before the crown."""
    lab = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB)
    fine = lab[..., 0] - portrait.blur(lab[..., 0], 0.06)
    sure = hair > 0.8
    strands = fine / max(float(fine[sure].std()) if sure.any() else 1.0, 0.5)
    strands = np.clip(strands, -2, 2) + 0.4 * cloud(rng, portrait.height, portrait.width, 0.3 * portrait.unit)
    x, y = portrait.grid
    temples = 0.3 * smoothstep(np.abs(x), 0.5, 1.1) * smoothstep(y, -1.4, -0.6)
    share = smoothstep(1.35 * amount + temples + 0.16 * strands, 0.1, 1.35) * float(
        smoothstep(amount, 0, 0.3)
    )
    old = float(np.median(lab[..., 0][sure])) if sure.any() else 40.0
    lightness = min(0.55 * old + rng.uniform(34, 42), 74.0)  # black hair turns to iron, blond to silver
    colour_hair(canvas, hair, (lightness, 0.0, float(rng.uniform(1, 3))), share)


def _grey_brows(old: Portrait, canvas: Canvas, amount: float) -> None:
    grey = cv2.cvtColor(np.clip(canvas.image, 0, 1), cv2.COLOR_RGB2GRAY)
    tone = float(skin_tone(old).mean())
    dark = smoothstep(old.blur(grey, 0.008) / max(tone, 0.05), 0.85, 0.55)
    for brow in (old.points[17:22], old.points[22:27]):
        up = old.frame.down * 0.07 * old.unit
        band = old.polygon(np.vstack([brow - up, (brow + 1.1 * up)[::-1]]), 0.025)
        lift = np.minimum(0.62 * tone / np.maximum(grey, 0.04), 3.0)
        light = np.clip(grey * (1 + 0.75 * (lift - 1)), 0, 1)[..., None]
        canvas.paint(light * np.array([1.0, 0.98, 0.95], np.float32), 0.75 * amount * band * dark)
