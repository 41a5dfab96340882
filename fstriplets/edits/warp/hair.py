"""Hair: another natural colour, and a fringe of strands in the hair's own colour.

The seed draws which: a new colour, a fringe, or both. Strength is how much of the colour has taken, and
how dense the fringe is.
"""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import curve, smoothstep
from fstriplets.edits.warp.parse import hair_mask
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.texture import cloud, draw_strands, sharpness_sigma
from fstriplets.errors import PhotoRejected

__all__ = ["colour_hair", "find_hair", "hair"]

Array = np.ndarray

#: Natural hair: Lab of its middle tone in daylight, and how much its highlights stand out.
_COLOURS: dict[str, tuple[float, float, float, float]] = {
    "black": (14, 0.5, 0.5, 0.85),
    "dark brown": (24, 6, 9, 0.9),
    "brown": (36, 9, 16, 1.0),
    "auburn": (34, 20, 22, 1.0),
    "copper": (46, 24, 33, 1.05),
    "dark blond": (54, 6, 22, 1.1),
    "blond": (68, 4, 26, 1.15),
    "grey": (62, 0, 2, 1.1),
}
#: A new colour is at least this far (Lab) from the old one.
_NEW = 18.0


def hair(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Recolour the hair, let a fringe fall over the forehead, or both."""
    mask = find_hair(portrait)
    style = rng.choice(["colour", "fringe", "both"], p=[0.5, 0.25, 0.25])
    target = _new_colour(portrait, mask, rng)
    if style != "fringe":
        colour_hair(canvas, mask, target, strength)
    if style != "colour":
        _fringe(portrait, canvas, mask, strength, rng)


def find_hair(portrait: Portrait) -> Array:
    """The hair mask [H, W]. Raises PhotoRejected `no_hair` when there is none to be found."""
    mask = hair_mask(portrait)
    if not mask.any():
        raise PhotoRejected("no_hair", "no hair that can be told from skin and background")
    return mask


def _middle(image: Array, mask: Array) -> Array:
    """Lab of the hair's middle tone [3]."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    return np.asarray(np.median(lab[mask > 0.7], axis=0) if (mask > 0.7).any() else lab.mean((0, 1)))


def _new_colour(portrait: Portrait, mask: Array, rng: np.random.Generator) -> tuple[float, float, float, float]:
    old = _middle(portrait.image, mask)
    names = [n for n, c in _COLOURS.items() if np.linalg.norm(np.array(c[:3]) - old) > _NEW]
    lightness, a, b, contrast = _COLOURS[names[rng.integers(len(names))]]
    return lightness * rng.uniform(0.92, 1.08), a * rng.uniform(0.85, 1.15), b, contrast


def colour_hair(
    canvas: Canvas, mask: Array, target: tuple[float, float, float, float], strength: float | Array
) -> None:
    """Move hair towards a colour, keeping its strands.

    Args:
        canvas: painted on.
        mask: [H, W] in 0..1.
        target: Lab of the middle tone, and the contrast of the strands.
        strength: 0..1, a number or [H, W].
    """
    lab = cv2.cvtColor(np.clip(canvas.image, 0, 1), cv2.COLOR_RGB2LAB)
    old = _middle(canvas.image, mask)
    lightness, a, b, contrast = target
    # strands of dark hair differ little: give them the relief that the lighter colour shows
    gain = contrast * np.clip((lightness + 12) / (old[0] + 12), 0.55, 2.0) ** 0.8
    relief = (lab[..., 0] - old[0]) * gain
    relief = np.where(relief > 0, 30 * np.tanh(relief / 30), 34 * np.tanh(relief / 34))
    new_l = np.clip(lightness + relief, 2, 97)
    chroma = np.clip(new_l / max(lightness, 1), 0.25, 1.15)  # shadows and highlights have less of it
    own = 0.25  # a little of the hair's own variety stays
    new = np.stack(
        [new_l, a * chroma + own * (lab[..., 1] - old[1]), b * chroma + own * (lab[..., 2] - old[2])], -1
    )
    canvas.paint(cv2.cvtColor(new.astype(np.float32), cv2.COLOR_LAB2RGB), mask * strength)


def _fringe(
    portrait: Portrait, canvas: Canvas, mask: Array, strength: float, rng: np.random.Generator
) -> None:
    """Strands from the hairline over the forehead, in the colour the hair now has."""
    roots_x, roots_y = _hairline(portrait, mask)
    face = portrait.frame.to_face(portrait.points)
    brow_x, brow_y = face[17:27, 0], face[17:27, 1]
    count = int(130 + 330 * strength)
    x = np.interp(rng.uniform(0, 1, count), np.linspace(0, 1, len(roots_x)), roots_x)
    order = np.argsort(rng.uniform(0, 1, count))
    x = x[order]
    root = np.interp(x, roots_x, roots_y) - rng.uniform(0.06, 0.22, count)
    # locks: neighbours bend alike and end alike
    lock = np.round(x / 0.11 + rng.normal(0, 0.3, count)).astype(int)
    lean, reach = rng.normal(0, 0.07, 64), rng.uniform(0.78, 1.02, 64)
    sweep = rng.uniform(-0.22, 0.22)
    length = (0.55 + 0.45 * strength) * reach[lock % 64] * rng.uniform(0.86, 1.05, count)
    tip = root + (np.interp(x, brow_x, brow_y) + 0.02 - root) * np.clip(length, 0.2, 1.05)
    drift = (sweep + lean[lock % 64] + rng.normal(0, 0.025, count)) * (tip - root) / 0.6
    t = np.linspace(0, 1, 7)
    lines_x = x[:, None] + drift[:, None] * t**1.7 + 0.06 * x[:, None] * np.sin(np.pi * t) * 0.6
    lines_y = root[:, None] + (tip - root)[:, None] * t
    points = portrait.frame.to_picture(np.stack([lines_x, lines_y], -1).reshape(-1, 2)).reshape(count, 7, 2)
    light = 0.5 + rng.normal(0, 0.14, (count, 1)) + 0.16 * np.exp(-(((t - 0.45) / 0.2) ** 2)) - 0.10 * t
    cover, shade = draw_strands(
        points, rng.uniform(0.012, 0.026, count) * portrait.unit, np.clip(light, 0.05, 0.95),
        portrait.height, portrait.width, sharpness_sigma(portrait.image),
    )  # fmt: skip
    _lay(portrait, canvas, mask, cover, shade, float(smoothstep(strength, 0, 0.25)))


def _hairline(portrait: Portrait, mask: Array) -> tuple[Array, Array]:
    """Lower edge of the hair above the forehead: x and y in face units, x ascending."""
    face = portrait.frame.to_face(portrait.points)
    xs = np.linspace(face[17, 0] * 0.92, face[26, 0] * 0.92, 25)
    brow = np.interp(xs, face[17:27, 0], face[17:27, 1])
    heights = np.linspace(0.12, 1.25, 80)
    ys = []
    for x, base in zip(xs, brow, strict=True):
        pixels = portrait.frame.to_picture(np.stack([np.full(80, x), base - heights], -1)).astype(int)
        inside = (pixels >= 0).all(1) & (pixels < [portrait.width, portrait.height]).all(1)
        value = np.zeros(80)
        value[inside] = mask[pixels[inside, 1], pixels[inside, 0]]
        hit = np.flatnonzero(value > 0.5)
        ys.append(base - heights[hit[0]] if len(hit) else np.nan)
    line = np.array(ys)
    known = ~np.isnan(line)
    if known.sum() < 5:
        raise PhotoRejected("no_hair", "no hairline above the forehead for a fringe")
    line = np.interp(xs, xs[known], line[known])
    return xs, curve(np.stack([xs[::4], line[::4]], -1), 25)[:, 1]


def _lay(portrait: Portrait, canvas: Canvas, mask: Array, cover: Array, shade: Array, opacity: float) -> None:
    """Put strands on the canvas: shadow first, then hair in tones of the hair there is."""
    sure = mask > 0.7
    tones = np.quantile(canvas.image[sure], [0.08, 0.5, 0.93], axis=0).astype(np.float32)
    level = np.clip(shade, 0, 1)[..., None]
    dark = tones[0] + (tones[1] - tones[0]) * np.clip(level * 2, 0, 1)
    colour = dark + (tones[2] - tones[1]) * np.clip(level * 2 - 1, 0, 1)
    skin = np.clip(1 - mask, 0, 1)
    canvas.shade(1 - 0.28 * opacity * skin * np.clip(portrait.blur(cover, 0.05) - 0.2 * cover, 0, 1))
    canvas.paint(colour, cover * opacity)
    grain = cloud(np.random.default_rng(0), portrait.height, portrait.width, 2.0, 1)
    canvas.image += (cover * opacity * 0.006)[..., None] * grain[..., None]
