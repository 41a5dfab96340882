"""Photos to aligned, judged faces: detect, align, look, embed, check the identity."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fstriplets.cv import require_cv2

_PUBLIC = {
    "DETECTORS": "detectors",
    "EMBEDDERS": "embed",
    "FaceStage": "stage",
    "IdentityLimits": "limits",
    "LANDMARKERS": "landmarks",
    "POSE_ESTIMATORS": "pose",
    "TEMPLATES": "templates",
    "five_points": "landmarks",
    "similarity": "align",
    "template_points": "templates",
    "warp": "align",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        if name != "TEMPLATES":
            require_cv2()  # a worker too says in one line what a bare server lacks
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
