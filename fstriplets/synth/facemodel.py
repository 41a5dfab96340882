"""The statistical 3D face model every synthetic person is made from.

The model is ICT-FaceKit light (Li et al. 2020, "Learning Formation of Physically-Based Face
Attributes", MIT licence): one neutral mesh with eyes, teeth and gums, 100 identity modes of unit
variance and 53 expression shapes. It is not shipped; `fstriplets synth import-face-model` reads a
clone of the public repository (OBJ files) or an .npz made from one, and keeps one .npz in the
user's data folder.

Frame of the model: x to the viewer's right, y up, z out of the face; one unit is about 0.9 cm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fstriplets.errors import UserError

__all__ = ["KEYS", "FaceModel", "load_face_model", "model_path"]

KEYS = (
    "neutral",
    "identity",
    "expression",
    "expression_names",
    "faces",
    "uv",
    "uv_faces",
    "material",
    "materials",
    "landmarks68",
)


@dataclass(frozen=True, eq=False)
class FaceModel:
    """The face model as it lies on disk.

    Attributes:
        neutral: [V, 3] float32 vertices.
        identity: [100, V, 3] float32 offsets, one unit-variance mode each.
        expression: [53, V, 3] float32 offsets of a full-strength action.
        expression_names: the actions' names, left and right apart (`_L`, `_R`).
        faces: [F, 3] int32 triangles.
        uv: [U, 2] float32 texture coordinates; the integer part is the tile of the material.
        uv_faces: [F, 3] int32 indices into `uv`.
        material: [F] index into `materials`.
        materials: names such as `M_Face`.
        landmarks68: [68] int32 vertex indices, Multi-PIE order.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    material: np.ndarray
    materials: tuple[str, ...]
    landmarks68: np.ndarray


def model_path() -> Path:
    """Where the imported model lies: $FSTRIPLETS_FACE_MODEL, else the user's data folder."""
    chosen = os.environ.get("FSTRIPLETS_FACE_MODEL")
    return Path(chosen) if chosen else Path.home() / ".cache" / "fstriplets" / "face_model.npz"


def load_face_model(path: str | Path | None = None) -> FaceModel:
    """The imported face model, read once a process.

    Args:
        path: an .npz written by `synth import-face-model`; None means `model_path()`.

    Raises:
        UserError: no model was imported, or the file is not one.
    """
    return _load(str(Path(path) if path else model_path()))


@lru_cache(maxsize=2)
def _load(path: str) -> FaceModel:
    if not Path(path).is_file():
        raise UserError(
            f"no face model at {path}: clone https://github.com/USC-ICT/ICT-FaceKit and run "
            "`fstriplets synth import-face-model PATH_OF_THE_CLONE` (or set FSTRIPLETS_FACE_MODEL)"
        )
    with np.load(path) as data:
        missing = [k for k in KEYS if k not in data]
        if missing:
            raise UserError(f"{path} is not a face model: it lacks {', '.join(missing)}")
        arrays = {k: data[k] for k in KEYS}
    return from_arrays(arrays)


def from_arrays(arrays: dict[str, np.ndarray]) -> FaceModel:
    """A FaceModel from the arrays of an .npz (see FaceModel for the keys and shapes)."""
    floats = {k: arrays[k].astype(np.float32) for k in ("neutral", "identity", "expression", "uv")}
    ints = {k: arrays[k].astype(np.int32) for k in ("faces", "uv_faces", "material", "landmarks68")}
    names = {k: tuple(str(n) for n in arrays[k]) for k in ("expression_names", "materials")}
    return FaceModel(**floats, **ints, **names)  # type: ignore[arg-type]
