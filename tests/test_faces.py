"""Faces, offline: templates, alignment, quality, identity check, gates, the stage with fakes."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from fstriplets import cv
from fstriplets.config import PipelineConfig, QualityConfig
from fstriplets.corpus import DecodedPhoto
from fstriplets.errors import ConfigError, MissingDependency, PhotoRejected, WeightsError
from fstriplets.faces import FaceStage, five_points, similarity, template_points, warp
from fstriplets.faces.align import invert, outside_share, transform_points
from fstriplets.faces.detectors import Detection
from fstriplets.faces.embed import EMBEDDERS, load_embedder
from fstriplets.faces.gates import gate
from fstriplets.faces.identity import check_identity, choose_faces, near_duplicates
from fstriplets.faces.landmarks import template68
from fstriplets.faces.pose import LandmarkPose
from fstriplets.faces.quality import bits_apart, look_at, perceptual_hash, registered_correlation
from fstriplets.faces.templates import MEAN_68, TEMPLATES, embedder_window, face_window
from fstriplets.records import AlignedFace, Face, Photo

FIVE = np.array([[300.0, 200], [380, 190], [345, 240], [312, 285], [378, 277]])


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh machine: no weights, no insightface packs."""
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "insightface"))


def scene(seed: int = 0, height: int = 480, width: int = 640) -> np.ndarray:
    """A picture with detail at every scale."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 255, (size, size, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for size in (3, 8, 24, 80)
    ]
    return np.clip(np.mean(layers, axis=0), 0, 255).astype(np.uint8)


def photo(name: str = "p", identity: str = "ann", **fields: Any) -> Photo:
    return Photo(photo_id=name, identity_id=identity, uri=f"{name}.jpg", **fields)


def decoded(pixels: np.ndarray) -> DecodedPhoto:
    return DecodedPhoto(pixels, "jpeg")


def given(points: np.ndarray = FIVE) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


def stage(**fields: Any) -> FaceStage:
    """Given landmarks and geometry alone, unless told otherwise: the pictures here are drawn, not photos."""
    plain = {"detector": "given", "embedder": "none", "landmarker": "template", "pose_estimator": "landmarks"}
    return FaceStage(PipelineConfig(**{**plain, **fields}))


# templates and alignment


def test_templates_lie_inside_their_crops_upright() -> None:
    for name in TEMPLATES:
        left, right, nose, mouth_left, mouth_right = template_points(name, 200)
        assert 0 < left[0] < nose[0] < right[0] < 199
        assert left[1] < nose[1] < mouth_left[1] < 199
        assert abs(mouth_left[1] - mouth_right[1]) < 1
    mean = np.array(MEAN_68)
    assert mean.min() > 0.2, "room for hair and ears"
    assert 0.88 < mean[8, 1] < 0.95, "the chin is inside, with a margin"
    assert np.allclose(five_points(mean), TEMPLATES["ffhq"].points, atol=0.02)


def test_the_mobilefsgan_crop_is_26_to_230_of_the_ffhq_crop() -> None:
    pixels = scene(1)
    whole = warp(pixels, similarity(FIVE, template_points("ffhq", 256)), 256)
    assert embedder_window(whole).shape == (204, 204, 3)
    direct = warp(pixels, similarity(FIVE, template_points("mobilefsgan", 204)), 204)
    assert np.abs(embedder_window(whole).astype(int) - direct).mean() < 1


def test_face_window_follows_the_template() -> None:
    assert face_window("ffhq") == pytest.approx((0.25, 0.33, 0.75, 0.83), abs=1e-6)
    x0, y0, x1, y1 = face_window("arcface")
    assert x1 - x0 > 0.6
    assert 0 <= y0 < y1 <= 1


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, 3.1])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_similarity_recovers_what_moved_the_points(angle: float, scale: float) -> None:
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    true = np.hstack([linear, [[12.0], [-7.0]]])
    found = similarity(FIVE, transform_points(FIVE, true))
    assert np.allclose(found, true)
    assert np.allclose(transform_points(transform_points(FIVE, found), invert(found)), FIVE)


def test_similarity_never_mirrors_and_refuses_a_single_point() -> None:
    mirrored = FIVE * (-1, 1)
    found = similarity(FIVE, mirrored)
    assert np.linalg.det(found[:, :2]) > 0
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2)), FIVE)
    with pytest.raises(ValueError, match="not finite"):
        similarity(FIVE * np.nan, FIVE)


@pytest.mark.parametrize(("scale", "angle"), [(1.0, 0.0), (1.9, 0.3), (0.5, 0.0), (0.31, 0.5), (0.13, -0.2)])
def test_warp_puts_every_pixel_where_the_matrix_says(scale: float, angle: float) -> None:
    # In a picture whose red is x and green is y, a crop shows where it was cut.
    side = 1200
    ramp = np.zeros((side, side, 3), np.uint8)
    ramp[..., 0] = np.arange(side)[None] * 255 // side
    ramp[..., 1] = np.arange(side)[:, None] * 255 // side
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0.0]])
    matrix[:, 2] = (31.5, 31.5) - matrix[:, :2] @ (600.0, 580.0)
    crop = warp(ramp, matrix, 64)
    grid = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0)), axis=-1).reshape(-1, 2)
    expected = transform_points(grid, invert(matrix)) * 255 / side
    assert np.abs(crop.reshape(-1, 3)[:, :2] - expected).max() < 2.0


def test_warp_does_not_alias_fine_patterns() -> None:
    stripes = np.zeros((1600, 1600, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = warp(stripes, similarity(FIVE, FIVE * 0.11), 128)
    assert crop.std() < 6
    assert abs(crop.mean() - 127.5) < 3


def test_outside_the_photo_is_mirrored_and_soft_never_black() -> None:
    pixels = np.full((200, 200, 3), 200, np.uint8)
    pixels[:, 100:] = scene(2, 200, 100) // 2 + 100
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    matrix[:, 2] = (-100.0, 0)  # the crop's right half lies beyond the photo's right edge
    crop = warp(pixels, matrix, 200)
    assert outside_share(matrix, 200, 200, 200) == pytest.approx(0.5, abs=0.01)
    assert crop.min() > 60
    assert np.array_equal(crop[:, :95], pixels[:, 100:195])
    rough = [np.abs(np.diff(part.astype(int), axis=1)).mean() for part in (crop[:, 20:80], crop[:, 120:180])]
    assert rough[1] < 0.5 * rough[0]
    assert outside_share(np.array([[1.0, 0, 0], [0, 1.0, 0]]), 200, 200, 200) == 0


# landmarks


def test_five_points_takes_5_or_68() -> None:
    assert np.array_equal(five_points(FIVE), FIVE)
    with pytest.raises(ValueError, match=r"\[5, 2\] or \[68, 2\]"):
        five_points(np.zeros((67, 2)))


def test_template68_meets_the_five_points_and_turns_with_them() -> None:
    bent = FIVE + np.array([[0, 0], [0, 0], [12, 0], [3, -2], [6, 4]])
    points = template68(bent)
    # Exact at nose and mouth; at the eyes the spline bends six points and their mean follows closely.
    assert np.allclose(five_points(points), bent, atol=0.5)
    assert np.allclose(five_points(points)[2:], bent[2:], atol=1e-6)
    turn = np.array([[0.6, -0.8, 5], [0.8, 0.6, -3]])
    assert np.allclose(template68(transform_points(bent, turn)), transform_points(points, turn), atol=1e-6)


@pytest.mark.parametrize(
    ("move", "sign"), [((8, 0), (1, 0)), ((-8, 0), (-1, 0)), ((0, -8), (0, 1)), ((0, 8), (0, -1))]
)
def test_landmark_pose_follows_the_nose(move: tuple[int, int], sign: tuple[int, int]) -> None:
    points = template_points("ffhq", 256).copy()
    level = LandmarkPose().estimate(np.zeros((1, 1, 3), np.uint8), points)
    points[2] += move
    turned = LandmarkPose().estimate(np.zeros((1, 1, 3), np.uint8), points)
    change = np.array(turned[:2]) - level[:2]
    assert np.array_equal(np.sign(np.round(change, 1)), sign)
    assert np.abs(level).max() < 12


# quality


def test_sharpness_falls_with_blur_and_not_with_light_or_size() -> None:
    crop = scene(3, 512, 512)
    sharp = look_at(crop).sharpness
    blurred = [look_at(cv2.GaussianBlur(crop, (0, 0), s)).sharpness for s in (2, 4, 8)]
    assert sharp > 1.3 * blurred[0] > 1.3 * 1.3 * blurred[1] > 1.3 * 1.3 * 1.3 * blurred[2]
    dim = look_at((crop * 0.6 + 10).astype(np.uint8)).sharpness
    assert dim == pytest.approx(sharp, rel=0.15)
    half = look_at(cv2.resize(crop, (256, 256), interpolation=cv2.INTER_AREA)).sharpness
    assert half == pytest.approx(sharp, rel=0.1)
    assert look_at(np.full((256, 256, 3), 90, np.uint8)).sharpness == 0


def test_brightness_is_the_luma_of_the_face_alone() -> None:
    crop = np.zeros((256, 256, 3), np.uint8)
    crop[80:216, 60:196] = 200
    assert look_at(crop).brightness == pytest.approx(200, abs=1)


def test_perceptual_hash_survives_recompression_only() -> None:
    crop = scene(4, 256, 256)
    data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert bits_apart(perceptual_hash(crop), perceptual_hash(again)) <= 3
    brighter = np.clip(crop.astype(int) + 12, 0, 255).astype(np.uint8)
    assert bits_apart(perceptual_hash(crop), perceptual_hash(brighter)) <= 3
    small = cv2.resize(crop, (100, 100), interpolation=cv2.INTER_AREA)
    assert bits_apart(perceptual_hash(crop), perceptual_hash(small)) <= 3
    others = [bits_apart(perceptual_hash(crop), perceptual_hash(scene(s, 256, 256))) for s in range(10, 20)]
    assert min(others) > 12


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"box": (0, 0, 200, 30)}, "small_face"),
        ({"score": 0.2}, "low_score"),
        ({"attributes": {"outside": 0.9}}, "outside_photo"),
        ({"sharpness": 0.1}, "blurry"),
        ({"brightness": 10}, "dark"),
        ({"brightness": 250}, "bright"),
        ({"yaw": -80}, "extreme_pose"),
        ({"pitch": 70}, "extreme_pose"),
        ({}, ""),
    ],
)
def test_gates_name_themselves_and_their_key(change: dict[str, Any], reason: str) -> None:
    face = replace(_face(), **change)
    judged = gate(face, QualityConfig(min_sharpness=1.0))
    assert judged.reason == reason
    assert judged.status == ("rejected" if reason else "ok")
    assert ("quality." in judged.message) == bool(reason)


# identity


def people(rng: np.random.Generator, *counts: int) -> list[np.ndarray]:
    """Unit vectors in clusters as recognisers give them: cosine about 0.6 within, 0 between."""
    centres = np.linalg.qr(rng.normal(size=(64, len(counts))))[0].T
    groups = [centre + rng.normal(scale=0.1, size=(n, 64)) for centre, n in zip(centres, counts, strict=True)]
    return [(g / np.linalg.norm(g, axis=1, keepdims=True)).astype(np.float32) for g in groups]


def test_strangers_are_found_even_when_they_are_several_and_alike() -> None:
    rng = np.random.default_rng(0)
    mine, twin, other = people(rng, 8, 4, 1)
    for order in (slice(None), slice(None, None, -1)):
        everyone = np.concatenate([mine, twin, other])[order]
        truth = np.array([True] * 8 + [False] * 5)[order]
        similarity_, belongs = check_identity(everyone, 0.35)
        assert np.array_equal(belongs, truth)
        assert similarity_[truth].min() > 0.5 > 0.35 > similarity_[~truth].max()


def test_similarity_leaves_the_face_itself_out() -> None:
    a, b = np.eye(2, dtype=np.float32)
    values, _ = check_identity(np.stack([a, a, b]), -1.0)
    assert values[2] == pytest.approx(0)
    assert values[0] == pytest.approx(np.sqrt(0.5))
    assert check_identity(a[None], 0.3)[1].all()


def test_two_strangers_keep_one() -> None:
    _, belongs = check_identity(np.eye(2, dtype=np.float32), 0.3)
    assert belongs.sum() == 1


def test_the_face_most_like_the_person_is_chosen_over_the_largest() -> None:
    mine, passer = people(np.random.default_rng(1), 6, 6)
    photos = [mine[:1], mine[1:2], *(np.stack([passer[i], mine[i]]) for i in range(2, 6))]
    areas = [[1.0], [1.0], *[[9.0, 1.0]] * 4]
    assert choose_faces(photos, areas) == [0, 0, 1, 1, 1, 1]
    # Nobody is ever alone, the strangers are all different: the person is who comes back.
    strangers = [g[0] for g in people(np.random.default_rng(2), *[1] * 6)]
    photos = [np.stack([strangers[i], mine[i]]) for i in range(6)]
    assert choose_faces(photos, [[1.0, 2.0]] * 6) == [1] * 6


def test_near_duplicates_point_to_the_first_kept() -> None:
    hashes = [0, 0b11, 0b1111, None, 0b1, 2**64 - 1]
    assert near_duplicates(hashes, 2, lambda i, j: True) == [None, 0, None, None, 0, None]
    looked_at: list[tuple[int, int]] = []
    near_duplicates(hashes, 2, lambda i, j: bool(looked_at.append((i, j))))
    assert looked_at == [(0, 1), (1, 2), (0, 4), (1, 4)]


def test_a_copy_correlates_after_registration_and_a_changed_mouth_does_not() -> None:
    crop = cv2.GaussianBlur(scene(6, 256, 256), (0, 0), 2)
    shifted = cv2.warpAffine(
        crop, np.array([[1.01, 0.004, 2.5], [-0.004, 1.01, -3]]), (256, 256), borderMode=cv2.BORDER_REFLECT
    )
    copy = cv2.imdecode(cv2.imencode(".jpg", shifted, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
    assert registered_correlation(crop, copy) > 0.985
    smiling = crop.copy()
    smiling[165:205, 90:166] = scene(7, 256, 256)[165:205, 90:166]
    assert registered_correlation(crop, smiling) < 0.97
    assert registered_correlation(crop, np.full_like(crop, 90)) < 0.5


# the stage


def _face(**fields: Any) -> Face:
    values: dict[str, Any] = {
        "face_id": "f", "photo_id": "p", "identity_id": "ann", "box": (0, 0, 100, 120), "landmarks": (),
        "transform": (1, 0, 0, 0, 1, 0), "score": 0.9, "sharpness": 5.0, "brightness": 120.0,
    }  # fmt: skip
    return Face(**values | fields)


def test_given_landmarks_land_on_the_template() -> None:
    for size, crop in ((256, "ffhq"), (100, "arcface"), (512, "mobilefsgan")):
        (found,) = stage(image_size=size, crop=crop).candidates(photo(landmarks=given()), decoded(scene()))
        assert found.pixels.shape == (size, size, 3)
        target = template_points(crop, size)
        points = np.array(found.face.landmarks)
        assert points.shape == (68, 2)
        assert np.abs(five_points(points) - target).max() < 0.05 * size
        matrix = np.array(found.face.transform).reshape(2, 3)
        assert np.allclose(five_points(points), transform_points(FIVE, matrix), atol=0.5)
        assert found.face.status == "ok"


def test_68_given_landmarks_are_kept() -> None:
    points = template68(FIVE)
    (found,) = stage().candidates(photo(landmarks=given(points)), decoded(scene()))
    matrix = np.array(found.face.transform).reshape(2, 3)
    assert np.allclose(found.face.landmarks, transform_points(points, matrix))


def test_a_given_box_alone_gives_guessed_points() -> None:
    (found,) = stage().candidates(photo(box=(280.0, 140.0, 400.0, 300.0)), decoded(scene()))
    centre = transform_points([[340, 220]], np.array(found.face.transform).reshape(2, 3))
    assert np.abs(centre - 128).max() < 25
    with pytest.raises(PhotoRejected, match="no_landmarks"):
        stage().candidates(photo(), decoded(scene()))


def test_a_face_at_the_edge_says_how_much_is_missing() -> None:
    moved = FIVE - (280, 170)
    (found,) = stage().candidates(photo(landmarks=given(moved)), decoded(scene()))
    assert found.face.reason == "outside_photo"
    assert found.face.attributes["outside"] > 0.35


def test_aligned_photos_are_not_touched() -> None:
    pixels = scene(5, 256, 256)
    (found,) = stage(detector="aligned").candidates(photo(), decoded(pixels))
    assert np.array_equal(found.pixels, pixels)
    assert np.allclose(five_points(np.array(found.face.landmarks)), template_points("ffhq", 256), atol=5)
    assert found.face.yaw is None, "the template's points say nothing about this face's pose"
    large = cv2.resize(pixels, (512, 512), interpolation=cv2.INTER_CUBIC)
    (found,) = stage(detector="aligned").candidates(photo(), decoded(large))
    assert np.abs(found.pixels.astype(int) - pixels).mean() < 2
    back = transform_points([[511.5, 511.5]], np.array(found.face.transform).reshape(2, 3))
    assert np.allclose(back, 255.5)
    with pytest.raises(PhotoRejected, match="not_square"):
        stage(detector="aligned").candidates(photo(), decoded(scene()))


def test_face_ids_name_pixels_and_person() -> None:
    one = stage(detector="aligned")
    pixels = decoded(scene(5, 256, 256))
    first, again, other = (
        one.candidates(who, pixels)[0].face.face_id
        for who in (photo("a"), photo("b"), photo("c", identity="bob"))
    )
    assert first == again != other
    assert one.fingerprint == stage(detector="aligned").fingerprint
    assert one.fingerprint != stage(detector="aligned", crop="arcface").fingerprint


class _ColourEmbedder:
    """Who you are is the colour of your face."""

    name = "colour"
    fingerprint = "colour-1"

    def __init__(self, config: PipelineConfig) -> None:
        self.weights = {"colour": "0" * 64}

    def embed(self, crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        values = crops.mean(axis=(1, 2)).astype(np.float32) - 100
        return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def colour() -> Iterator[None]:
    EMBEDDERS.register("colour")(_ColourEmbedder)
    yield
    del EMBEDDERS._loaded["colour"]


def portrait(seed: int, red: int = 60, blue: int = 0) -> np.ndarray:
    grey = scene(seed, 256, 256).mean(axis=2, keepdims=True)
    return np.clip(grey * 0.4 + 50 + np.array([red, 0, blue]), 0, 255).astype(np.uint8)


@pytest.mark.usefixtures("colour")
def test_choose_judges_one_person() -> None:
    one = stage(detector="aligned", embedder="colour", identity_check={"min_similarity": 0.5})
    pictures = [portrait(1), portrait(2), portrait(3), portrait(4, 0, 60), portrait(2)]
    pictures[4][0, 0] += 1
    chosen = one.choose(
        [one.candidates(photo(f"p{i}"), decoded(pixels)) for i, pixels in enumerate(pictures)]
    )
    assert [item.face.photo_id for item in chosen] == [f"p{i}" for i in range(5)]
    assert [item.face.reason for item in chosen] == ["", "", "", "not_the_person", "near_duplicate"]
    assert "duplicate_of p1" in chosen[4].face.message
    assert "min_similarity" in chosen[3].face.message
    assert chosen[0].face.similarity is not None
    assert chosen[0].face.similarity > 0.9 > 0.5 > (chosen[3].face.similarity or 0)
    assert one.weights == {"colour": "0" * 64}


@pytest.mark.usefixtures("colour")
def test_a_stranger_beside_the_person_is_passed_over() -> None:
    one = stage(embedder="colour", identity_check={"min_similarity": 0.5})
    one._detector = _TwoFaces()
    side_by_side = [np.hstack([portrait(i, 0, 60), portrait(i + 10)]) for i in range(3)]
    alone = [np.hstack([portrait(i + 20), portrait(i + 20)])[:, ::-1].copy() for i in range(2)]
    opened = [one.candidates(photo(f"p{i}"), decoded(p)) for i, p in enumerate(side_by_side + alone)]
    assert [len(candidates) for candidates in opened] == [2] * 5
    chosen = one.choose(opened)
    assert all(item.face.status == "ok" for item in chosen)
    assert all(item.face.box[0] >= 256 for item in chosen[:3])
    largest = stage(embedder="colour", identity_check={"choose": "largest", "min_similarity": 0.5})
    largest._detector = one._detector
    taken = largest.choose(
        [largest.candidates(photo(f"p{i}"), decoded(p)) for i, p in enumerate(side_by_side)]
    )
    assert all(item.face.box[0] < 256 for item in taken)


class _TwoFaces:
    """Finds a large face on the left and a slightly smaller one on the right."""

    name = fingerprint = "two"

    def __init__(self) -> None:
        self.weights: dict[str, str] = {}

    def detect(self, photo: Photo, pixels: np.ndarray) -> list[Detection]:
        points = template_points("ffhq", 256)
        return [
            Detection((40, 40, 210, 230), points, 0.9),
            Detection((300, 44, 460, 230), points + np.array([256, 0]), 0.9),
        ]


def test_without_embedder_nothing_is_said_about_identity() -> None:
    one = stage(detector="aligned", duplicates={"near": False})
    faces = one.choose([one.candidates(photo(f"p{i}"), decoded(portrait(i))) for i in range(3)])
    assert all(item.face.status == "ok" and item.face.similarity is None for item in faces)
    faces = one.choose([one.candidates(photo(f"p{i}"), decoded(portrait(1))) for i in range(2)])
    assert [item.face.reason for item in faces] == ["", "near_duplicate"]  # the same id cannot be twice
    assert one.embed(np.zeros((1, 8, 8, 3), np.uint8), FIVE[None]) is None
    assert one.choose([]) == []


def test_a_photo_whose_faces_all_fail_keeps_the_reason_of_the_largest() -> None:
    one = stage()
    small = AlignedFace(_face(status="rejected", reason="small_face", box=(0, 0, 9, 9)), portrait(1))
    dark = AlignedFace(_face(status="rejected", reason="dark"), portrait(1))
    assert [item.face.reason for item in one.choose([[small, dark]])] == ["dark"]


def test_auto_takes_given_landmarks_and_else_looks_itself() -> None:
    one = stage(detector="auto")
    assert "bundled" in one.fingerprint
    (found,) = one.candidates(photo(landmarks=given()), decoded(scene()))
    assert found.face.score == 1.0
    with pytest.raises(PhotoRejected, match="no_face"):
        one.candidates(photo(), decoded(np.full((200, 200, 3), 128, np.uint8)))


def test_lbp_finds_a_face_without_any_download() -> None:
    from skimage.data import astronaut

    found = stage(detector="lbp").candidates(photo(), decoded(astronaut()))
    x0, y0, x1, y1 = found[0].face.box
    assert x0 < 224 < x1  # the middle of her face
    assert y0 < 115 < y1


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"detector": "yolo"}, ConfigError, "aligned, auto, bundled, given"),
        ({"crop": "square"}, ConfigError, "arcface, ffhq, mobilefsgan"),
        ({"embedder": "facenet"}, ConfigError, "mobilefacenet_foamliu"),
        ({"embedder": "no/such.onnx"}, ConfigError, "no such file"),
        ({"landmarker": "dlib"}, ConfigError, "mediapipe, template"),
        ({"pose_estimator": "x"}, ConfigError, "fsanet, landmarks"),
        ({"detector": "yunet"}, WeightsError, "weights pull yunet"),
        ({"embedder": "mobilefacenet_foamliu"}, WeightsError, "weights import FILE"),
        ({"landmarker": "mediapipe"}, WeightsError, "weights import FILE"),
        ({"pose_estimator": "fsanet"}, WeightsError, "weights import FILE"),
    ],
)
def test_wrong_names_and_missing_weights_tell_the_way_out(
    fields: dict[str, str], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        stage(**fields)


def test_missing_insightface_is_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "insightface", ImportError("No module named 'insightface'"))
    with pytest.raises(MissingDependency, match=r"pip install 'fstriplets\[insightface\]'"):
        stage(detector="insightface")
    assert "bundled" in stage(detector="auto").fingerprint


def _hide(monkeypatch: pytest.MonkeyPatch, package: str, error: ImportError) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == package:
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_opencv_without_libgl_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "libGL.so.1: cannot open shared object file: No such file or directory"
    _hide(monkeypatch, "cv2", ImportError(missing))
    with pytest.raises(cv.OpenCVUnavailable, match="opencv-python-headless") as caught:
        cv.require_cv2()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert cv.explain_cv2(ImportError("no torch")) is None


def test_the_command_line_explains_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fstriplets.cli import app

    def broken(**_: object) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(app.cli, "main", broken)
    assert app.run([]) == 2
    assert "opencv-python-headless" in capsys.readouterr().err


def test_any_onnx_recogniser_can_be_named_by_path(tmp_path: Any) -> None:
    onnx = pytest.importorskip("onnx", reason="builds a tiny recogniser with the package onnx")
    path = tmp_path / "mine.onnx"
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 64, 64]), ("y", ["n", 3]))
    ]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    embedder = load_embedder(PipelineConfig(embedder=str(path)))
    assert embedder is not None
    assert list(embedder.weights) == ["mine"]
    crops = np.stack([portrait(1), portrait(1, 0, 90)])
    vectors = embedder.embed(crops, np.stack([template_points("ffhq", 256)] * 2))
    assert vectors.shape == (2, 3)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0, 0] > vectors[0, 2]  # RGB order: red in the first, blue in the second
    assert vectors[1, 2] > vectors[1, 0]
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(WeightsError, match=r"text\.onnx"):
        load_embedder(PipelineConfig(embedder=str(tmp_path / "text.onnx")))
