"""Skin of synthetic people: statistics learned from photos (`learn_skin`) and people drawn from them
(`sample_skin`).

    photos → landmarks → fit → unwrap → delight → aggregate → skin.npz → sample

Only the last step is needed to draw faces; the first five need scipy and onnxruntime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fstriplets.synth.skin.learn import learn_skin
    from fstriplets.synth.skin.sample import SkinSample, sample_skin, smile_folds, without_stubble
    from fstriplets.synth.skin.statistics import SkinStatistics, load_skin, shipped_skin

__all__ = [
    "SkinSample",
    "SkinStatistics",
    "learn_skin",
    "load_skin",
    "sample_skin",
    "shipped_skin",
    "smile_folds",
    "without_stubble",
]

_HOME = {
    "SkinSample": "sample",
    "SkinStatistics": "statistics",
    "learn_skin": "learn",
    "load_skin": "statistics",
    "sample_skin": "sample",
    "shipped_skin": "statistics",
    "smile_folds": "sample",
    "without_stubble": "sample",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
