"""Finish of a person: colours of eyes and teeth, size of the iris, oiliness of the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Finish", "draw_finish"]

#: Number of the random stream.
_STREAM = 24
#: Linear RGB of the sclera of light and of dark people, and of young teeth.
_SCLERA_FAIR, _SCLERA_DARK = np.array([0.43, 0.405, 0.39]), np.array([0.35, 0.31, 0.27])
_TEETH = np.array([0.60, 0.545, 0.45])
#: Log change of linear RGB for one unit of yellow.
_YELLOW = np.array([0.0, -0.065, -0.20])
#: The iris is that much larger or smaller than usual at most.
_IRIS_RANGE = 0.06


@dataclass(frozen=True)
class Finish:
    """What is small, shows in every photo of somebody, and no edit changes.

    Attributes:
        white: brightness of the sclera, about 1; yellow: of it, log; pink: redness of its vessels, 0..1.
        iris: factor on the size of the iris, 0.94..1.06; ring: darkness of its rim, 0..1.
        tear: brightness of the wet line along the lower lid, 0..1.
        enamel: brightness of the teeth, about 1; stain: their yellow, log.
        oil: factor on the gloss of the skin, about 1.
    """

    white: float
    yellow: float
    pink: float
    iris: float
    ring: float
    tear: float
    enamel: float
    stain: float
    oil: float

    def sclera(self, tone: float, age: float) -> np.ndarray:
        """[3] linear RGB of the sclera at a skin tone (reflectance) and an age in years."""
        fair = float(np.clip((tone - 0.08) / 0.2, 0, 1))
        plain = _SCLERA_DARK + (_SCLERA_FAIR - _SCLERA_DARK) * fair
        return np.asarray(self.white * plain * np.exp((self.yellow + _years(age)) * _YELLOW))

    def teeth(self, age: float) -> np.ndarray:
        """[3] linear RGB of the teeth at an age in years."""
        stain = self.stain + 1.3 * _years(age)
        return np.asarray(self.enamel * _TEETH * np.exp(stain * _YELLOW - 0.10 * _years(age)))


def draw_finish(seed: int) -> Finish:
    """The finish of an identity seed."""
    rng = np.random.default_rng([seed, _STREAM])
    return Finish(
        white=float(np.exp(np.clip(rng.normal(0, 0.10), -0.25, 0.13))),
        yellow=float(np.clip(rng.normal(0.25, 0.35), -0.15, 0.9)),
        pink=float(rng.beta(1.6, 3.0)),
        iris=float(1 + np.clip(rng.normal(0, 0.03), -_IRIS_RANGE, _IRIS_RANGE)),
        ring=float(rng.uniform(0.25, 1.0)),
        tear=float(rng.uniform(0.2, 1.0)),
        enamel=float(np.exp(np.clip(rng.normal(0, 0.09), -0.25, 0.15))),
        stain=float(np.clip(rng.normal(0.1, 0.5), -0.4, 1.3)),
        oil=float(np.exp(np.clip(rng.normal(0, 0.28), -0.6, 0.5))),
    )


def _years(age: float) -> float:
    """0 at 30 years and before, 1 at 80."""
    return float(np.clip((age - 30) / 50, 0, 1))
