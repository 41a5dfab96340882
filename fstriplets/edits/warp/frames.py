"""Shapes and colours of spectacle frames, in face units: 1 = distance of the pupils.

Sizes follow what opticians sell: lenses 44-56 mm wide, bridges 14-20 mm, for pupils 62 mm apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["FrameStyle", "draw_style", "lens_outline"]

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class FrameStyle:
    """One pair of glasses."""

    width: float  #: half width of a lens
    height: float  #: half height of a lens
    power: float  #: exponent of the superellipse: 2 round, 5 nearly a rectangle
    taper: float  #: > 0: narrower at the bottom
    lift: float  #: > 0: outer corner raised (cat eye)
    drop: float  #: > 0: inner lower part cut away, outer lower part full (aviator)
    thickness: float  #: of the rim
    colour: tuple[float, float, float]  #: RGB 0..1
    mottle: float  #: strength of a tortoiseshell pattern
    gloss: float  #: how much light the rim throws back
    tint: tuple[float, float, float]  #: colour of dark lenses
    fade: float  #: how much lighter dark lenses get towards the bottom


#: name: width, height, power, taper, lift, drop, thickness
_SHAPES = {
    "round": (0.37, 0.36, 2.1, 0.00, 0.00, 0.00, 0.030),
    "oval": (0.40, 0.30, 2.3, 0.00, 0.01, 0.00, 0.026),
    "rectangle": (0.42, 0.26, 4.5, 0.04, 0.01, 0.00, 0.045),
    "square": (0.41, 0.33, 3.6, 0.08, 0.02, 0.00, 0.050),
    "wayfarer": (0.42, 0.33, 3.2, 0.15, 0.05, 0.00, 0.062),
    "cat eye": (0.41, 0.29, 2.7, 0.10, 0.11, 0.00, 0.048),
    "aviator": (0.44, 0.38, 2.6, 0.04, 0.02, 0.10, 0.022),
}
_CLEAR = ("round", "oval", "rectangle", "square", "wayfarer", "cat eye")
_DARK = ("round", "rectangle", "square", "wayfarer", "cat eye", "aviator")
_ACETATE = [
    ((0.045, 0.042, 0.045), 0.0), ((0.16, 0.09, 0.05), 0.75), ((0.07, 0.08, 0.13), 0.0),
    ((0.20, 0.06, 0.06), 0.2), ((0.12, 0.11, 0.11), 0.0), ((0.24, 0.15, 0.09), 0.6),
]  # fmt: skip
_METAL = [((0.50, 0.42, 0.28), 0.0), ((0.45, 0.45, 0.47), 0.0), ((0.16, 0.16, 0.18), 0.0)]
_TINTS = [(0.035, 0.035, 0.04), (0.08, 0.05, 0.03), (0.03, 0.05, 0.045), (0.05, 0.045, 0.06)]


def draw_style(rng: np.random.Generator, dark: bool) -> FrameStyle:
    """A random style; `dark`: sunglasses, which are larger."""
    names = _DARK if dark else _CLEAR
    width, height, power, taper, lift, drop, thickness = _SHAPES[names[rng.integers(len(names))]]
    size = rng.uniform(0.97, 1.05) * (1.06 if dark else 1.0)
    metal = thickness < 0.035
    palette = _METAL if metal else _ACETATE
    colour, mottle = palette[rng.integers(len(palette))]
    return FrameStyle(
        width=width * size,
        height=height * size * rng.uniform(0.95, 1.05) * (1.06 if dark else 1.0),
        power=power,
        taper=taper,
        lift=lift,
        drop=drop,
        thickness=thickness * rng.uniform(0.9, 1.2),
        colour=colour,
        mottle=mottle,
        gloss=1.0 if metal else 0.45,
        tint=_TINTS[rng.integers(len(_TINTS))],
        fade=rng.uniform(0.0, 0.5),
    )


def lens_outline(style: FrameStyle, grow: float, samples: int = 96) -> Array:
    """Outline of the lens on the viewer's right, about its own centre, grown by `grow` on all sides.

    Returns:
        [samples, 2] x (outward), y (down), face units.
    """
    angle = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    x = style.width * np.sign(c) * np.abs(c) ** (2 / style.power)
    y = style.height * np.sign(s) * np.abs(s) ** (2 / style.power)
    low = y / style.height  # -1 top, 1 bottom
    x = x * (1 - style.taper * low)
    y = y - style.lift * np.clip(x / style.width, -0.3, 1) * (1 - 0.5 * low)
    inner = np.clip(-x / style.width, 0, 1)
    y = y - style.drop * inner * np.clip(low, 0, 1) * 2.2
    x = x + style.drop * np.clip(low, 0, 1) * 0.5
    outline = np.stack([x, y], -1)
    if grow:
        tangent = np.roll(outline, -1, 0) - np.roll(outline, 1, 0)
        normal = np.stack([tangent[:, 1], -tangent[:, 0]], -1)
        outline = outline + grow * normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return outline
