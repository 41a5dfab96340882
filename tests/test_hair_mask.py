"""Where the `warp` editor finds hair: against the truth of synthetic faces, and what must be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_pairs import demo_photos

from fstriplets.edits import load_editor
from fstriplets.edits.stage import to_tensor
from fstriplets.edits.warp.hair_mask import hair_mask
from fstriplets.edits.warp.portrait import Portrait
from fstriplets.faces.align import similarity, transform_points, warp
from fstriplets.faces.analyser import shared_analyser
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.training.augment import hat

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 256


def _aligned(pixels: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `ffhq` crop, its 68 points, and the matrix that made it."""
    matrix = similarity(five_points(landmarks), template_points("ffhq", SIZE))
    return warp(pixels, matrix, SIZE), transform_points(landmarks, matrix).astype(np.float32), matrix


@pytest.fixture(scope="module")
def faces() -> list[tuple[np.ndarray, np.ndarray]]:
    """One crop of each of the demo's people, with its points."""
    people = {name: (pixels, landmarks) for name, pixels, landmarks in demo_photos()}
    return [_aligned(*photo)[:2] for photo in people.values()]


def _mask(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    return hair_mask(Portrait(crop.astype(np.float32) / 255, points))


def _reason(crop: np.ndarray, points: np.ndarray) -> str:
    """Why the editor refuses an edit of the hair, or nothing."""
    result = load_editor("warp").edit(
        to_tensor([crop]), "hair", torch.tensor([0.9]), torch.tensor([5]),
        landmarks=torch.from_numpy(points[None]),
    )  # fmt: skip
    return result.rejected[0].reason if result.rejected else ""


@pytest.mark.real
@pytest.mark.slow
def test_the_mask_is_the_hair_of_the_truth(shared_data: Path) -> None:
    pytest.importorskip("numba")
    from fstriplets.synth import LABELS, Studio

    studio = Studio(shared_data / "face_model" / "ict_facekit_light.npz", keep=2)
    shares = []
    for seed, style in ((1, "bob"), (4, "crop"), (6, "tied"), (11, "long"), (5, "bald")):
        person = studio.person(40 + seed)
        person = replace(person, hair=replace(person.hair, name=style, thin=0.0, loss=0.0), grey=0.1)
        photo = studio.photo(person, studio.scene(70 + seed, max_yaw=15), SIZE)
        crop, points, matrix = _aligned(photo.pixels, photo.truth.landmarks68)
        mask = _mask(crop, points) > 0.5
        if style == "bald":
            assert not mask.any()
            assert _reason(crop, points) == "no_hair"
            continue
        hair = (photo.truth.labels == LABELS.index("hair")).astype(np.float32)
        truth = cv2.warpAffine(hair, matrix, (SIZE, SIZE)) > 0.5
        shares.append((mask & truth).sum() / (mask | truth).sum())
    assert min(shares) > 0.7, shares  # locks of fair hair before a wall of its colour
    assert np.mean(shares) > 0.82, shares


def test_most_heads_have_hair_and_a_cap_on_it_is_refused(faces) -> None:
    worn = [(crop, points) for crop, points in faces if _mask(crop, points).any()]
    assert len(worn) >= 0.7 * len(faces)
    rng = np.random.default_rng(4)
    capped = [(hat(crop, points, rng)[0], points) for crop, points in worn]
    reasons = [_reason(crop, points) for crop, points in capped]
    assert reasons.count("no_hair") >= 0.8 * len(reasons)


def test_a_face_is_looked_at_once_for_all_its_edits(faces, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    analyser = shared_analyser()
    look = analyser._look
    monkeypatch.setattr(analyser, "_look", lambda *args: looks.append(1) or look(*args))
    crop, points = faces[0]
    crop = crop.copy()
    crop[:4] = 77  # nobody has seen this one
    for edit in ("hair", "aging", "beard"):
        load_editor("warp").edit(
            to_tensor([crop]), edit, torch.tensor([0.9]), torch.tensor([5]),
            landmarks=torch.from_numpy(points[None]),
        )  # fmt: skip
    assert len(looks) == 1


def test_the_parsers_weights_are_on_every_row() -> None:
    editor = load_editor("warp")
    (record,) = editor.weights
    assert record.sha256[:16] in editor.fingerprint
    assert record.licence == "Apache-2.0"
