"""The face analyser: network, crops, trainer, and the backends that ask it, on the demo corpus' faces."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fstriplets.errors import WeightsError
from fstriplets.faces.align import similarity, transform_points, warp
from fstriplets.faces.analyser import Analyser, BundledLandmarker, BundledPose, shared_analyser
from fstriplets.faces.attributes import SCORES, BundledScorer
from fstriplets.faces.landmarks import TemplateLandmarker, five_points
from fstriplets.faces.parse import PARTS, LandmarkParser, load_parser
from fstriplets.faces.templates import template_points
from fstriplets.models.bundled import bundled_network
from fstriplets.models.cache import clear_models
from fstriplets.models.networks.face_analyser import ANALYSER_ATTRIBUTES, FaceAnalyser, expectation
from fstriplets.models.weights import entry
from fstriplets.resources import resource
from fstriplets.synth.pairs import PAIR_ATTRIBUTES
from fstriplets.synth.regions import LABELS
from fstriplets.training.analyser import AnalyserJob, Recipe, make_job
from fstriplets.training.face_crops import FLIP_68, Crops, auc, part_iou
from fstriplets.training.loop import load_run, run_training
from fstriplets.training.pairs import PairSet

SIZE = 256
RECIPE = Recipe(steps=4, seed=3, batch_size=4, learning_rate=2e-3)


@pytest.fixture(scope="module")
def faces() -> list[tuple[np.ndarray, np.ndarray, dict[str, float]]]:
    """Aligned faces of the demo corpus: crop, its 68 points, the numbers of the table."""
    table = resource("demo", "table.csv")
    found = []
    with table.open(encoding="utf-8") as file:
        for row in list(csv.DictReader(file))[::4]:
            photo = cv2.imread(str(table.parent / row["path"]))[..., ::-1]
            points = np.array(json.loads(row["landmarks"]))
            matrix = similarity(five_points(points), template_points("ffhq", SIZE))
            crop = warp(np.ascontiguousarray(photo), matrix, SIZE)
            turned = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
            numbers = {k: float(row[k]) for k in ("yaw", "pitch", "roll", "age", "beard", "smile")}
            numbers["roll"] += turned
            found.append((crop, transform_points(points, matrix), numbers))
    return found


@pytest.fixture(scope="module")
def pairs(faces, tmp_path_factory) -> Path:
    """A training set of the demo's faces; person 19 is held out."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "people").mkdir()
    parser = LandmarkParser()
    for n, person in ((0, faces[0:3]), (1, faces[3:6]), (19, faces[6:9])):
        jpeg = [cv2.imencode(".jpg", crop[..., ::-1])[1].ravel() for crop, _, _ in person]
        png = [cv2.imencode(".png", parser.labels(crop, points))[1].ravel() for crop, points, _ in person]
        numbers = np.zeros((3, len(PAIR_ATTRIBUTES)), np.float32)
        for name in ("age", "beard", "smile"):
            numbers[:, PAIR_ATTRIBUTES.index(name)] = [values[name] for _, _, values in person]
        np.savez(
            root / "people" / f"p{n:07d}.npz",
            jpeg=np.concatenate(jpeg), jpeg_ends=np.cumsum([len(j) for j in jpeg]),
            png=np.concatenate(png), png_ends=np.cumsum([len(p) for p in png]),
            base=np.arange(3), edit=np.array([""] * 3), strength=np.zeros(3, np.float32),
            landmarks=np.array([points for _, points, _ in person], np.float32),
            pose=np.array([[v["yaw"], v["pitch"], v["roll"]] for _, _, v in person], np.float32),
            box=np.zeros((3, 4), np.float32), attributes=numbers, names=np.array(PAIR_ATTRIBUTES),
        )  # fmt: skip
    return root


def eye_distance(points: np.ndarray) -> float:
    five = five_points(points)
    return float(np.hypot(*(five[1] - five[0])))


def jittered(points: np.ndarray, seed: int) -> np.ndarray:
    """The five points with a detector's error."""
    rng = np.random.default_rng(seed)
    return five_points(points) + rng.normal(0, 0.04 * eye_distance(points), (5, 2))


# the network


def test_the_network_checks_its_input_and_answers_in_shape():
    network = FaceAnalyser().eval()
    said = network(torch.zeros(2, 3, 128, 128))
    assert said.landmarks.shape == (2, 68, 2)
    assert said.parts.shape == (2, len(LABELS), 64, 64)
    assert said.attributes.shape == (2, len(ANALYSER_ATTRIBUTES))
    assert said.pose.shape == (2, 3)
    with pytest.raises(ValueError, match="faces must be"):
        network(torch.zeros(2, 3, 64, 64))


def test_a_heatmap_is_read_at_its_pixel_centres():
    heatmaps = torch.full((1, 1, 32, 32), -1e4)
    heatmaps[0, 0, 3, 20] = 0.0
    x, y = expectation(heatmaps)[0, 0].tolist()
    assert (x + 1) * 16 - 0.5 == pytest.approx(20, abs=1e-4)
    assert (y + 1) * 16 - 0.5 == pytest.approx(3, abs=1e-4)


def test_parts_are_the_renderers_labels():
    assert PARTS == LABELS


# the bundled weights at work


def test_landmarks_of_the_demo_faces_beat_the_template(faces):
    ours, template = BundledLandmarker(), TemplateLandmarker()
    errors = {ours.name: [], template.name: []}
    for i, (crop, points, numbers) in enumerate(faces):
        if abs(numbers["yaw"]) > 35:
            continue
        for landmarker in (ours, template):
            found = landmarker.find(crop, jittered(points, i))
            errors[landmarker.name].append(np.hypot(*(found - points).T).mean() / eye_distance(points))
    assert len(errors["bundled"]) >= 10
    assert np.mean(errors["bundled"]) < 0.055
    assert np.mean(errors["bundled"]) < 0.6 * np.mean(errors["template"])


def test_pose_of_the_demo_faces(faces):
    estimator = BundledPose()
    said = np.array([estimator.estimate(crop, points) for crop, points, _ in faces])
    true = np.array([[n["yaw"], n["pitch"], n["roll"]] for _, _, n in faces])
    assert np.abs(said - true).mean(axis=0).max() < 5.0
    assert np.corrcoef(said[:, 0], true[:, 0])[0, 1] > 0.95


def test_a_turned_crop_turns_points_and_roll(faces):
    crop, points, _ = faces[0]
    turn = cv2.getRotationMatrix2D((SIZE / 2 - 0.5, SIZE / 2 - 0.5), -30, 1)  # clockwise
    turned = cv2.warpAffine(crop, turn, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101)
    upright, leaning = (
        BundledPose().estimate(crop, points),
        BundledPose().estimate(turned, transform_points(points, turn)),
    )
    assert leaning[2] - upright[2] == pytest.approx(30, abs=2.5)
    found = BundledLandmarker().find(turned, transform_points(five_points(points), turn))
    expected = transform_points(BundledLandmarker().find(crop, five_points(points)), turn)
    assert np.hypot(*(found - expected).T).mean() / eye_distance(points) < 0.02


def test_a_mirrored_face_gets_mirrored_answers(faces):
    moved, turned, same = [], [], []
    for crop, points, _ in faces[:8]:
        mirrored = np.ascontiguousarray(crop[:, ::-1])
        flipped = points[FLIP_68] * (-1, 1) + (SIZE - 1, 0)
        one, other = shared_analyser().read(crop, points), shared_analyser().read(mirrored, flipped)
        back = other.landmarks[FLIP_68] * (-1, 1) + (SIZE - 1, 0)
        moved.append(np.hypot(*(back - one.landmarks).T).mean() / eye_distance(points))
        turned.append(abs(other.pose[0] + one.pose[0]))
        same.append((other.labels(SIZE)[:, ::-1] == one.labels(SIZE)).mean())
    assert np.mean(moved) < 0.03
    assert np.mean(turned) < 4
    assert np.mean(same) > 0.92


def test_answers_depend_on_neither_history_nor_threads(faces):
    first = Analyser().read(*faces[0][:2])
    busy = Analyser()
    for crop, points, _ in faces[1:12]:  # more than it keeps
        busy.read(crop, points)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = busy.read(*faces[0][:2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert np.array_equal(first.parts, again.parts)
    assert first.attributes == again.attributes
    assert first.pose == again.pose


def test_points_that_are_nowhere_near_a_face_fall_back_to_the_template():
    blank = np.full((SIZE, SIZE, 3), 128, np.uint8)
    wrong = template_points("ffhq", SIZE) * 0.1  # a tiny face in a corner of nothing
    found = BundledLandmarker().find(blank, wrong)
    assert np.isfinite(found).all()
    assert np.hypot(*(five_points(found) - wrong).T).mean() < 0.7 * np.hypot(*(wrong[1] - wrong[0]))


def test_labels_lie_over_the_face(faces):
    parser = load_parser("bundled")
    for crop, points, _ in faces[:6]:
        labels = parser.labels(crop, points)
        assert labels.shape == (SIZE, SIZE)
        assert labels.dtype == np.uint8
        names = [PARTS[labels[round(y), round(x)]] for x, y in (points[30], points[41:48:5].mean(0))]
        assert names[0] in ("nose", "skin")
        mouth = np.zeros_like(labels)
        cv2.fillPoly(mouth, [np.rint(points[48:60]).astype(np.int32)], 1)
        inside = np.isin(labels[mouth > 0], [PARTS.index("lips"), PARTS.index("mouth")])
        assert inside.mean() > 0.5
        assert (labels[:8, :8] == 0).all() or (labels[:8, :8] == PARTS.index("hair")).any()


def test_the_weight_free_parser_draws_the_landmarks(faces):
    crop, points, _ = faces[0]
    labels = load_parser("landmarks").labels(crop, points)
    assert {PARTS[v] for v in np.unique(labels)} >= {"background", "skin", "brows", "eyes", "nose", "lips"}


def test_scores_are_named_after_edits_and_follow_the_face(faces):
    crops = np.stack([crop for crop, _, _ in faces])
    scores = BundledScorer()(crops, np.stack([points for _, points, _ in faces]))
    assert set(scores) == set(SCORES)
    assert all(value.shape == (len(faces),) and (value >= 0).all() and (value <= 1).all()
               for value in scores.values())  # fmt: skip
    alone = BundledScorer()(crops[3:4], faces[3][1][None])
    assert alone["grin"][0] == scores["grin"][3]
    smile = np.array([n["smile"] for _, _, n in faces])
    assert auc(scores["grin"], smile > 0.4) > 0.8


def test_weights_that_do_not_fit_are_refused():
    clear_models()
    with pytest.raises(WeightsError, match="do not fit"):
        bundled_network("face_analyser", lambda: torch.nn.Linear(1, 1))


def test_the_bundled_file_is_small_and_has_a_card():
    row = entry("face_analyser")
    card = resource("models", "weights", "bundled", "face_analyser.md")
    assert row.bundled
    assert row.bytes < 3_000_000
    assert "synthetic" in card.read_text(encoding="utf-8")


# training


def test_crops_keep_picture_points_and_labels_together(pairs):
    crops = Crops(PairSet(pairs, "train"), RECIPE)
    for seed in range(6):
        crop = crops.plain(seed % len(crops.pairs), np.random.default_rng(seed))
        at = np.rint((crop.landmarks[48:60].mean(axis=0) + 1) * 32 - 0.5).astype(int)
        assert LABELS[crop.parts[at[1], at[0]]] in ("lips", "mouth")
        careless = crops.careless(seed % len(crops.pairs), np.random.default_rng(seed))
        assert careless.faces.shape == (128, 128, 3)
        assert careless.faces.dtype == np.uint8


def test_batches_are_functions_of_the_step(pairs):
    job = make_job(RECIPE, pairs)
    one, same, other = job.batch(3), job.batch(3), job.batch(4)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.faces, other.faces)


def test_steps_on_one_batch_lower_the_loss(pairs):
    job = make_job(RECIPE.model_copy(update={"steps": 1000}), pairs)
    batch = job.batch(0)
    losses = [job.step(200 + i, batch)["loss"] for i in range(8)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_stopped_training_resumes_exactly(pairs, tmp_path):
    def train(folder: Path, steps: int) -> AnalyserJob:
        job = make_job(RECIPE, pairs)
        run_training(job, folder, steps=steps, seed=RECIPE.seed, recipe=RECIPE.model_dump(), log_every=1)
        return job

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "parts", 1)
    resumed = train(tmp_path / "parts", 3)
    for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert load_run(tmp_path / "parts", make_job(RECIPE, pairs)) == 3
    (file,) = whole.export(tmp_path / "export")
    assert file.stat().st_size < 3_000_000


def test_validation_names_what_it_measures(pairs):
    values = make_job(RECIPE, pairs).validate()
    assert {"nme", "miou", "yaw", "age", "auc_glasses", "auc_smile"} <= set(values)
    assert all(np.isfinite(v) for v in values.values())


def test_auc_and_iou_by_hand():
    assert auc([0.1, 0.4, 0.4, 0.8], [False, False, True, True]) == pytest.approx(0.875)
    wanted = np.array([[0, 0, 1, 1]])
    shares = part_iou(np.array([[0, 1, 1, 1]]), wanted, np.ones_like(wanted, bool))
    assert shares[0] == pytest.approx(1 / 2)
    assert shares[1] == pytest.approx(2 / 3)
    assert np.isnan(shares[2])
