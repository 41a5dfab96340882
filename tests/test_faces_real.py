"""Faces on real photos with real weights, a few of each: backends agree, strangers are caught."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fstriplets.config import PipelineConfig
from fstriplets.corpus import DecodedPhoto
from fstriplets.faces import FaceStage, five_points, similarity, template_points, warp
from fstriplets.faces.align import transform_points
from fstriplets.faces.detectors import DETECTORS
from fstriplets.faces.landmarks import MediaPipeLandmarker, template68
from fstriplets.faces.measure import planted
from fstriplets.faces.pose import FsaNetPose, LandmarkPose
from fstriplets.models.weights import import_folder
from fstriplets.records import AlignedFace, Photo

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", autouse=True)
def _weights(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
        patch.setenv("INSIGHTFACE_HOME", "nowhere")
        import_folder(shared_data / "models")
        yield


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def photo(path: Path) -> Photo:
    return Photo(path.stem, path.parent.name, str(path))


@pytest.fixture(scope="module")
def studio(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "london").glob("*/neutral.jpg"))[:60:15]


@pytest.mark.parametrize("name", ["yunet", "insightface", "lbp"])
def test_detectors_find_studio_faces_at_every_size(name: str, studio: list[Path]) -> None:
    if name == "insightface":
        pytest.importorskip("insightface", reason="needs the package insightface")
    detector = DETECTORS.get(name)(PipelineConfig())
    reference = DETECTORS.get("yunet")(PipelineConfig())
    for path in studio[:2]:
        pixels = read(path)
        truth = reference.detect(photo(path), pixels)[0].points
        width = float(truth[1, 0] - truth[0, 0])
        for scale in (1.0, 0.3):
            small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            (found, *others) = detector.detect(photo(path), small)
            assert not others
            error = np.abs(found.points / scale - truth).max() / width
            assert error < (0.4 if name == "lbp" else 0.25)


@pytest.mark.parametrize("name", ["yunet", "insightface"])
def test_a_small_face_in_a_large_photo_and_one_that_fills_it(name: str, studio: list[Path]) -> None:
    if name == "insightface":
        pytest.importorskip("insightface", reason="needs the package insightface")
    detector = DETECTORS.get(name)(PipelineConfig())
    head = cv2.resize(read(studio[1]), (160, 160), interpolation=cv2.INTER_AREA)
    large = np.full((1500, 2400, 3), 128, np.uint8)
    large[1200:1360, 2000:2160] = head
    (found,) = detector.detect(photo(studio[1]), large)
    x0, y0, x1, y1 = found.box
    assert 2000 < x0 < x1 < 2160
    assert 1200 < y0 < y1 < 1360
    pixels = read(studio[1])
    x0, y0, x1, y1 = (
        round(v) for v in DETECTORS.get("yunet")(PipelineConfig()).detect(photo(studio[1]), pixels)[0].box
    )
    assert len(detector.detect(photo(studio[1]), pixels[y0:y1, x0:x1])) == 1


def test_mediapipe_agrees_with_the_detector_and_levels_nothing(studio: list[Path]) -> None:
    landmarker = MediaPipeLandmarker()
    detector = DETECTORS.get("yunet")(PipelineConfig())
    target = template_points("ffhq", 256)
    for path in studio:
        pixels = read(path)
        detected = detector.detect(photo(path), pixels)[0].points
        matrix = similarity(detected, target)
        crop = warp(pixels, matrix, 256)
        points = landmarker.find(crop, target)
        width = target[1, 0] - target[0, 0]
        assert np.abs(five_points(points) - transform_points(detected, matrix)).mean() < 0.09 * width
        turn = cv2.getRotationMatrix2D((127.5, 127.5), 25, 1)
        turned = warp(crop, turn, 256)
        moved = landmarker.find(turned, transform_points(target, turn))
        assert np.abs(moved - transform_points(points, turn)).mean() < 0.04 * width
        assert np.abs(template68(five_points(points)) - points).mean() < 0.12 * width


def test_pose_changes_sign_in_the_mirror(shared_data: Path) -> None:
    estimators = [FsaNetPose(), LandmarkPose()]
    one = FaceStage(PipelineConfig(embedder="none"))
    values = []
    for path in sorted((shared_data / "lfw_small").glob("id00[0-4]/0.jpg")):
        pixels = read(path)
        pairs = [
            one.candidates(photo(path), DecodedPhoto(view, "jpeg"))[0]
            for view in (pixels, np.ascontiguousarray(pixels[:, ::-1]))
        ]
        for estimator in estimators:
            straight, mirrored = (estimator.estimate(p.pixels, np.array(p.face.landmarks)) for p in pairs)
            assert straight[0] == pytest.approx(-mirrored[0], abs=8)
            assert straight[1] == pytest.approx(mirrored[1], abs=8)
            values.append(straight)
    yaws = np.array(values)[:, 0].reshape(-1, 2)
    assert np.corrcoef(yaws.T)[0, 1] > 0.9  # the two ways of seeing agree on left and right


@pytest.fixture(scope="module")
def opened(shared_data: Path) -> dict[str, list[list[AlignedFace]]]:
    one = FaceStage(PipelineConfig(landmarker="template", pose_estimator="landmarks"))
    people = {}
    for name in ("id000", "id001", "id005"):
        paths = sorted((shared_data / "lfw_small" / name).glob("*.jpg"))[:6]
        people[name] = [one.candidates(photo(p), DecodedPhoto(read(p), "jpeg")) for p in paths]
    return people


def test_a_swapped_photo_is_caught_and_the_rest_stay(opened: dict[str, list[list[AlignedFace]]]) -> None:
    one = FaceStage(PipelineConfig(landmarker="template", pose_estimator="landmarks"))
    mixed = [*opened["id000"][:5], opened["id001"][0], opened["id005"][0]]
    chosen = one.choose(mixed)
    assert [item.face.reason for item in chosen] == [""] * 5 + ["not_the_person"] * 2


def test_two_expressions_of_one_sitting_are_no_duplicates_but_a_smaller_copy_is(studio: list[Path]) -> None:
    one = FaceStage(PipelineConfig(landmarker="template", pose_estimator="landmarks"))
    for path in studio:
        neutral, smiling = read(path), read(path.with_name("smiling.jpg"))
        copy = cv2.resize(neutral, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        opened_ = [one.candidates(photo(path), DecodedPhoto(p, "jpeg")) for p in (neutral, smiling, copy)]
        assert [item.face.reason for item in one.choose(opened_)] == ["", "", "near_duplicate"]


def test_an_insightface_pack_is_used_without_download(
    studio: list[Path], shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("insightface", reason="needs the package insightface")
    pack = tmp_path / "models" / "buffalo_test"
    pack.mkdir(parents=True)
    names = {"det_500m.onnx": "scrfd_500m_kps.onnx", "w600k_mbf.onnx": "mobilefacenet_foamliu.onnx"}
    for name, model in names.items():
        (pack / name).symlink_to(shared_data / "models" / model)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    fields = {"landmarker": "template", "pose_estimator": "landmarks", "detector": "insightface"}
    packed = FaceStage(PipelineConfig(embedder="insightface", **fields))
    assert set(packed.weights) == {"det_500m", "w600k_mbf"}
    plain = FaceStage(PipelineConfig(embedder="mobilefacenet_foamliu", **fields))
    view = DecodedPhoto(read(studio[0]), "jpeg")
    one, other = (s.candidates(photo(studio[0]), view)[0].face.embedding for s in (packed, plain))
    assert np.dot(np.array(one), np.array(other)) > 0.999  # the same network, fed the same way


def test_planted_counts_what_was_moved(opened: dict[str, list[list[AlignedFace]]]) -> None:
    people = {
        name: np.array([photo_[0].face.embedding for photo_ in photos], np.float32)
        for name, photos in opened.items()
    }
    hit, moved, down = planted(people, 0.15, 0.35, seed=1)
    assert moved > 0
    assert hit == moved == down
    assert planted(people, 0.0, 0.35) == (0, 0, 0)


def test_the_stage_says_the_same_twice(opened: dict[str, list[list[AlignedFace]]], shared_data: Path) -> None:
    config = PipelineConfig(landmarker="template", pose_estimator="landmarks")
    path = shared_data / "lfw_small" / "id000" / "0.jpg"
    again = FaceStage(config).candidates(photo(path), DecodedPhoto(read(path), "jpeg"))
    assert [item.face for item in again] == [item.face for item in opened["id000"][0]]
