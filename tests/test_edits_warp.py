"""The warp editor on a drawn face: what must hold for every edit, at every size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fstriplets.edits import load_editor
from fstriplets.edits.stage import from_tensor, to_tensor
from fstriplets.edits.warp.geometry import dense_flow, fit_pose, frame_of
from fstriplets.edits.warp.hair_mask import hair_mask
from fstriplets.edits.warp.parse import skin_mask
from fstriplets.edits.warp.portrait import Portrait
from fstriplets.faces.landmarks import template68

EDITS = ("aging", "beard", "chubbiness", "glasses", "grin", "hair", "sunglasses")
FIVE = np.array([[96, 116], [160, 116], [128, 152], [102, 182], [154, 182]], np.float64)


def landmarks(size: int = 256) -> np.ndarray:
    return ((template68(FIVE) + 0.5) * size / 256 - 0.5).astype(np.float32)


def drawn_face(
    size: int = 256, skin: tuple[int, int, int] = (205, 160, 135), hair: bool = True
) -> np.ndarray:
    """A head with hair, eyes, brows and lips on a plain background, with a little grain."""
    points = template68(FIVE)
    picture = np.full((256, 256, 3), (150, 170, 190), np.uint8)
    if hair:
        cv2.ellipse(picture, (128, 110), (84, 98), 0, 180, 360, (60, 42, 30), -1, cv2.LINE_AA)
    top = [[60, 120], [66, 82], [92, 58], [128, 52], [164, 58], [190, 82], [196, 120]]
    outline = np.vstack([points[:17], np.array(top)[::-1]]).astype(np.int32)
    cv2.fillPoly(picture, [outline], skin, cv2.LINE_AA)
    for eye in (points[36:42], points[42:48]):
        cv2.fillPoly(picture, [eye.astype(np.int32)], (235, 235, 235), cv2.LINE_AA)
        cv2.circle(picture, tuple(int(v) for v in eye.mean(0)), 5, (50, 40, 30), -1, cv2.LINE_AA)
    for brow in (points[17:22], points[22:27]):
        cv2.polylines(picture, [brow.astype(np.int32)], False, (55, 40, 30), 5, cv2.LINE_AA)
    cv2.fillPoly(picture, [points[48:60].astype(np.int32)], (170, 90, 90), cv2.LINE_AA)
    grain = np.random.default_rng(0).normal(0, 5, (256, 256, 1))
    picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if size < 256 else cv2.INTER_CUBIC)


def edit(
    name: str, strengths: list[float], seeds: list[int] | None = None, face: np.ndarray | None = None
) -> tuple[list[np.ndarray], list[np.ndarray], dict]:
    face = drawn_face() if face is None else face
    count = len(strengths)
    result = load_editor("warp").edit(
        to_tensor([face] * count),
        name,
        torch.tensor(strengths),
        torch.tensor(seeds or [3] * count),
        landmarks=torch.from_numpy(np.stack([landmarks(len(face))] * count)),
    )
    pictures = [from_tensor(image) for image in result.images]
    return pictures, [mask[0].numpy() for mask in result.mask], dict(result.rejected)


def change(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_it_does_all_edits() -> None:
    assert load_editor("warp").edits == set(EDITS)


@pytest.mark.parametrize("name", EDITS)
def test_strength_zero_is_the_face_itself_and_more_is_more(name: str) -> None:
    face = drawn_face()
    pictures, masks, rejected = edit(name, [0.0, 0.05, 0.4, 0.7, 1.0])
    assert not rejected
    assert np.array_equal(pictures[0], face)
    assert not masks[0].any()
    changes = [change(face, picture) for picture in pictures]
    assert changes[1] < 0.35 * changes[4]  # it starts gently
    assert changes == sorted(changes)
    assert changes[4] > 0.8


@pytest.mark.parametrize("name", EDITS)
def test_outside_the_mask_pixels_are_the_photos_own(name: str) -> None:
    face = drawn_face()
    (picture,), (mask,), _ = edit(name, [1.0])
    assert np.array_equal(picture[mask == 0], face[mask == 0])
    assert mask.min() >= 0
    assert mask.max() <= 1
    corners = np.concatenate([mask[-8:, :8].ravel(), mask[-8:, -8:].ravel()])
    assert not corners.any()  # nothing reaches the far corners


@pytest.mark.parametrize("name", EDITS)
def test_same_seed_same_picture_whatever_the_batch(name: str) -> None:
    together, _, _ = edit(name, [0.7, 0.9, 0.9], [1, 2, 3])
    (alone,), _, _ = edit(name, [0.9], [2])
    assert np.array_equal(together[1], alone)
    assert not np.array_equal(together[1], together[2])  # the seed draws the style


@pytest.mark.parametrize("size", [64, 384])
@pytest.mark.parametrize("name", EDITS)
def test_other_sizes_look_the_same(name: str, size: int) -> None:
    face = drawn_face(size)
    (picture,), (mask,), rejected = edit(name, [0.8], face=face)
    (reference,), _, _ = edit(name, [0.8])
    assert not rejected
    assert picture.shape == face.shape
    mean, expected = change(face, picture), change(drawn_face(), reference)
    assert 0.4 * expected < mean < 2.2 * expected
    assert mask.any()


def test_no_hair_is_a_reason_and_ageing_goes_on() -> None:
    bald = drawn_face(hair=False)
    _, _, rejected = edit("hair", [0.8], face=bald)
    assert rejected[0].reason == "no_hair"
    _, _, rejected = edit("aging", [0.8], face=bald)
    assert not rejected


@pytest.mark.parametrize("skin", [(70, 48, 38), (205, 160, 135), (240, 215, 200)])
def test_dark_and_bright_skin_are_found_and_keep_their_tone(skin: tuple[int, int, int]) -> None:
    face = drawn_face(skin=skin)
    portrait = Portrait(face.astype(np.float32) / 255, landmarks())
    mask = skin_mask(portrait)
    assert mask[150, 90] > 0.8  # cheek
    assert mask[116, 96] < 0.3  # eye
    assert mask[20, 20] == 0  # background
    (picture,), _, _ = edit("chubbiness", [0.8], face=face)
    cheek = (slice(145, 165), slice(82, 98))
    assert abs(picture[cheek].mean() - face[cheek].mean()) < 0.1 * face[cheek].mean()


def test_hair_mask_is_the_hair() -> None:
    mask = hair_mask(Portrait(drawn_face().astype(np.float32) / 255, landmarks()))
    assert mask[30, 128] > 0.9
    assert mask[150, 128] == 0
    assert mask[5, 5] < 0.05


def test_chubbiness_widens_the_jaw() -> None:
    face = drawn_face()
    (picture,), _, _ = edit("chubbiness", [1.0])

    def width(image: np.ndarray) -> int:
        row = image[185].astype(int)
        return int((row[:, 0] - row[:, 2] > 20).sum())  # skin is red, the background blue

    assert width(picture) > width(face) + 8


def test_grin_lifts_the_corners_of_the_mouth() -> None:
    face = drawn_face()
    (picture,), _, _ = edit("grin", [1.0])

    def corner(image: np.ndarray) -> tuple[float, float]:
        image = image.astype(int)
        lips = (image[..., 0] - image[..., 1] > 60) & (image[..., 0] < 200)
        ys, xs = np.nonzero(lips[150:215, 60:196])
        left = xs < np.quantile(xs, 0.04)
        return float(xs[left].mean()), float(ys[left].mean())

    (x0, y0), (x1, y1) = corner(face), corner(picture)
    assert x1 < x0 - 2
    assert y1 < y0 - 2


def test_sunglasses_cover_the_eyes_and_glasses_do_not() -> None:
    eye = (slice(110, 122), slice(90, 102))
    face = drawn_face()
    (dark,), _, _ = edit("sunglasses", [1.0])
    (clear,), _, _ = edit("glasses", [1.0])
    assert dark[eye].mean() < 0.5 * face[eye].mean()
    assert clear[eye].mean() > 0.8 * face[eye].mean()


def test_pose_follows_a_turned_head() -> None:
    frontal = fit_pose(landmarks())
    assert abs(frontal.yaw) < 4
    points = landmarks().astype(np.float64)
    nose = slice(27, 36)
    points[nose, 0] += np.linspace(6, 18, 9)  # the nose moves to the viewer's right
    assert fit_pose(points).yaw > frontal.yaw + 8


def test_flow_meets_its_points_and_ends() -> None:
    points = np.array([[40.0, 40.0], [60.0, 40.0]])
    moves = np.array([[4.0, 0.0], [0.0, 0.0]])
    flow = dense_flow(points, moves, 24.0, 100, 100)
    assert flow[40, 44] == pytest.approx([-4, 0], abs=0.25)
    assert flow[40, 60] == pytest.approx([0, 0], abs=0.1)
    assert not flow[80:].any()


def test_flow_never_folds() -> None:
    points = np.array([[50.0, 50.0], [60.0, 50.0]])
    flow = dense_flow(points, np.array([[30.0, 0.0], [-30.0, 0.0]]), 30.0, 100, 100)
    assert (1 + np.diff(flow[..., 0], axis=1)).min() > 0


def test_frame_turns_with_the_head() -> None:
    points = landmarks().astype(np.float64)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    tilted = frame_of((points - 128) @ turn + 128)
    assert np.degrees(np.arctan2(tilted.right[1], tilted.right[0])) == pytest.approx(20, abs=1)
    assert tilted.unit == pytest.approx(frame_of(points).unit, rel=0.01)
