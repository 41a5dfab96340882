"""Swappers whose embedder learned along: what lies in their file, and what may be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_dataset import make_splits

from fstriplets.errors import WeightsError
from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator
from fstriplets.swapping import load_model
from fstriplets.training.swap import SwapJob
from fstriplets.training.swap_recipe import Recipe

NONE = {"adv": 0, "id": 0, "pixel": 0, "perceptual": 0}
RECIPE: dict[str, Any] = {
    "steps": 2, "batch_size": 2, "image_size": 64, "channels": 4, "validation_samples": 2, "shuffle": 8,
    "loss_256": {**NONE, "pixel": 1}, "loss_128": NONE, "loss_64": NONE, "embedder_learning_rate": 1e-3,
}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    return Recipe(**{**RECIPE, **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_splits(tmp_path_factory.mktemp("swap") / "triplets")


@pytest.fixture(scope="module", params=["face_embedder", "seeded"])
def swapper(request: pytest.FixtureRequest, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    job = SwapJob(recipe(embedder=request.param), dataset)
    for step in range(2):
        job.step(step, job.batch(step))
    assert job.validate()["pixel_l1"] > 0
    (path,) = job.export(tmp_path_factory.mktemp("export"))
    return path


def test_the_embedder_learns_and_the_recogniser_of_the_losses_does_not(dataset: Path) -> None:
    job = SwapJob(recipe(embedder="face_embedder"), dataset)
    assert job.embedder is not None
    kept = [p.detach().clone() for p in job.identity.parameters()]
    begun = [p.detach().clone() for p in job.embedder.parameters()]
    job.step(0, job.batch(0))
    assert all(torch.equal(a, b) for a, b in zip(kept, job.identity.parameters(), strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(begun, job.embedder.parameters(), strict=True)]
    assert sum(moved) > len(moved) // 2


def test_the_file_holds_both_and_reads_sources_with_its_own(swapper: Path, dataset: Path) -> None:
    with safe_open(swapper, "pt") as file:
        head = file.metadata()
        own = [name for name in file.keys() if name.startswith("embedder.")]  # noqa: SIM118
    assert head["embedder"] == "own"
    assert head["id_loss"] in ("face_embedder", "seeded")
    assert own
    model = load_model(swapper)
    crops = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    embeddings = model.embed(crops)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    usual = SwapJob(recipe(embedder=head["id_loss"], embedder_learning_rate=0), dataset).identity
    with torch.no_grad():
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        assert np.abs(usual(images).numpy() - embeddings).max() > 1e-3  # it has learned
    assert model.swap(crops, embeddings).shape == crops.shape


def test_it_takes_no_other_embedder(swapper: Path) -> None:
    with pytest.raises(WeightsError, match="has an embedder of its own: leave --embedder away"):
        load_model(swapper, embedder="face_embedder")


def test_a_file_that_lost_its_embedder_says_so(swapper: Path, tmp_path: Path) -> None:
    with safe_open(swapper, "pt") as file:
        head = file.metadata()
    rest = {name: value for name, value in load_file(swapper).items() if not name.startswith("embedder.")}
    save_file(rest, tmp_path / "half.safetensors", metadata=head)
    with pytest.raises(WeightsError, match="lacks the embedder"):
        load_model(tmp_path / "half.safetensors")


def test_a_start_brings_the_embedder_and_another_form_of_output_begins_anew(
    swapper: Path, dataset: Path
) -> None:
    with safe_open(swapper, "pt") as file:
        name = file.metadata()["id_loss"]
    stored = load_file(swapper)
    job = SwapJob(recipe(start=str(swapper), embedder=name, output_form="flow"), dataset)
    assert job.embedder is not None
    for key, value in job.embedder.network.state_dict().items():
        assert torch.equal(value.float(), stored[f"embedder.{key}"].float())
    fresh = MobileFSGANGenerator(4, 512, output_form="flow").state_dict()
    for key, value in job.generator.state_dict().items():
        assert torch.equal(value, fresh[key] if key.startswith("decoder.image") else stored[key]), key
    plain = SwapJob(recipe(start=str(swapper), embedder=name, embedder_learning_rate=0), dataset)
    assert plain.embedder is None
