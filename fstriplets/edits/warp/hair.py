"""Hair: another natural colour, and a fringe of strands in the hair's own colour.

The seed draws which: a new colour, a fringe, or both. Strength is how much of the colour has taken, and
how dense the fringe is.
"""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import curve, smoothstep
from fstriplets.edits.warp.hair_mask import hair_mask
from fstriplets.edits.warp.parse import face_outline
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.texture import draw_strands, sharpness_sigma
from fstriplets.errors import PhotoRejected

__all__ = ["colour_hair", "find_hair", "hair"]

Array = np.ndarray

#: Natural hair: Lab of its middle tone in daylight.
_COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (13, 0.5, 0.5),
    "dark brown": (23, 5, 8),
    "brown": (35, 8, 15),
    "auburn": (33, 16, 17),
    "copper": (45, 18, 26),
    "dark blond": (53, 5, 20),
    "blond": (67, 3, 23),
    "grey": (58, 0, 2),
}
#: A new colour is at least this far (Lab) from the old one, and no further in lightness.
_NEW, _REACH = 16.0, 29.0


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
        raise PhotoRejected(
            "no_hair", "no hair over the forehead: bald, a hat, or not to be told from what is behind"
        )
    return mask


def _middle(image: Array, mask: Array) -> Array:
    """Lab of the hair's middle tone [3]."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    return np.asarray(np.median(lab[mask > 0.7], axis=0) if (mask > 0.7).any() else lab.mean((0, 1)))


def _new_colour(portrait: Portrait, mask: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    old = _middle(portrait.image, mask)
    table = np.array(list(_COLOURS.values()))
    away = np.linalg.norm(table - old, axis=1)
    fits = (away > _NEW) & (np.abs(table[:, 0] - old[0]) < _REACH)
    choices = np.flatnonzero(fits) if fits.any() else np.array([int(away.argmax())])
    lightness, a, b = table[choices[rng.integers(len(choices))]]
    return lightness * rng.uniform(0.92, 1.08), a * rng.uniform(0.85, 1.15), b


def colour_hair(
    canvas: Canvas, mask: Array, target: tuple[float, float, float], strength: float | Array
) -> None:
    """Move hair towards a colour, keeping its strands.

    Pixels are moved, not replaced: at the edge, where hair is mixed with skin or background, the share
    that is hair moves and the rest stays.

    Args:
        canvas: painted on.
        mask: [H, W] in 0..1.
        target: Lab of the middle tone.
        strength: 0..1, a number or [H, W].
    """
    lab = cv2.cvtColor(np.clip(canvas.image, 0, 1), cv2.COLOR_RGB2LAB)
    old = _middle(canvas.image, mask)
    sure = mask > 0.9
    low, high = np.quantile(lab[..., 0][sure], [0.02, 0.97]) if sure.any() else (0.0, 100.0)
    # strands of dark hair differ little: give them the relief that the lighter colour shows
    gain = float(np.clip((target[0] + 14) / (old[0] + 14), 0.6, 2.4)) ** 0.75
    relief = np.clip(lab[..., 0], low, high) - old[0]
    extra = (gain - 1) * relief * smoothstep(mask, 0.7, 1.0)
    lightness = lab[..., 0] + mask * (target[0] - old[0] + np.clip(extra, -26, 18))
    # no pixel gets brighter than the new hair's highlights, unless it was: edges must not glow
    ceiling = target[0] + min(gain * (high - old[0]), 18 + high - old[0])
    lightness = np.minimum(lightness, np.maximum(lab[..., 0], ceiling))
    lightness = np.where(lightness > 82, 82 + 15 * np.tanh((lightness - 82) / 15), np.maximum(lightness, 1.5))
    depth = np.clip((lightness - 4) / max(target[0], 8), 0.2, 1.1)  # shadows have less colour
    new = np.stack(
        [
            lightness,
            lab[..., 1] + mask * (target[1] * depth - 0.75 * lab[..., 1] - 0.25 * old[1]),
            lab[..., 2] + mask * (target[2] * depth - 0.75 * lab[..., 2] - 0.25 * old[2]),
        ],
        -1,
    )
    new = cv2.cvtColor(new.astype(np.float32), cv2.COLOR_LAB2RGB)
    canvas.paint(new, np.minimum(1, mask * 50) * strength)


def _fringe(
    portrait: Portrait, canvas: Canvas, mask: Array, strength: float, rng: np.random.Generator
) -> None:
    """Locks of strands from above the hairline to the brows, in the colour the hair now has."""
    hairline = _hairline(portrait, mask)
    lines, widths, shades = _strands(portrait, hairline, rng)
    count = int(len(lines) * (0.12 + 0.88 * strength**1.3))  # the same strands, more and more of them
    sigma = sharpness_sigma(portrait.image)
    cover, shade = draw_strands(
        lines[:count], widths[:count], shades[:count], portrait.height, portrait.width, sigma
    )
    # strands come out of the hair: they show little by little below their roots
    rooted = smoothstep(portrait.blur(mask, 0.07), 1.0, 0.55)
    head = np.maximum(mask, portrait.polygon(face_outline(portrait, float(hairline[1].min()) - 0.03), 0.02))
    _lay(portrait, canvas, mask, cover * rooted * head, shade, float(smoothstep(strength, 0, 0.2)))


def _strands(
    portrait: Portrait, hairline: tuple[Array, Array], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """All strands of a full fringe in drawing order: lines [N, 8, 2], widths [N], shades [N, 8]."""
    roots_x, roots_y = hairline
    face = portrait.frame.to_face(portrait.points)
    count, steps = 900, 8
    x = rng.uniform(roots_x[0], roots_x[-1], count)
    lock = np.round(x / 0.10 + rng.normal(0, 0.35, count)).astype(int) % 64
    lean, reach, tone = rng.normal(0, 0.09, 64), rng.uniform(0.80, 1.0, 64), rng.normal(0, 0.09, 64)
    sweep = rng.uniform(-0.25, 0.25)
    root = np.interp(x, roots_x, roots_y) - rng.uniform(0.10, 0.30, count)
    tip = root + (np.interp(x, face[17:27, 0], face[17:27, 1]) + 0.03 - root) * np.clip(
        reach[lock] * rng.uniform(0.82, 1.04, count), 0.2, 1.06
    )
    t = np.linspace(0, 1, steps)
    centre = np.array([x[lock == k].mean() if (lock == k).any() else 0.0 for k in range(64)])[lock]
    gather = 0.55 * (centre - x)[:, None] * t**1.5  # the strands of a lock end in one point
    drift = ((sweep + lean[lock] + rng.normal(0, 0.02, count)) * (tip - root) / 0.55)[:, None] * t**1.6
    lines_x = x[:, None] + gather + drift + rng.normal(0, 0.008, (count, 1)) * np.sin(np.pi * t)
    lines_y = root[:, None] + (tip - root)[:, None] * t
    points = portrait.frame.to_picture(np.stack([lines_x, lines_y], -1).reshape(-1, 2))
    light = 0.55 + tone[lock][:, None] + rng.normal(0, 0.13, (count, 1))
    light = light + 0.20 * np.exp(-(((t - 0.4 - lean[lock][:, None]) / 0.22) ** 2)) - 0.04 * t**3
    widths = rng.uniform(0.005, 0.013, count) * portrait.unit
    return points.reshape(count, steps, 2), widths, np.clip(light, 0.03, 0.97)


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
    middle = float(np.median(line))
    line = np.clip(line, middle - 0.22, middle + 0.35)  # a hole in the mask is no hairline
    return xs, curve(np.stack([xs[::4], line[::4]], -1), 25)[:, 1]


def _lay(portrait: Portrait, canvas: Canvas, mask: Array, cover: Array, shade: Array, opacity: float) -> None:
    """Put strands on the canvas: shadow first, then hair in tones of the hair there is."""
    weight = mask**4
    near = portrait.blur(weight, 0.3)[..., None]
    around = portrait.blur(np.clip(canvas.image, 0, 1) * weight[..., None], 0.3) / np.maximum(near, 1e-4)
    sure = mask > 0.7
    overall = canvas.image[sure].mean(0) if sure.any() else around.mean((0, 1))
    trust = smoothstep(near, 0.002, 0.05)
    local = overall + trust * (around - overall)  # the hair above, or all of it where there is none near
    colour = local * (0.48 + 1.0 * np.clip(shade, 0, 1))[..., None]
    skin = np.clip(1 - mask, 0, 1)
    canvas.shade(1 - 0.28 * opacity * skin * np.clip(portrait.blur(cover, 0.05) - 0.2 * cover, 0, 1))
    # where strands are dense no skin shines through them
    dense = smoothstep(portrait.blur(cover, 0.02), 0.35, 0.8)
    canvas.paint(0.75 * local, 0.7 * dense * opacity)
    canvas.paint(colour, cover * opacity)
