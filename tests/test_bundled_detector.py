"""The bundled detector: network, mosaics, trainer, and the backend on the demo corpus' photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_pairs import demo_photos, write_tiny_pairs

from fstriplets.config import PipelineConfig
from fstriplets.corpus import open_corpus
from fstriplets.faces.detect_bundled import BundledDetector, suppress
from fstriplets.faces.detectors import best_installed, load_detector
from fstriplets.faces.landmarks import five_points
from fstriplets.models.networks.face_detector import CHANNELS, FaceDetector, decode
from fstriplets.records import Photo
from fstriplets.training.detector import Recipe, make_job, overlap, targets
from fstriplets.training.loop import load_run, run_training
from fstriplets.training.mosaic import Mosaic, Mosaics, face_box
from fstriplets.training.pairs import PairSet

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(steps=4, seed=3, batch_size=4, learning_rate=3e-3, size=96, largest=90)
PHOTO = Photo("p", "person", "p.jpg")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def detector() -> BundledDetector:
    return BundledDetector(PipelineConfig())


def share(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    boxes = [torch.tensor([box], dtype=torch.float64) for box in (a, b)]
    return float(overlap(*boxes)[0])


# the network and its answers


def test_a_level_answers_for_its_cells() -> None:
    network = FaceDetector().eval()
    levels = network(torch.zeros(2, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [
        (2, CHANNELS, 8, 12), (2, CHANNELS, 4, 6), (2, CHANNELS, 2, 3),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.zeros(1, 3, 65, 96))


def test_decoding_is_in_pixels_of_the_picture() -> None:
    level = torch.zeros(1, CHANNELS, 2, 3)
    level[0, 1:3, 1, 2] = torch.tensor([0.5, -0.25])  # strides
    level[0, 3:5, 1, 2] = torch.log(torch.tensor([2.0, 1.0]))  # of 4 strides
    level[0, 5:7, 1, 2] = torch.tensor([0.25, -0.5])
    scores, boxes, points = decode(level, 16)
    assert scores.shape == (1, 6)
    # The cell's middle is (39.5, 23.5); the box's lies half a stride right and a quarter up.
    np.testing.assert_allclose(boxes[0, 5], [47.5 - 64, 19.5 - 32, 47.5 + 64, 19.5 + 32])
    np.testing.assert_allclose(points[0, 5, 0], [39.5 + 16, 23.5 - 32])


def test_of_overlapping_answers_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 0, 30, 10], [0, 0, 9, 10]], float)
    assert suppress(boxes, np.array([0.5, 0.9, 0.4, 0.6])).tolist() == [1, 2]
    assert len(suppress(boxes[:0], np.zeros(0))) == 0


# mosaics


def test_a_box_follows_the_face_that_turns() -> None:
    _, _, points = demo_photos()[0]
    x0, y0, x1, y1 = face_box(points)
    assert x0 == pytest.approx(points[:, 0].min(), abs=4)
    assert y1 == pytest.approx(points[:, 1].max(), abs=4)
    assert y0 < points[:, 1].min() - 0.25 * np.ptp(points[:, 1])
    mirrored = points * (-1, 1)
    np.testing.assert_allclose(face_box(mirrored), [-x1, y0, -x0, y1], atol=2)
    turned = face_box(points @ np.array([[0.0, 1.0], [-1.0, 0.0]]))
    assert turned[2] - turned[0] == pytest.approx(y1 - y0, rel=0.05)


def test_mosaics_are_functions_of_their_seed(pairs: Path) -> None:
    mosaics = Mosaics(PairSet(pairs), size=96, sizes=(12, 90))
    first, again = (mosaics.draw(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    drawn = [mosaics.draw(np.random.default_rng(k)) for k in range(30)]
    assert {len(mosaic.boxes) for mosaic in drawn} >= {0, 1, 2}
    for mosaic in drawn:
        assert mosaic.pixels.shape == (96, 96, 3)
        for box, points, wanted in zip(mosaic.boxes, mosaic.points, mosaic.wanted, strict=True):
            assert points[0, 0] < points[1, 0]  # left and right as seen, mirrored or not
            assert ((points > box[:2] - 2) & (points < box[2:] + 2)).all()
            if wanted:  # enough of it is in the picture
                inner = np.clip(box, 0, 96)
                assert np.prod(inner[2:] - inner[:2]) > 0.5 * np.prod(box[2:] - box[:2])


def test_every_wanted_face_has_a_cell_that_answers() -> None:
    for side in (10, 14, 25, 40, 60, 80, 140):
        box = np.array([[70 - side / 2, 80 - side / 2, 70 + side / 2, 80 + side / 2]], np.float32)
        mosaic = Mosaic(
            np.zeros((160, 160, 3), np.uint8), box, np.zeros((1, 5, 2), np.float32), np.array([True])
        )
        levels = [targets(mosaic, 160, level) for level in range(3)]
        assert sum((level[:, 0] == 1).sum() for level in levels) >= 1
        for level in levels:
            np.testing.assert_array_equal(
                level[level[:, 0] == 1][:, 1:5], np.repeat(box, (level[:, 0] == 1).sum(), 0)
            )
        hidden = Mosaic(mosaic.pixels, box, mosaic.points, np.array([False]))
        assert not any((targets(hidden, 160, level)[:, 0] == 1).any() for level in range(3))


# the trainer


def test_a_few_steps_lower_the_loss(pairs: Path) -> None:
    job = make_job(RECIPE, pairs)
    batch = job.batch(0)
    losses = [job.step(199, batch) for _ in range(8)]
    # Not the score's: what it is to reach, the overlap of its own box, rises with the box.
    for name in ("box", "points"):
        assert losses[-1][name] < 0.7 * losses[0][name]


def test_a_resumed_training_is_the_same(pairs: Path, tmp_path: Path) -> None:
    def trained(folder: Path, *stops: int) -> torch.Tensor:
        for steps in (*stops, 4):
            job = make_job(RECIPE, pairs)
            run_training(job, folder, steps=steps, seed=3, recipe={})
        assert load_run(folder, job) == 4
        return job.average.network.heads[0][1].weight

    assert torch.equal(trained(tmp_path / "a"), trained(tmp_path / "b", 2))
    assert (tmp_path / "a" / "export" / "face_detector.safetensors").stat().st_size < 1_500_000


# the backend, on photos that no training saw


def test_demo_faces_are_found_where_they_are(detector: BundledDetector) -> None:
    found, errors = 0, []
    photos = demo_photos()[::4]
    for _, pixels, landmarks in photos:
        faces = detector.detect(PHOTO, pixels)
        if faces and share(faces[0].box, tuple(face_box(landmarks))) > 0.5:
            found += 1
            five = five_points(landmarks)
            off = np.hypot(*(faces[0].points - five).T).mean()
            errors.append(off / np.hypot(*(five[1] - five[0])))
    assert found >= 0.95 * len(photos)
    assert np.mean(errors) < 0.12


def test_answers_do_not_depend_on_what_came_before(detector: BundledDetector) -> None:
    photos = [pixels for _, pixels, _ in demo_photos()[:3]]
    first = [detector.detect(PHOTO, pixels) for pixels in photos]
    again = [BundledDetector(PipelineConfig()).detect(PHOTO, pixels) for pixels in photos[::-1]][::-1]
    for a, b in zip(first, again, strict=True):
        assert [face.box for face in a] == [face.box for face in b]
        assert [face.score for face in a] == [face.score for face in b]


@pytest.mark.parametrize("side", [72, 1600])
def test_photos_of_any_size(detector: BundledDetector, side: int) -> None:
    _, pixels, landmarks = demo_photos()[0]
    ratio = side / pixels.shape[0]
    faces = detector.detect(PHOTO, cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA))
    assert share(faces[0].box, tuple(face_box((landmarks + 0.5) * ratio - 0.5))) > 0.5


def test_several_faces_come_largest_first(detector: BundledDetector) -> None:
    (_, a, _), (_, b, _) = demo_photos()[0], demo_photos()[12]
    canvas = np.full((340, 560, 3), 90, np.uint8)
    canvas[:320, :320] = a
    canvas[60:260, 340:540] = cv2.resize(b, (200, 200), interpolation=cv2.INTER_AREA)
    faces = detector.detect(PHOTO, canvas)
    sure = [face for face in faces if face.score >= 0.5]
    assert len(sure) == 2
    assert sure[0].box[2] < 330 < sure[1].box[0]


def test_plain_pictures_have_no_face(detector: BundledDetector) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (240, 320, 3), np.uint8)
    for picture in (np.zeros_like(noise), np.full_like(noise, 200), noise):
        assert not [face for face in detector.detect(PHOTO, picture) if face.score >= 0.5]


def test_auto_takes_it_when_nothing_else_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path))
    assert best_installed() == "bundled"
    assert load_detector(PipelineConfig(detector="bundled")).fingerprint.startswith("bundled-1:")


@pytest.mark.real
def test_real_portraits_are_found(detector: BundledDetector, shared_data: Path) -> None:
    config = PipelineConfig()
    corpus = open_corpus(str(shared_data / "london"), config)
    photos = [photos[0] for _, photos in corpus.identities()][::3]
    found = 0
    for photo in photos:
        pixels = cv2.imdecode(np.frombuffer(corpus.read(photo), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        faces = [f for f in detector.detect(photo, np.ascontiguousarray(pixels)) if f.score >= 0.5]
        # The middle of a London photo is the face's: the largest answer must hold it.
        found += (
            bool(faces)
            and faces[0].box[0] < 500 < faces[0].box[2]
            and faces[0].box[1] < 480 < faces[0].box[3]
        )
    assert found >= 0.95 * len(photos)
