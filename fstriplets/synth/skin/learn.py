"""`fstriplets synth learn-skin`: from photos of people to statistics of skin that name nobody.

Photos lie in one folder a person; one is neutral (`neutral.*`, else the first by name), one may be
smiling (`smiling.*`). They should be frontal, sharp and taken in one studio under one light.

Textures of people exist in memory only; `aggregate.py` says what of them reaches the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.errors import CorpusError, PhotoRejected
from fstriplets.synth.facemodel import FaceModel
from fstriplets.synth.skin.aggregate import SIZE, Studied, statistics_of
from fstriplets.synth.skin.delight import Regions, reflectance, studio_light, trust
from fstriplets.synth.skin.fit import expression_basis, fit_person
from fstriplets.synth.skin.landmarks import MESH_TO_68, PhotoLandmarks
from fstriplets.synth.skin.statistics import SkinStatistics
from fstriplets.synth.skin.unwrap import Atlas, Unwrapped, align_layout, mesh_in_layout, unwrap

__all__ = ["learn_skin", "study"]

FloatArray = npt.NDArray[np.floating[Any]]

_FEWEST = 20  # people; below this the statistics would describe individuals


def learn_skin(
    photos: Path,
    output: Path,
    *,
    model: FaceModel,
    detector: Path,
    mesh: Path,
    credit: str,
    progress: Callable[[int, int], None] | None = None,
) -> SkinStatistics:
    """Learn skin statistics from a folder of people and write them to `output`.

    Args:
        photos: one folder a person, see the module's text.
        output: the .npz to write.
        model: the face model.
        detector: YuNet ONNX file.
        mesh: MediaPipe 468 landmark ONNX file.
        credit: whose photos these are and under which licence; kept in the file.
        progress: called with people done and their number.

    Raises:
        CorpusError: fewer than 20 people could be used.
    """
    people = study(photos, model=model, detector=detector, mesh=mesh, progress=progress)
    statistics = statistics_of(people, Atlas(model, SIZE), credit)
    statistics.save(output)
    return statistics


def study(
    photos: Path,
    *,
    model: FaceModel,
    detector: Path,
    mesh: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Studied]:
    """Fit, unwrap, align and de-light every person's photos."""
    atlas, finder, basis = Atlas(model, SIZE), PhotoLandmarks(detector, mesh), expression_basis(model)
    people = sorted(folder for folder in photos.iterdir() if folder.is_dir()) if photos.is_dir() else []
    unwrapped: list[tuple[FloatArray, list[Unwrapped], list[FloatArray]]] = []
    for i, folder in enumerate(people):
        if progress:
            progress(i, len(people))
        try:
            unwrapped.append(_unwrap_person(model, atlas, finder, basis, folder))
        except PhotoRejected:
            continue
    if len(unwrapped) < _FEWEST:
        raise CorpusError(
            f"{photos}: only {len(unwrapped)} people could be used, {_FEWEST} are needed; "
            "expected one folder a person, each with neutral.jpg and, if there is one, smiling.jpg"
        )
    if progress:
        progress(len(people), len(people))
    return _remove_light(atlas, unwrapped)


def _unwrap_person(
    model: FaceModel, atlas: Atlas, finder: PhotoLandmarks, basis: FloatArray, folder: Path
) -> tuple[FloatArray, list[Unwrapped], list[FloatArray]]:
    """Identity, textures and mesh points in the layout of one person's neutral and (if any) smiling photo."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    neutral = next((p for p in files if p.stem == "neutral"), files[0] if files else None)
    if neutral is None:
        raise PhotoRejected("no_photo", f"{folder} has no photos")
    smiling = next((p for p in files if p.stem == "smiling"), None)
    photos = [_read(path) for path in (neutral, smiling) if path is not None]
    meshes = [finder(photo) for photo in photos]
    marks = [points[MESH_TO_68] for points in meshes]
    fit = fit_person(model, marks, basis, resting=[True, False][: len(photos)])
    textures, found = [], []
    for photo, mark, points, one in zip(photos, marks, meshes, fit.photos, strict=True):
        texture, place = unwrap(model, atlas, photo, one, mark)
        textures.append(texture)
        found.append(mesh_in_layout(atlas, place, texture.normal, points))
    return fit.identity, textures, found


def _remove_light(
    atlas: Atlas, unwrapped: Sequence[tuple[FloatArray, list[Unwrapped], list[FloatArray]]]
) -> list[Studied]:
    regions = Regions.of(atlas)
    found = np.stack([points for _, _, each in unwrapped for points in each])
    average = np.where(np.isfinite(found).sum(0) > len(found) * 0.4, np.nanmedian(found, 0), np.nan)
    average[MESH_TO_68[17:]] = atlas.landmarks[17:]  # these have a vertex of their own
    aligned = [
        [
            Unwrapped(np.clip(align_layout(t.colour, f, average), 0, 1), t.normal)
            for t, f in zip(textures, each, strict=True)
        ]
        for _, textures, each in unwrapped
    ]
    weights = [[trust(texture, regions) for texture in textures] for textures in aligned]
    light = studio_light([t[0] for t in aligned], [w[0] for w in weights], regions)
    people = []
    for (identity, _, _), textures, weight in zip(unwrapped, aligned, weights, strict=True):
        each = [reflectance(t, w, light, regions) for t, w in zip(textures, weight, strict=True)]
        people.append(Studied(identity, each[0], each[1] if len(each) > 1 else None))
    return people


def _read(path: Path) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path))
    if image is None:
        raise PhotoRejected("unreadable", f"{path} is not a photo")
    return np.ascontiguousarray(image[..., ::-1])
