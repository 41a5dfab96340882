"""What is known about people's skin, as aggregates: means, components, spreads and correlations.

The file holds no texture and no coefficient of any person. All maps are left–right symmetric or
antisymmetric, so only the left half is kept. Its size is a few megabytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fstriplets.errors import UserError

__all__ = ["SkinStatistics", "load_skin", "shipped_skin"]

FloatArray = npt.NDArray[np.floating[Any]]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class SkinStatistics:
    """Statistics of a group of people's skin, in the 512 x 512 UV layout of the face model.

    Colours are *ratios*: gamma-encoded RGB over the person's plain skin colour. T is 512, H is 256 (half
    width). The joint distribution is Gaussian over named variables: `tone`, `tint_r`, `tint_b` (plain skin
    colour), `even_k`, `odd_k` (component weights), `fine`, `coarse` (log detail amplitudes), `brow_r/g/b`
    (log brow colour) and `shape_k` (identity modes of the face model).
    """

    mean: npt.NDArray[np.uint16]  #: [T, H, 3] left half of the mean ratio, 65535 = 1.6
    even: npt.NDArray[np.int8]  #: [K, 256, 128, 3] symmetric components, left half
    even_scale: FloatArray  #: [K] ratio of int8 1 at one standard deviation
    odd: npt.NDArray[np.int8]  #: [J, 256, 128, 3] antisymmetric components, left half
    odd_scale: FloatArray  #: [J]
    names: npt.NDArray[np.str_]  #: [D] names of the joint variables
    correlation: FloatArray  #: [D, D] shrunk correlations
    tone_knots: FloatArray  #: [7] luminance of the plain skin (gamma) at standard normal -1.5 … 1.5
    tint: FloatArray  #: [2, 4] mean and spread of log r/g and log b/g, then their slope and curvature in tone
    detail: FloatArray  #: [2, 2] mean and spread of `fine` and `coarse`
    brow: FloatArray  #: [3, 2] mean and spread of log linear brow colour over skin colour
    band_std: (
        FloatArray  #: [L, 2, 64, 32] local deviation of each pyramid level and colour direction, left half
    )
    band_colour: FloatArray  #: [L, 3, 2] the two colour directions of each level
    band_quantiles: (
        FloatArray  #: [L, 2, 33] marginal of normalised coefficients at equal steps of probability
    )
    smile: FloatArray  #: [256, 128] log darkening of a full smile's folds, left half
    people: int  #: how many people were learned from
    credit: str  #: whose photos, and their licence

    def save(self, path: Path) -> None:
        """Write the file, compressed."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        arrays["format"] = np.asarray(_FORMAT)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @property
    def modes(self) -> int:
        """How many identity modes of the face model are part of the joint distribution."""
        return sum(str(name).startswith("shape_") for name in self.names)


def load_skin(path: str | Path) -> SkinStatistics:
    """Read a file written by `fstriplets synth learn-skin`.

    Raises:
        UserError: the file is missing or is not one.
    """
    return _load(str(path))


def shipped_skin() -> SkinStatistics:
    """The statistics that people are drawn from: $FSTRIPLETS_SKIN, else those that come with fstriplets.

    Read once a process. Another file gives other people for the same seeds.
    """
    own = os.environ.get("FSTRIPLETS_SKIN")
    return _load(own or str(Path(__file__).resolve().parents[1] / "data" / "skin.npz"))


@lru_cache(maxsize=4)
def _load(path: str) -> SkinStatistics:
    hint = "write one with `fstriplets synth learn-skin PHOTOS --output skin.npz`"
    if not Path(path).is_file():
        raise UserError(f"no skin statistics at {path}: {hint}")
    with np.load(path) as data:
        if "format" not in data or int(data["format"]) != _FORMAT:
            raise UserError(f"{path} is not a skin statistics file of this version: {hint}")
        values: dict[str, Any] = {field.name: data[field.name] for field in fields(SkinStatistics)}
    values["people"], values["credit"] = int(values["people"]), str(values["credit"])
    return SkinStatistics(**values)
