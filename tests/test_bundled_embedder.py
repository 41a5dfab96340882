"""The bundled embedder: network, trainer, and the backend on the demo corpus' people."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pairs import demo_photos, write_tiny_pairs

from fstriplets.config import PipelineConfig
from fstriplets.faces.align import similarity, transform_points, warp
from fstriplets.faces.embed import arcface_crops, load_embedder
from fstriplets.faces.embed_bundled import BundledEmbedder, smooth_identity
from fstriplets.faces.identity import verification_auc
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.networks.face_embedder import FaceEmbedder, SmoothIdentity
from fstriplets.training.identity import (
    Recipe,
    contrastive,
    identity_crop,
    make_job,
)
from fstriplets.training.loop import load_run, run_training

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(steps=4, seed=3, batch_size=4, learning_rate=2e-3)
SIZE = 256


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The demo's people in `ffhq` crops: pixels, 68 points, number of the person."""
    crops, points, owners = [], [], []
    names: list[str] = []
    for name, pixels, landmarks in demo_photos():
        names += [name] if name not in names else []
        matrix = similarity(five_points(landmarks), template_points("ffhq", SIZE))
        crops.append(warp(pixels, matrix, SIZE))
        points.append(transform_points(landmarks, matrix))
        owners.append(names.index(name))
    return np.stack(crops), np.array(points), np.array(owners)


@pytest.fixture(scope="module")
def embedder() -> BundledEmbedder:
    return BundledEmbedder(PipelineConfig())


# the network


def test_both_heads_give_512_numbers_of_unit_length() -> None:
    network = FaceEmbedder().eval()
    sharp, smooth = network.both(torch.rand(3, 3, 64, 64) * 2 - 1)
    assert sharp.shape == smooth.shape == (3, 512)
    for embedding in (sharp, smooth):
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match="faces must be"):
        network(torch.zeros(1, 3, 112, 112))


def test_the_smooth_identity_looks_at_the_recognisers_crop(faces) -> None:
    crops, _, _ = faces
    network = FaceEmbedder().eval()
    images = torch.from_numpy(crops[:2]).permute(0, 3, 1, 2).float() / 127.5 - 1
    seen: list[torch.Tensor] = []
    network.stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    SmoothIdentity(network)(images)
    target = template_points("ffhq", SIZE)
    own = arcface_crops(crops[:2], np.stack([target, target]), 64)
    drawn = ((seen[0].permute(0, 2, 3, 1).numpy() + 1) * 127.5).clip(0, 255)
    assert np.abs(drawn - own).mean() < 4  # another filter, the same window
    shifted = np.roll(own, 2, axis=2)
    assert np.abs(drawn - own).mean() < 0.6 * np.abs(drawn - shifted).mean()


def test_gradients_of_the_smooth_identity_reach_the_picture() -> None:
    judge = SmoothIdentity(FaceEmbedder()).train()
    assert not judge.training
    images = (torch.rand(2, 3, 128, 128) * 2 - 1).requires_grad_()
    judge(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in judge.parameters())


# the trainer


def test_the_curve_of_same_and_other() -> None:
    labels = np.array([0, 0, 1, 1])
    apart = np.eye(2)[labels]
    assert verification_auc(apart, labels) == 1
    assert verification_auc(np.ones((4, 2)) / np.sqrt(2), labels) == 0.5


def test_contrast_is_low_where_people_are_apart() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.eye(2)[labels]
    mixed = torch.eye(2)[torch.tensor([0, 1, 0, 1])]
    assert contrastive(apart, labels, 0.1) < 0.01 < contrastive(mixed, labels, 0.1)


def test_crops_are_augmented_about_the_template(pairs: Path) -> None:
    _, pixels, landmarks = demo_photos()[0]
    plain = identity_crop(pixels, landmarks)
    assert plain.shape == (64, 64, 3)
    np.testing.assert_array_equal(plain, identity_crop(pixels, landmarks))
    drawn = [identity_crop(pixels, landmarks, np.random.default_rng(seed)) for seed in range(12)]
    apart = [
        min(np.abs(crop.astype(float) - other).mean() for other in (plain, plain[:, ::-1])) for crop in drawn
    ]
    assert min(apart) > 0
    assert max(apart) < 40


def test_a_few_steps_lower_the_loss(pairs: Path) -> None:
    job = make_job(RECIPE, pairs)
    batch = job.batch(0)
    losses = [job.step(199, batch)["people"] for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_resumed_training_is_the_same(pairs: Path, tmp_path: Path) -> None:
    def trained(folder: Path, *stops: int) -> torch.Tensor:
        for steps in (*stops, 4):
            job = make_job(RECIPE, pairs)
            run_training(job, folder, steps=steps, seed=3, recipe={})
        assert load_run(folder, job) == 4
        return job.average.network.identity[0].weight

    assert torch.equal(trained(tmp_path / "a"), trained(tmp_path / "b", 2))
    assert (tmp_path / "a" / "export" / "face_embedder.safetensors").stat().st_size < 4_000_000


def test_a_run_goes_on_when_more_people_are_drawn(pairs: Path, tmp_path: Path) -> None:
    few = RECIPE.model_copy(update={"people": 30})
    begun = tmp_path / "begun" / "people"
    begun.mkdir(parents=True)
    for name in ("p0000000.npz", "p0000001.npz"):
        shutil.copyfile(pairs / "people" / name, begun / name)
    state = make_job(few, begun.parent).state()
    job = make_job(few, pairs)
    job.load(state)
    assert set(job.batch(0)[1]) <= {0, 1, 2}
    assert np.isfinite(job.step(0, job.batch(0))["people"])


# the backend


def test_demo_people_are_told_apart(embedder: BundledEmbedder, faces) -> None:
    crops, points, owners = faces
    vectors = embedder.embed(crops, points)
    assert vectors.shape == (len(crops), 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert verification_auc(vectors, owners) > 0.9


def test_embeddings_do_not_depend_on_the_batch(embedder: BundledEmbedder, faces) -> None:
    crops, points, _ = faces
    together = embedder.embed(crops[:4], points[:4])
    np.testing.assert_array_equal(together[2:3], embedder.embed(crops[2:3], points[2:3]))
    np.testing.assert_array_equal(together[::-1], embedder.embed(crops[3::-1], points[3::-1]))
    assert embedder.embed(crops[:0], points[:0]).shape[0] == 0


def test_mirrored_faces_have_the_same_identity(embedder: BundledEmbedder, faces) -> None:
    crops, points, _ = faces
    five = np.stack([five_points(p) for p in points[:3]])
    mirrored = five[:, [1, 0, 2, 4, 3]] * (-1, 1) + (SIZE - 1, 0)
    again = embedder.embed(np.ascontiguousarray(crops[:3, :, ::-1]), mirrored)
    assert (embedder.embed(crops[:3], five) * again).sum(axis=1).min() > 0.97


def test_the_smooth_identity_changes_evenly(faces) -> None:
    crops, _, owners = faces
    other = int(np.flatnonzero(owners != owners[0])[0])
    shares = np.linspace(0, 1, 9)
    images = np.stack([(1 - t) * crops[0] + t * crops[other] for t in shares])
    with torch.inference_mode():
        found = smooth_identity()(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    cosines = (found @ found[0]).numpy()
    assert (np.diff(cosines) < 0.02).all()
    assert cosines[-1] < 0.7
    assert np.abs(np.diff(cosines)).max() < 0.45  # no sudden turn from one person to the other


def test_it_is_found_by_name() -> None:
    chosen = load_embedder(PipelineConfig(embedder="bundled"))
    assert chosen is not None
    assert chosen.name == "bundled"
    assert list(chosen.weights) == ["face_embedder"]
