"""A studio that draws at once, without a face model: a disc of the person's colour on the scene's noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import MEAN_68

#: Of the disc, as a share of the picture's side.
RADIUS = 0.18


class FlatStudio:
    """Stands in for fstriplets.synth.Studio."""

    def person(self, seed: int) -> SimpleNamespace:
        return SimpleNamespace(seed=seed)

    def scene(self, seed: int, max_yaw: float = 60.0) -> SimpleNamespace:
        return SimpleNamespace(seed=seed)

    def photo(self, person: SimpleNamespace, scene: SimpleNamespace, size: int) -> SimpleNamespace:
        return _drawn(person.seed, scene.seed, size)

    def swapped(
        self, source: SimpleNamespace, target: SimpleNamespace, scene: SimpleNamespace, size: int
    ) -> SimpleNamespace:
        return _drawn(source.seed, scene.seed, size)


def _drawn(person: int, scene: int, size: int) -> SimpleNamespace:
    rng = np.random.default_rng([scene, 1])
    coarse = rng.integers(40, 216, (8, 8, 3)).astype(np.uint8)
    pixels = np.kron(coarse, np.ones((-(-size // 8), -(-size // 8), 1), np.uint8))[:size, :size].copy()
    shift = rng.uniform(-0.03, 0.03, 2)
    points = ((np.array(MEAN_68) - 0.5) * 0.8 + 0.5 + shift) * size - 0.5
    y, x = np.mgrid[:size, :size]
    middle = points.mean(0)
    face = np.hypot(x - middle[0], y - middle[1]) < RADIUS * size
    pixels[face] = np.random.default_rng([person, 2]).integers(30, 226, 3)
    truth = SimpleNamespace(
        landmarks68=points.astype(np.float32),
        landmarks5=five_points(points).astype(np.float32),
        pose=(1.0, 2.0, 3.0),
        box=(0.0, 0.0, float(size), float(size)),
        attributes={"age": 40.0},
    )
    return SimpleNamespace(pixels=pixels, truth=truth)
