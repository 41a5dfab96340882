"""The shape of a person's brows: height, arch, tilt, extent and thickness, from the identity seed.

Brows are what a recogniser holds on to first: with everybody's brows on the same line, people who share
nothing else look related to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fstriplets.synth.mesh import Mesh
    from fstriplets.synth.person import Person

__all__ = ["BrowShape", "brow_line", "draw_brow_shape", "paint_brows"]


class BrowShape(NamedTuple):
    """Along a brow, t is 0 at its usual inner end and 1 at its usual outer end; lengths in model units."""

    lift: float  #: above the usual line
    arch: float  #: height of the bend
    peak: float  #: where the bend is, t
    tilt: float  #: rise from the inner to the outer end
    inner: float  #: first t, negative grows towards the nose
    outer: float  #: last t
    thickness: float  #: factor on the width
    taper: float  #: 0 even, 1 thin at the temple
    length: float  #: factor on the hairs
    slant: float  #: how upright the hairs are, added to their slope

    def centre(self, t: np.ndarray) -> np.ndarray:
        """Height above the usual line at `t`."""
        bend = np.interp(t, [-0.2, self.peak, 1.15], [0.0, 1.0, -0.15])
        smooth = bend * bend * (3 - 2 * np.abs(bend)) * np.sign(bend)
        return np.asarray(self.lift + self.arch * smooth + self.tilt * (t - 0.5))

    def half_width(self, t: np.ndarray, density: float) -> np.ndarray:
        """Half the brow's width at `t`, for a density in 0..1."""
        span = (t - self.inner) / (self.outer - self.inner)
        end = 0.78 - 0.48 * self.taper
        profile = np.interp(span, [0, 0.12, 0.5, 1.0], [0.55, 1.0, 0.9 - 0.2 * self.taper, end])
        return np.asarray((0.29 + 0.27 * density) * self.thickness * profile)


def draw_brow_shape(seed: int) -> BrowShape:
    """The brows of an identity seed."""
    rng = np.random.default_rng([seed, 22])
    return BrowShape(
        lift=float(rng.uniform(-0.37, 0.33)),
        arch=float(rng.uniform(-0.19, 0.34)),
        peak=float(rng.uniform(0.4, 0.74)),
        tilt=float(rng.uniform(-0.23, 0.33)),
        inner=float(rng.uniform(-0.22, 0.24)),
        outer=float(rng.uniform(0.63, 1.17)),
        thickness=float(np.exp(rng.uniform(-0.69, 0.81))),
        taper=float(rng.uniform(0.0, 1.0)),
        length=float(np.exp(rng.uniform(-0.45, 0.32))),
        slant=float(rng.uniform(-0.43, 0.58)),
    )


def brow_line(mesh: Mesh, t: np.ndarray, sign: float) -> np.ndarray:
    """Points [N, 3] of the usual line of the left (-1) or right (1) brow, a third of a unit under the
    landmarks, which lie on the upper edge; goes on straight beyond both ends."""
    points = mesh.neutral[mesh.landmarks]
    line = points[[21, 20, 19, 18, 17]] if sign < 0 else points[[22, 23, 24, 25, 26]]
    k = np.clip((t * 4).astype(int), 0, 3)
    f = (t * 4 - k)[:, None]
    return np.asarray(line[k] * (1 - f) + line[k + 1] * f - [0, 0.33, 0])


def paint_brows(albedo: np.ndarray, mesh: Mesh, person: Person) -> np.ndarray:
    """Tint the skin under the brow hairs, so that a brow is a shape and not a row of lines.

    Args:
        albedo: [512, 512, 3] linear.
    """
    shape = draw_brow_shape(person.seed)
    p = mesh.position
    x, y = np.abs(p[..., 0]), p[..., 1]
    steps = np.linspace(-0.3, 1.2, 61)
    line = brow_line(mesh, steps, 1.0)
    t = np.interp(x, line[:, 0], steps)
    middle = np.interp(t, steps, line[:, 1]) + shape.centre(t)
    off = (y - middle) / np.maximum(shape.half_width(t, person.brow), 0.05)
    ends = np.clip((t - shape.inner) / 0.12, 0, 1) * np.clip((shape.outer - t) / 0.2, 0, 1)
    body = np.clip(1.25 - np.abs(off), 0, 1) * ends * mesh.inside * (p[..., 2] > 4)
    cover = ((0.15 + 0.42 * person.brow) * body)[..., None].astype(np.float32)
    return np.asarray(albedo * (1 - cover) + cover * (0.8 * person.brow_colour + 0.12 * albedo), np.float32)
