"""Glasses and sunglasses: modelled in 3D, projected with the head's pose, drawn with anti-aliasing.

The frame is a thin wrapped sheet in front of the eyes with temples that run back to the ears; what the
head hides is not drawn. It throws a soft shadow, its rim catches light from above, and it is as sharp
as the photo it is put on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from fstriplets.edits.warp.frames import FrameStyle, draw_style, lens_outline
from fstriplets.edits.warp.geometry import smoothstep
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.texture import cloud, sharpness_sigma

__all__ = ["glasses", "sunglasses"]

Array = np.ndarray

#: Height of the lens centre below the pupils, and its distance from the middle; face units.
_LENS_Y, _LENS_X = 0.07, 0.535
#: Where temples end: above the ear.
_EAR = (1.16, -0.02, -1.15)


@dataclass(slots=True)
class _Layers:
    """Coverage [H, W] in 0..1."""

    rim: Array
    lens: Array
    temple: Array


def glasses(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Spectacles with clear lenses; strength: from faint wire to a full, heavy frame."""
    style = draw_style(rng, dark=False)
    _wear(portrait, canvas, style, strength, rng, dark=False)


def sunglasses(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Sunglasses; strength: from faint to opaque lenses."""
    style = draw_style(rng, dark=True)
    _wear(portrait, canvas, style, strength, rng, dark=True)


def _wear(
    portrait: Portrait,
    canvas: Canvas,
    style: FrameStyle,
    strength: float,
    rng: np.random.Generator,
    dark: bool,
) -> None:
    layers = _rasterise(portrait, style, 0.7 + 0.5 * strength)
    present = float(smoothstep(strength, 0.0, 0.35))
    light = _light(portrait)
    solid = np.maximum(layers.rim, layers.temple)
    _shadow(portrait, canvas, np.maximum(solid, layers.lens * (0.6 if dark else 0.04)), present)
    if dark:
        _dark_lens(portrait, canvas, layers.lens, style, light, (0.45 + 0.5 * strength) * present)
    else:
        canvas.paint(np.array([0.86, 0.92, 0.95], np.float32) * light, layers.lens * 0.05 * present)
    _reflection(portrait, canvas, layers.lens, light, (0.22 if dark else 0.13) * present, rng)
    canvas.paint(_rim_colour(portrait, style, solid, light, rng), solid * present)


def _light(portrait: Portrait) -> Array:
    """[3] colour of white in this light: the brighter skin, with half its hue taken out."""
    points = portrait.points
    cheek = portrait.polygon(points[[2, 4, 48, 31, 39, 36]])[..., None]
    cheek += portrait.polygon(points[[14, 12, 54, 35, 42, 45]])[..., None]
    mean = (portrait.image * cheek).sum((0, 1)) / max(float(cheek.sum()), 1e-6)
    luma = float(mean.mean())
    return np.asarray(
        np.clip(0.45 + 0.6 * luma, 0.3, 1.0) * (0.85 + 0.15 * mean / max(luma, 1e-3)), np.float32
    )


def _rasterise(portrait: Portrait, style: FrameStyle, weight: float) -> _Layers:
    """Project the frame and draw it several times too large, then average down."""
    factor = 4 if portrait.width <= 384 else 2
    size = (portrait.width * factor, portrait.height * factor)
    place = _Placement(portrait, factor)
    rim = np.zeros(size[::-1], np.uint8)
    lens, temple = rim.copy(), rim.copy()
    half = style.thickness * weight / 2
    centres = {}
    for side in (-1, 1):
        outer, inner = lens_outline(style, 2 * half), lens_outline(style, 0.0)
        _fill(rim, place(_sheet(outer, side)), 255)
        _fill(rim, place(_sheet(inner, side)), 0)
        _fill(lens, place(_sheet(inner, side)), 255)
        centres[side] = outer
        _temple(temple, place, style, side, half)
    _bridge(rim, place, style, half)
    sigma = sharpness_sigma(portrait.image)
    return _Layers(*(_shrink(layer, portrait, sigma) for layer in (rim, lens, temple)))


class _Placement:
    """3D frame coordinates → pixels of the large canvas, centred on this person's own eyes."""

    def __init__(self, portrait: Portrait, factor: int) -> None:
        self._pose, self._factor = portrait.pose, factor
        self.unit = portrait.unit * factor  #: pixels of the large canvas in a face unit
        eyes = np.array([[-0.5, 0.0, -0.05], [0.5, 0.0, -0.05]])
        seen = self._pose.project(eyes)
        real = np.stack([portrait.points[36:42].mean(0), portrait.points[42:48].mean(0)])
        self._offset = (real - seen).mean(0)

    def __call__(self, points: Array) -> Array:
        """[N, 3] → [N, 2]."""
        return np.asarray((self._pose.project(points) + self._offset + 0.5) * self._factor - 0.5)


def _sheet(outline: Array, side: int) -> Array:
    """Outline about a lens centre → 3D points on the wrapped front of the frame."""
    x = (outline[:, 0] + _LENS_X) * side
    y = outline[:, 1] + _LENS_Y
    return np.stack([x, y, 0.24 - 0.20 * x * x - 0.10 * y], -1)


def _bridge(rim: Array, place: _Placement, style: FrameStyle, half: float) -> None:
    """The arch over the nose, between the inner edges of the rims."""
    # it ends inside the rims, at a height where they are near each other
    reach = _LENS_X - style.width * 0.985
    x = np.linspace(-reach, reach, 21)
    arch = 1 - (x / reach) ** 2
    y = _LENS_Y - 0.30 * style.height - 0.06 * arch
    z = 0.24 + 0.04 * arch
    width = max(half * 1.05, 0.012) * (1.0 + 0.5 * (1 - arch))
    top, low = np.stack([x, y - width, z], -1), np.stack([x, y + width, z], -1)
    _fill(rim, place(np.vstack([top, low[::-1]])), 255)


def _temple(layer: Array, place: _Placement, style: FrameStyle, side: int, half: float) -> None:
    """The arm on one side, where the head does not hide it."""
    hinge = np.array([(_LENS_X + style.width + half) * side, _LENS_Y - 0.12 - style.lift, 0.0])
    hinge[2] = 0.24 - 0.20 * hinge[0] ** 2
    ear = np.array([_EAR[0] * side, _EAR[1], _EAR[2]])
    ends = place(np.stack([hinge, ear]))
    nose = place(np.array([[0.0, 0.0, 0.2]]))[0]
    outward = (ends[0] - nose) / max(np.linalg.norm(ends[0] - nose), 1e-6)
    # seen from the front it is behind the rim; seen from the other side behind the head
    shown = float(smoothstep((ends[1] - ends[0]) @ outward / place.unit, 0.10, 0.24))
    if shown == 0:
        return
    width = max(half * 1.2, 0.016)
    steps = np.linspace(0, 1, 12)
    for a, b in pairwise(steps):
        quad = []
        for t, sign in ((a, -1), (b, -1), (b, 1), (a, 1)):
            point = hinge + (ear - hinge) * t
            point[1] += sign * width * (1 - 0.3 * t)
            quad.append(point)
        # hair and the ear take over towards the end
        _fill(layer, place(np.array(quad)), int(255 * shown * float(smoothstep(a, 1.0, 0.72))))


def _fill(layer: Array, points: Array, value: int) -> None:
    cv2.fillPoly(layer, [np.round(points * 16).astype(np.int32)], value, cv2.LINE_AA, 4)


def _shrink(layer: Array, portrait: Portrait, sigma: float) -> Array:
    small = cv2.resize(layer, (portrait.width, portrait.height), interpolation=cv2.INTER_AREA)
    mask = small.astype(np.float32) / 255
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma)) if sigma > 0.3 else mask


def _shadow(portrait: Portrait, canvas: Canvas, cover: Array, present: float) -> None:
    """Light from above: the shadow lies a little below, on the skin only near the frame."""
    shift = 0.07 * portrait.unit * portrait.frame.down
    moved = cv2.warpAffine(
        cover, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64), (portrait.width, portrait.height)
    )
    soft = portrait.blur(moved, 0.045)
    skin = portrait.polygon(
        np.vstack([portrait.points[:17], portrait.frame.to_picture(np.array([[1.1, -0.7], [-1.1, -0.7]]))]),
        0.02,
    )
    tone = np.array([0.30, 0.36, 0.40], np.float32)  # skin in shadow turns warmer
    canvas.shade(1 - (soft * skin * present)[..., None] * tone)


def _dark_lens(
    portrait: Portrait, canvas: Canvas, lens: Array, style: FrameStyle, light: Array, opacity: float
) -> None:
    _, y = portrait.grid
    down = np.clip((y - _LENS_Y + style.height) / (2 * style.height), 0, 1)
    alpha = lens * opacity * (1 - 0.45 * style.fade * down)
    sky = np.array([0.16, 0.18, 0.20], np.float32) * (1 - down)[..., None] ** 2
    canvas.paint((np.array(style.tint, np.float32) + sky) * light, alpha)


def _reflection(
    portrait: Portrait, canvas: Canvas, lens: Array, light: Array, opacity: float, rng: np.random.Generator
) -> None:
    """A soft slanting band of light on each lens, at the same place of both."""
    x, y = portrait.grid
    slant, start, width = rng.uniform(0.3, 0.8), rng.uniform(-0.3, 0.05), rng.uniform(0.10, 0.2)
    along = np.where(x < 0, x + _LENS_X, x - _LENS_X) + slant * (y - _LENS_Y) - start
    band = smoothstep(np.abs(along), width, width * 0.3) * smoothstep(y, 0.35, -0.25)
    canvas.paint(np.minimum(light * 1.1, 1), portrait.blur(band, 0.02) * lens * opacity)


def _rim_colour(
    portrait: Portrait, style: FrameStyle, solid: Array, light: Array, rng: np.random.Generator
) -> Array:
    """The frame's colour with a bevel: edges that face up catch the light."""
    colour = np.broadcast_to(np.array(style.colour, np.float32), (*solid.shape, 3))
    if style.mottle:
        spots = cloud(rng, portrait.height, portrait.width, 0.09 * portrait.unit)
        amber = np.array([0.42, 0.24, 0.09], np.float32)
        share = style.mottle * smoothstep(spots, 0.4, 1.4)
        colour = colour + share[..., None] * (amber - colour)
    height = portrait.blur(solid, 0.012)
    down = portrait.frame.down
    slope = cv2.Sobel(height, cv2.CV_32F, 0, 1) * down[1] + cv2.Sobel(height, cv2.CV_32F, 1, 0) * down[0]
    bevel = np.clip(slope * 0.02 * portrait.unit, -0.6, 1.0)
    shine = style.gloss * np.clip(bevel, 0, 1)[..., None] * 0.55
    return np.asarray((colour * (1 + np.minimum(bevel, 0)[..., None] * 0.5) + shine) * light, np.float32)
