"""Scores of what edits change: how old, chubby, bearded, bespectacled, grinning a face looks, 0..1.

The names are those of the edits, so that the gates of edits/accept.py can ask whether an edit did what it
should. How far each score can be trusted on real photos is measured in docs/faces.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.models.weights import installed
from fstriplets.registry import Registry

__all__ = ["ATTRIBUTE_SCORERS", "SCORES", "BundledScorer", "Scorer", "load_scorer"]

#: Score -> outputs of the face analyser whose mean it is.
SCORES: dict[str, tuple[str, ...]] = {
    "aging": ("age",),
    "chubbiness": ("chubbiness",),
    "beard": ("beard",),
    "glasses": ("glasses",),
    "sunglasses": ("sunglasses",),
    "grin": ("smile",),
    "hair_bald": ("bald",),
    "hair_fringe": ("fringe",),
    "hair_cut": ("hair_cut",),
    "hair_grey": ("grey_hair",),
}


class Scorer(Protocol):
    """An attribute scorer that a pipeline can name; edits.accept.AttributeScorer with a fingerprint.

    Attributes:
        name, fingerprint, weights: as of detectors.
    """

    name: str
    fingerprint: str
    weights: dict[str, str]

    def __call__(
        self, crops: npt.NDArray[np.uint8], landmarks: npt.NDArray[Any]
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Crops uint8 [B, S, S, 3], landmarks [B, 5|68, 2] → score name -> [B] in 0..1."""
        ...


ATTRIBUTE_SCORERS: Registry[Callable[[PipelineConfig], Scorer]] = Registry(
    "attribute scorer",
    {"bundled": "fstriplets.faces.attributes:BundledScorer"},
    group="fstriplets.attribute_scorers",
)


def load_scorer(config: PipelineConfig) -> Scorer | None:
    """The scorer of `config.attribute_scorer`; `auto` is bundled; None for `none`."""
    name = config.attribute_scorer
    if name == "auto":
        name = "bundled" if installed("face_analyser") else "none"
    return None if name == "none" else ATTRIBUTE_SCORERS.get(name)(config)


class BundledScorer:
    """Scores of the face analyser, face by face."""

    name = "bundled"

    def __init__(self, config: PipelineConfig | None = None) -> None:
        from fstriplets.faces.analyser import shared_analyser

        self._analyser = shared_analyser()
        self.weights = dict(self._analyser.weights)
        self.fingerprint = f"scores-1:{self._analyser.fingerprint}"

    def __call__(
        self, crops: npt.NDArray[np.uint8], landmarks: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Name of SCORES -> [B]."""
        readings = [self._analyser.read(crop, p) for crop, p in zip(crops, landmarks, strict=True)]
        return {
            name: np.array(
                [np.mean([reading.attributes[part] for part in parts]) for reading in readings], np.float32
            )
            for name, parts in SCORES.items()
        }
