"""Beard: from stubble to a full beard, hair by hair, in the colour of brows or hair."""

from __future__ import annotations

import numpy as np

from fstriplets.edits.warp.geometry import curve, smoothstep
from fstriplets.edits.warp.hair_mask import hair_mask
from fstriplets.edits.warp.parse import skin_mask, skin_tone
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.texture import cloud, draw_strands, sharpness_sigma

__all__ = ["beard"]

Array = np.ndarray


def beard(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Grow a beard: strength is length and density."""
    colour = _colour(portrait)
    area = _area(portrait, rng)
    uneven = np.clip(1 + 0.18 * cloud(rng, portrait.height, portrait.width, 0.12 * portrait.unit), 0.5, 1.4)
    tone = skin_tone(portrait)
    # roots under the skin darken it before any hair is seen
    under = colour + 0.35 * (tone - colour)
    soft = portrait.blur(area, 0.02)
    canvas.paint(
        under, np.clip(soft * uneven, 0, 1) * (0.16 + 0.55 * strength) * float(smoothstep(strength, 0, 0.3))
    )
    lines, shades = _hairs(portrait, area, strength, rng)
    if len(lines):
        widths = rng.uniform(0.005, 0.011, len(lines)) * portrait.unit * (0.8 + 0.4 * strength)
        # single hairs are finer than a pixel: what shows is their soft texture
        sigma = max(sharpness_sigma(portrait.image), 0.010 * portrait.unit, 0.45)
        cover, shade = draw_strands(lines, widths, shades, portrait.height, portrait.width, sigma)
        level = np.clip(shade, 0, 1)[..., None]
        dark, bright = colour * 0.62, colour * 1.75 + 0.09 * tone
        opacity = (0.42 + 0.38 * strength) * float(smoothstep(strength, 0, 0.25))
        canvas.paint(dark + (bright - dark) * level, cover * opacity)


def _colour(portrait: Portrait) -> Array:
    """[3] RGB: the hair's dark tones, or those of the brows."""
    hair = hair_mask(portrait) > 0.7
    if hair.sum() > 50:
        colour = np.quantile(portrait.image[hair], 0.35, axis=0)
    else:
        brows = portrait.polygon(portrait.points[17:22]) + portrait.polygon(portrait.points[22:27]) > 0.5
        pixels = portrait.image[brows] if brows.any() else portrait.image.reshape(-1, 3)
        colour = np.quantile(pixels, 0.2, axis=0)
    limit = 0.6 * float(skin_tone(portrait).mean())  # blond beards are darker than blond hair
    return np.asarray(colour * min(1.0, limit / max(float(colour.mean()), 1e-3)), np.float32)


def _area(portrait: Portrait, rng: np.random.Generator) -> Array:
    """Where it grows [H, W] 0..1: jaw, chin and upper lip, soft towards the cheeks."""
    points, face = portrait.points, portrait.frame.to_face(portrait.points)
    cheek = rng.uniform(0.30, 0.5)
    left = [face[1], face[2] * [0.93, 1], face[3] + (face[48] - face[3]) * (cheek * 0.75)]
    right = [face[13] + (face[54] - face[13]) * (cheek * 0.75), face[14] * [0.93, 1], face[15]]
    upper = [face[48] + [-0.10, -0.12], face[31] + [-0.06, 0.10], face[33] + [0, 0.06],
             face[35] + [0.06, 0.10], face[54] + [0.10, -0.12]]  # fmt: skip
    top = curve(np.array([*left, *upper, *right]), 60)
    jaw = face[15:0:-1].copy()
    middle = face[30]
    jaw = middle + (jaw - middle) * 1.03
    outline = portrait.frame.to_picture(np.vstack([top, curve(jaw, 60)]))
    area = portrait.polygon(outline, 0.07)
    high = 1 - smoothstep(portrait.grid[1], 0.75, 1.05)  # sideburns stay on the skin
    area *= 1 - high * (1 - skin_mask(portrait))
    lips = points[48:60]
    area *= 1 - portrait.polygon(curve(lips.mean(0) + 1.06 * (lips - lips.mean(0)), 60, closed=True), 0.012)
    x, y = portrait.grid
    bare = face[57] + [0, 0.10]  # beside the tuft below the lip little grows
    for side in (-1, 1):
        gap = np.exp(-(((x - bare[0] - side * 0.20) / 0.10) ** 2 + ((y - bare[1]) / 0.07) ** 2))
        area *= 1 - 0.55 * gap
    return np.asarray(area, np.float32)


def _hairs(portrait: Portrait, area: Array, strength: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Hairs that follow the jaw: down on the cheeks, out and down on the chin → lines, shades."""
    density = 3200 + 2800 * strength
    ys, xs = np.nonzero(area > 0.12)
    count = min(len(ys), int(density * len(ys) / (1.6 * portrait.unit**2)))
    if count == 0:
        return np.zeros((0, 4, 2)), np.zeros((0, 4))
    pick = rng.integers(len(ys), size=count)
    keep = rng.uniform(0, 1, count) < area[ys[pick], xs[pick]] * (0.5 + 0.5 * strength)
    pick = pick[keep]
    roots = np.stack([xs[pick], ys[pick]], -1) + rng.uniform(-0.5, 0.5, (len(pick), 2))
    face = portrait.frame.to_face(roots)
    middle = portrait.frame.to_face(portrait.points[[8, 33]])
    across = (face[:, 0] - middle[:, 0].mean()) * 0.7
    angle = (
        rng.normal(0, 0.35, len(pick)) + rng.normal(0, 0.25, 40)[(np.abs(face[:, 0]) * 20).astype(int) % 40]
    )
    direction = np.stack([across + np.sin(angle), np.cos(angle)], -1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = (0.012 + 0.085 * strength**1.3) * rng.uniform(0.6, 1.3, len(pick))
    t = np.linspace(0, 1, 3)[None, :, None]
    bend = rng.normal(0, 0.25, (len(pick), 1, 1)) * np.stack([-direction[:, 1], direction[:, 0]], -1)[:, None]
    curved = face[:, None] + length[:, None, None] * (t * direction[:, None] + t**2 * bend)
    lines = portrait.frame.to_picture(curved.reshape(-1, 2)).reshape(-1, 3, 2)
    order = np.argsort(face[:, 1])
    shades = np.clip(rng.normal(0.40, 0.2, (len(pick), 1)) + np.array([[-0.1, 0.0, 0.1]]), 0.02, 0.98)
    return lines[order], shades[order]
