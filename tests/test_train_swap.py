"""Training a swapper: what it takes from shards, what the recipe switches, resume and ranks."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from tiny_dataset import make_shard

from fstriplets.errors import ConfigError, DatasetError, OutputError, WeightsError
from fstriplets.faces.templates import template_points
from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator
from fstriplets.swapping import load_swapper
from fstriplets.training.board import board
from fstriplets.training.loop import Progress, run_training
from fstriplets.training.losses import PerceptualLoss
from fstriplets.training.ranks import Ranks
from fstriplets.training.recipe import load_training, read_recipe
from fstriplets.training.session import Session, _run, run_here
from fstriplets.training.swap import SwapJob
from fstriplets.training.swap_data import TripletStream, first_samples
from fstriplets.training.swap_features import FaceCrop, load_features, load_identity
from fstriplets.training.swap_losses import SwapLosses
from fstriplets.training.swap_recipe import Recipe, ScaleWeights
from fstriplets.triplets.kinds import KINDS

NONE = {"adv": 0, "id": 0, "pixel": 0, "perceptual": 0}
#: As small as the network goes; one id loss, since the recogniser costs the most.
TINY: dict[str, Any] = {
    "steps": 4, "batch_size": 4, "image_size": 64, "channels": 4, "discriminator_channels": 4,
    "discriminator_layers": 2, "embedder": "seeded", "perceptual": "seeded", "validation_samples": 6,
    "loss_256": {**NONE, "adv": 1, "id": 20, "pixel": 10}, "loss_128": {**NONE, "adv": 0.02},
    "loss_64": {**NONE, "adv": 0.02}, "shuffle": 8, "validate_every": 0,
}  # fmt: skip


def tiny(**changes: Any) -> Recipe:
    return Recipe(**{**TINY, **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swap") / "triplets"
    for number in range(3):
        make_shard(folder, number, people=2, photos=2)
    make_shard(folder, 9, people=2, photos=2, split="val")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(recipe: Recipe, data: Path, folder: Path, **more: Any) -> tuple[SwapJob, bool]:
    job = SwapJob(recipe, data)
    done = run_training(
        job, folder, steps=recipe.steps, seed=recipe.seed, recipe=recipe.model_dump(mode="json"), **more
    )
    return job, done


# the stream


def test_every_stored_triplet_comes_once_an_epoch(dataset: Path) -> None:
    stream = TripletStream(dataset, "train", tiny(vanilla=0.0, vanilla_same=0.0), Ranks())
    keys: list[str] = []
    while True:
        batch = stream.batch()
        if batch.place["epoch"]:
            break
        keys += batch.keys
    counts = Counter(keys)
    assert max(counts.values()) == 1
    stored = sum(json.loads(path.read_text())["samples"] for path in dataset.glob("stats/train/*.json"))
    assert stored - len(counts) < 4  # the rest shares its batch with the next epoch


def test_the_paper_mixes_two_people_and_one_photo(dataset: Path) -> None:
    stream = TripletStream(dataset, "train", tiny(), Ranks())
    kinds = Counter(kind for _ in range(60) for kind in stream.batch().kinds)
    total = sum(kinds.values())
    assert kinds["vanilla"] / total == pytest.approx(0.6, abs=0.05)
    assert kinds["vanilla_same"] / total == pytest.approx(0.112, abs=0.04)


def test_without_triplets_knows_a_result_for_one_photo_only(dataset: Path) -> None:
    stream = TripletStream(dataset, "train", tiny(mix="without_triplets"), Ranks())
    for _ in range(20):
        batch = stream.batch()
        assert not set(batch.kinds) & set(KINDS)
        assert batch.has_result.tolist() == [kind == "vanilla_same" for kind in batch.kinds]
        for row in batch.has_result.nonzero()[:, 0]:
            assert torch.equal(batch.source[row], batch.result[row])


def test_ranks_share_the_very_batches_of_one(dataset: Path) -> None:
    recipe = tiny(flip=0.5, jitter_share=1.0)
    whole = TripletStream(dataset, "train", recipe, Ranks())
    halves = [TripletStream(dataset, "train", recipe, Ranks(rank, 2)) for rank in range(2)]
    for _ in range(25):
        one, parts = whole.batch(), [half.batch() for half in halves]
        assert one.keys == parts[0].keys + parts[1].keys
        assert [part.place for part in parts] == [one.place] * 2
        cpu = torch.device("cpu")
        for mine, theirs in zip(
            one.images(cpu), zip(*(p.images(cpu) for p in parts), strict=True), strict=True
        ):
            assert torch.equal(mine, torch.cat(theirs))


@pytest.mark.parametrize("used", [1, 7, 40])
def test_a_place_in_the_stream_can_be_taken_up_by_any_number_of_ranks(dataset: Path, used: int) -> None:
    recipe = tiny(open_shards=2)
    stream = TripletStream(dataset, "train", recipe, Ranks())
    place = [stream.batch().place for _ in range(used)][-1]
    place = json.loads(json.dumps(place))
    again = [TripletStream(dataset, "train", recipe, Ranks(rank, 4)) for rank in range(4)]
    for part in again:
        part.seek(place)
    for _ in range(10):
        assert stream.batch().keys == [key for part in again for key in part.batch().keys]


def test_a_place_in_another_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    place = TripletStream(dataset, "train", tiny(), Ranks()).batch().place
    make_shard(tmp_path / "other", 0, people=2, photos=2)
    with pytest.raises(DatasetError, match="choose another --output"):
        TripletStream(tmp_path / "other", "train", tiny(), Ranks()).seek(place)


def test_stretched_triplets_are_wider_or_narrower_all_three_alike(dataset: Path) -> None:
    recipe = tiny(stretch=0.3, flip=0.0, grey=0.0, jitter_share=0.0, batch_size=8, image_size=64)
    batch = TripletStream(dataset, "train", recipe, Ranks()).batch()
    square = torch.zeros_like(batch.source)
    square[..., 20:44, 20:44] = 255  # 24 pixels wide and high
    batch.source = batch.target = batch.result = square
    source, target, result = batch.images(torch.device("cpu"))
    assert torch.equal(source, target)
    assert torch.equal(source, result)
    inside = (source[:, 0] + 1) / 2
    wide, high = inside[:, 32].sum(-1), inside[:, :, 32].sum(-1)
    assert torch.allclose(wide, 24 * batch.look.width, rtol=0.04)
    assert torch.allclose(high, 24 / batch.look.width, rtol=0.04)
    assert batch.look.width.min() < 0.95
    assert batch.look.width.max() > 1.05


def test_augmentation_treats_the_members_of_a_triplet_alike(dataset: Path) -> None:
    recipe = tiny(flip=1.0, grey=0.0, jitter_share=1.0, vanilla=0.0, vanilla_same=0.5)
    batch = TripletStream(dataset, "train", recipe, Ranks()).batch()
    batch.source = batch.target = batch.result = torch.randint(0, 255, batch.source.shape, dtype=torch.uint8)
    source, target, result = batch.images(torch.device("cpu"))
    assert torch.equal(source, target)
    assert torch.equal(source, result)
    luma = torch.tensor([0.299, 0.587, 0.114])
    for row, image in enumerate(batch.source.flip(-1).double() / 255):
        look = batch.look
        bright = image * look.brightness[row]
        middle = torch.einsum("chw,c->hw", bright, luma.double()).mean()
        contrasted = look.contrast[row] * bright + (1 - look.contrast[row]) * middle
        grey = torch.einsum("chw,c->hw", contrasted, luma.double())
        wanted = (look.saturation[row] * contrasted + (1 - look.saturation[row]) * grey).clamp(0, 1)
        assert torch.allclose(source[row].double(), wanted * 2 - 1, atol=1e-5)
        assert (wanted - image).abs().max() > 0.01


def test_grey_takes_the_colour_and_nothing_else_changes_a_still_batch(dataset: Path) -> None:
    grey = TripletStream(dataset, "train", tiny(grey=1.0, flip=0.0, jitter_share=0.0), Ranks()).batch()
    source = grey.images(torch.device("cpu"))[0]
    assert torch.allclose(source[:, 0], source[:, 2], atol=1e-5)
    still = TripletStream(dataset, "train", tiny(grey=0.0, flip=0.0, jitter_share=0.0), Ranks()).batch()
    assert torch.allclose(still.images(torch.device("cpu"))[1], still.target.float() / 127.5 - 1, atol=1e-6)


def test_a_damaged_shard_names_itself(dataset: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "d", 0, people=2, photos=2)
    shard = next((tmp_path / "d").glob("shards/train/*.tar"))
    shard.write_bytes(shard.read_bytes()[:20_000])
    stream = TripletStream(tmp_path / "d", "train", tiny(shuffle=0), Ranks())
    with pytest.raises(DatasetError, match=r"train-000000\.tar.*audit"):
        [stream.batch() for _ in range(100)]


# the losses


@pytest.fixture(scope="module")
def scene() -> dict[str, Any]:
    """Inputs of the generator's losses, and networks they look through."""
    torch.manual_seed(3)
    identity = load_identity("seeded", "ffhq")
    return {
        "identity": identity,
        "features": load_features("seeded", "ffhq", identity),
        "images": [torch.rand(2, 3, size, size) * 2 - 1 for size in (64, 32, 16)],
        "scores": [torch.rand(2, 1, 4, 4) for _ in range(3)],
        "embeddings": torch.nn.functional.normalize(torch.randn(2, 512)),
        "target": torch.rand(2, 3, 64, 64) * 2 - 1,
        "result": torch.rand(2, 3, 64, 64) * 2 - 1,
    }


FULL = {"adv": 1.0, "id": 2.0, "pixel": 3.0, "perceptual": 4.0}


def losses_of(scene: dict[str, Any], known: list[bool], **weights: Any) -> tuple[float, dict[str, float]]:
    scales = {f"loss_{side}": weights.get(f"loss_{side}", NONE) for side in (256, 128, 64)}
    losses = SwapLosses(tiny(**scales), scene["identity"], scene["features"], Ranks())
    scores = scene["scores"][: len(losses.judged)]
    total, values = losses.generator(
        scene["images"], scores, scene["embeddings"], scene["target"], scene["result"], torch.tensor(known)
    )
    return float(total), {name: float(value) for name, value in values.items()}


def test_the_sum_is_the_weighted_one(scene: dict[str, Any]) -> None:
    total, values = losses_of(scene, [True, True], loss_256=FULL, loss_64={**NONE, "id": 5.0})
    assert set(values) == {"adv_256", "id_256", "pixel_256", "perceptual_256", "id_64"}
    assert min(abs(value) for value in values.values()) > 0
    by_hand = sum(FULL[name.split("_")[0]] * values[name] for name in values if name.endswith("256"))
    assert total == pytest.approx(by_hand + 5.0 * values["id_64"], rel=1e-5)


@pytest.mark.parametrize("name", list(FULL))
def test_a_weight_of_0_removes_its_loss(scene: dict[str, Any], name: str) -> None:
    total, values = losses_of(scene, [True, True], loss_256=FULL)
    less, rest = losses_of(scene, [True, True], loss_256={**FULL, name: 0})
    assert f"{name}_256" not in rest
    assert less == pytest.approx(total - FULL[name] * values[f"{name}_256"], rel=1e-4)


def test_pixels_count_only_where_the_result_is_known(scene: dict[str, Any]) -> None:
    only = {**NONE, "pixel": 1.0}
    both, first, none = (
        losses_of(scene, known, loss_256=only)[0] for known in ([True, True], [True, False], [False, False])
    )
    error = [0.5 * (scene["images"][0] - scene["result"])[i].square().mean() for i in range(2)]
    assert first == pytest.approx(float(error[0]), rel=1e-5)
    assert both == pytest.approx(float(sum(error)) / 2, rel=1e-5)
    assert none == 0


def test_absolute_errors_count_more_where_the_face_is(scene: dict[str, Any]) -> None:
    only = {"loss_256": {**NONE, "l1": 1.0}, "loss_128": NONE, "loss_64": NONE}
    target, result = scene["target"], scene["result"]

    def error(places: slice, face_weight: float) -> float:
        """Of a picture that is wrong by 0.1 in these rows and columns of the first sample."""
        swapped = result.clone()
        swapped[0, :, places, places] += 0.1
        losses = SwapLosses(tiny(**only, face_weight=face_weight), scene["identity"], None, Ranks())
        images = [swapped, *scene["images"][1:]]
        known = torch.tensor([True, False])
        return float(losses.generator(images, [], scene["embeddings"], target, result, known)[0])

    middle, corner = slice(28, 36), slice(0, 8)
    assert error(middle, 0.0) == pytest.approx(0.1 * 64 / 64**2, rel=1e-3)
    assert error(middle, 0.0) == pytest.approx(error(corner, 0.0), rel=1e-3)
    assert error(middle, 4.0) == pytest.approx(5 * error(corner, 4.0), rel=1e-3)


@pytest.mark.parametrize("perceptual", [0.0, 4.0])
def test_truth_is_the_perceptual_distance_to_the_results_that_are_known(
    scene: dict[str, Any], perceptual: float
) -> None:
    recipe = tiny(loss_256={**NONE, "truth": 2.0, "perceptual": perceptual}, loss_128=NONE, loss_64=NONE)
    losses = SwapLosses(recipe, scene["identity"], scene["features"], Ranks())
    swapped = scene["images"][0].clone().requires_grad_()
    images = [swapped, *scene["images"][1:]]
    apart = PerceptualLoss(scene["features"], [1.0] * len(scene["features"].taps))

    def judged(known: list[bool]) -> tuple[torch.Tensor, float]:
        holes = torch.tensor(known)[:, None, None, None]
        result = torch.where(holes, scene["result"], torch.nan)
        given = scene["embeddings"], scene["target"], result, torch.tensor(known)
        total, values = losses.generator(images, [], *given)
        (gradient,) = torch.autograd.grad(total, swapped)
        wanted = float(apart(scene["images"][0], scene["target"])) if perceptual else 0.0
        assert values.get("perceptual_256", 0.0) == pytest.approx(wanted, rel=1e-4)
        truth = float(values["truth_256"])
        assert total.item() == pytest.approx(2.0 * truth + perceptual * wanted, rel=1e-4)
        return gradient, truth

    plain = scene["images"][0]
    each = [float(apart(plain[i : i + 1], scene["result"][i : i + 1])) for i in range(2)]
    assert min(each) > 0
    assert judged([True, True])[1] == pytest.approx(sum(each) / 2, rel=1e-4)
    gradient, first = judged([True, False])
    assert first == pytest.approx(each[0], rel=1e-4)
    assert gradient.isfinite().all()
    assert bool(gradient[1].any()) == bool(perceptual)
    gradient, none = judged([False, False])
    assert (none, bool(gradient.any())) == (0.0, bool(perceptual))


@pytest.mark.parametrize("known", [[True, True], [True, False], [False, True], [False, False]])
def test_truth_is_the_same_for_two_ranks_as_for_one(
    scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, known: list[bool]
) -> None:
    """Ranks average their losses' gradients; a sample each, of which either may have no result."""
    wanted, _ = losses_of(scene, known, loss_256={**NONE, "truth": 1.0})
    monkeypatch.setattr(Ranks, "mean_tensor", lambda self, count: torch.tensor(sum(known) / 2))
    parts = []
    for rank in range(2):
        mine = slice(rank, rank + 1)
        alone = {name: scene[name][mine] for name in ("embeddings", "target", "result")}
        alone["images"] = [images[mine] for images in scene["images"]]
        recipe = tiny(loss_256={**NONE, "truth": 1.0}, loss_128=NONE, loss_64=NONE)
        losses = SwapLosses(recipe, scene["identity"], scene["features"], Ranks(rank, 2))
        known_here = torch.tensor(known[mine])
        parts.append(float(losses.generator(scores=[], has_result=known_here, **alone)[0]))
    assert sum(parts) / 2 == pytest.approx(wanted, rel=1e-4)
    assert (wanted > 0) == any(known)


def test_the_adversarial_forms_differ_as_paper_and_code_do(scene: dict[str, Any]) -> None:
    values = {}
    for form in ("paper", "code"):
        recipe = tiny(loss_256={**NONE, "adv": 1}, loss_128=NONE, loss_64=NONE, adv_form=form)
        losses = SwapLosses(recipe, scene["identity"], None, Ranks())
        arguments = (scene["embeddings"], scene["target"], scene["result"], torch.tensor([False, False]))
        values[form] = float(losses.generator(scene["images"], scene["scores"][:1], *arguments)[0])
    score = scene["scores"][0].mean().item()  # all below 1
    assert values == {"paper": pytest.approx(-score), "code": pytest.approx(1 - score)}


def test_what_the_recogniser_sees_is_averaged_not_skipped() -> None:
    checks = (torch.arange(512)[:, None] + torch.arange(512)) % 2 * 2.0 - 1
    seen = FaceCrop("ffhq", "arcface", 64)(checks.expand(1, 3, 512, 512))
    assert seen.abs().max() < 0.05


def test_the_recogniser_sees_its_own_crop() -> None:
    size = 128
    marked = torch.zeros(1, 3, size, size)
    points = template_points("ffhq", size)
    for x, y in points:
        marked[0, :, round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = 1.0
    crop = FaceCrop("ffhq", "arcface")(marked)[0, 0]
    for x, y in template_points("arcface", 112):
        near = crop[max(0, int(y) - 4) : int(y) + 6, max(0, int(x) - 4) : int(x) + 6]
        assert near.max() > 0.5, "an eye or mouth corner is not where ArcFace has it"
    whole = torch.rand(1, 3, 256, 256)
    window = FaceCrop("ffhq", "mobilefsgan")(whole)
    assert torch.equal(window[0, :, 0, 0], whole[0, :, 26, 26])
    assert torch.equal(window[0, :, -1, -1], whole[0, :, 229, 229])


# recipes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("variant=tall", "variant"),
        ("outputs=[64]", "outputs"),
        ("loss_256.idd=1", "loss_256.idd"),
        ("loss_64.id=-1", "loss_64.id"),
        ("batch_size=1", "batch_size"),
        ("image_size=100", "image_size"),
        ("adv_form=hinge", "adv_form"),
        ("mix=pairs", "mix"),
        ("learning_rat=1", "learning_rat"),
        ("precision=fp8", "precision"),
        ("vanilla=0.95", "vanilla and vanilla_same"),
        ("variant=hourglass", "hourglass needs image_size"),
    ],
)
def test_a_bad_recipe_is_refused_by_its_key(tmp_path: Path, change: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_training("train-swap-small", tmp_path, "swap", [change])


def test_a_recipe_without_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        tiny(loss_256=NONE, loss_128=NONE, loss_64=NONE)


def test_shipped_recipes_hold_the_papers_numbers() -> None:
    paper = Recipe(**{k: v for k, v in read_recipe("train-swap", []).items() if k != "trainer"})
    assert paper.loss_256 == ScaleWeights(adv=1, id=20, pixel=10, perceptual=4)
    assert paper.loss_128 == paper.loss_64 == ScaleWeights(adv=0.02, id=20)
    assert (paper.betas, paper.learning_rate, paper.batch_size) == ((0.0, 0.999), 1e-4, 64)
    small = Recipe(**{k: v for k, v in read_recipe("train-swap-small", []).items() if k != "trainer"})
    assert (small.image_size, small.pixel_unshuffle, small.channels) == (128, 2, 64)
    assert small.loss_256.truth > 0
    assert small.attention_reach > 0


def test_without_a_recogniser_the_way_out_is_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("fstriplets.training.swap_features.installed", lambda name: None)
    with pytest.raises(WeightsError, match="--as mobilefacenet"):
        SwapJob(tiny(embedder="auto"), dataset)
    with pytest.raises(ConfigError, match="embedder: 'nobody'"):
        SwapJob(tiny(embedder="nobody"), dataset)


def test_an_imported_recogniser_and_its_crop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: dict[str, Any]
) -> None:
    from fstriplets.models.weights import import_as

    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path))
    file = tmp_path / "official.pt"
    official = scene["identity"].network.state_dict()
    turned = {name: value.flip(1) if value.shape[1:2] == (3,) else value for name, value in official.items()}
    torch.save({f"module.{name}": value for name, value in turned.items()}, file)  # it reads BGR
    assert import_as("mobilefacenet", file, "research only").role == "loss"
    identity = load_identity("auto", "ffhq")
    assert (identity.origin.name, identity.origin.licence) == ("mobilefacenet", "research only")
    image = scene["target"]
    assert torch.allclose(identity(image), scene["identity"](image), atol=1e-5)


# runs


def test_a_run_leaves_metrics_pictures_and_a_described_swapper(dataset: Path, tmp_path: Path) -> None:
    recipe = tiny(
        steps=2,
        loss_256={**FULL, "id": 20},
        loss_128={**NONE, "id": 20},
        clip=1.0,
        warmup=2,
        validate_every=1,
    )
    job, done = run(recipe, dataset, tmp_path, log_every=1)
    assert done
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    train, held_out = ([line for line in lines if line["kind"] == kind] for kind in ("train", "validation"))
    wanted = {"loss", "discriminator", "adv_256", "id_256", "pixel_256", "perceptual_256", "id_128", "adv_64"}
    assert wanted | {"data_wait", "generator_norm", "seconds"} <= set(train[0])
    assert {"pixel_l1", "id_cosine", "id_cosine_before"} <= set(held_out[-1])
    picture = cv2.imread(str(tmp_path / "samples/step-0000002.png"))
    assert picture.shape == (6 * 68, 4 * 68, 3)
    with safe_open(tmp_path / "export/swapper.safetensors", "pt") as file:
        about = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert about["recipe_sha256"] == recipe.digest()
    assert (about["variant"], about["outputs"], about["image_size"]) == ("baseline", "[256, 128, 64]", "64")
    network = MobileFSGANGenerator(int(about["channels"]), int(about["embedding_size"]), about["variant"])
    network.load_state_dict(weights)
    averaged = job.average.network.state_dict()
    assert all(torch.equal(value, averaged[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimiser": "muon"}, {"optimiser": "muon", "embedder_learning_rate": 1e-3}],
    ids=["adam", "muon", "an embedder that learns"],
)
def test_a_resumed_run_ends_with_the_very_same_weights(
    dataset: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = tiny(clip=5.0, **changes)
    whole, _ = run(recipe, dataset, tmp_path / "whole")
    _, done = run(recipe, dataset, tmp_path / "parts", max_minutes=1e-9)
    assert not done  # one step, in the middle of an epoch and of a prefetched queue
    second, done = run(recipe, dataset, tmp_path / "parts")
    assert done
    for name in ("generator", "discriminator", "average", "embedder", "embedder_average"):
        if (state := whole.state().get(name)) is not None:
            assert all(torch.equal(value, second.state()[name][key]) for key, value in state.items()), name
    assert whole.state()["place"] == second.state()["place"]


def test_a_run_may_start_from_an_earlier_ones_weights(dataset: Path, tmp_path: Path) -> None:
    earlier = SwapJob(tiny(seed=1), dataset)
    earlier.step(0, earlier.batch(0))
    (file,) = earlier.export(tmp_path / "export")
    later = SwapJob(tiny(seed=2, start=str(file)), dataset)
    shipped = earlier.average.network.state_dict()
    for network in (later.generator, later.average.network):
        assert all(torch.equal(value, shipped[name]) for name, value in network.state_dict().items())
    fresh = SwapJob(tiny(seed=2), dataset).generator.state_dict()
    assert any(not torch.equal(value, shipped[name]) for name, value in fresh.items())
    mapped = SwapJob(tiny(seed=2, start=str(file), identity_map=8), dataset)  # begins as if it had none
    network = mapped.average.network
    assert all(torch.equal(network.state_dict()[name], value) for name, value in shipped.items())
    assert not network.identity_map.map.weight.any()
    (file,) = mapped.export(tmp_path / "mapped")
    assert load_swapper(file)[1].identity_map == 8


def test_a_swapper_of_flows_may_take_larger_crops_than_it_was_trained_on(
    dataset: Path, tmp_path: Path
) -> None:
    job = SwapJob(tiny(output_form="flow", crop_size=128), dataset)
    job.average.network.get_parameter("decoder.image256_output.conv.bias")[:5] = 0.2  # redder, and moved
    (path,) = job.export(tmp_path)
    generator, settings = load_swapper(path)
    assert (settings.size, settings.enlarge, settings.output_form) == (128, 2, "flow")
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8) - 0.5, 128, mode="bilinear")
    embedding = torch.nn.functional.normalize(torch.randn(1, 512))
    small = torch.nn.functional.avg_pool2d(smooth, 2)
    with torch.no_grad():
        large, usual = (g(x, embedding).full for g, x in ((generator, smooth), (job.average.network, small)))
    assert (torch.nn.functional.avg_pool2d(large, 2) - usual).abs().mean() < 0.01
    assert (usual - small).abs().mean() > 0.01  # it does something
    with pytest.raises(ValueError, match="crop_size needs output_form flow"):
        tiny(crop_size=128)


def test_the_id_loss_may_ask_for_the_known_results_face(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, torch.Tensor] = {}
    for asked in (False, True):
        job = SwapJob(tiny(vanilla=0.5, vanilla_same=0.0, batch_size=8, id_of_result=asked), dataset)
        batch = job.batch(0)
        generator = job.losses.generator
        monkeypatch.setattr(
            job.losses,
            "generator",
            lambda *args, asked=asked, generator=generator: (
                seen.__setitem__(asked, args[2]),
                generator(*args),
            )[1],
        )
        job.step(0, batch)
    source, _, result = batch.images(torch.device("cpu"))
    of_source, of_result = job.identity(source), job.identity(result)
    known = batch.has_result[:, None]
    assert 0 < known.sum() < len(known)
    assert torch.allclose(seen[False], of_source, atol=1e-5)
    assert torch.allclose(seen[True], torch.where(known, of_result, of_source), atol=1e-5)


def test_a_start_that_does_not_fit_names_its_key(dataset: Path, tmp_path: Path) -> None:
    (file,) = SwapJob(tiny(channels=8), dataset).export(tmp_path)
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no weights")
    narrower, another = {"channels": 4}, {"channels": 12}
    for wrong, more in ((file, narrower), (file, another), (tmp_path / "nobody", {}), (junk, {})):
        with pytest.raises(ConfigError, match=r"^start: "):
            SwapJob(tiny(start=str(wrong), **more), dataset)


def test_a_wider_network_that_folds_pixels_begins_as_the_one_it_starts_from(
    dataset: Path, tmp_path: Path
) -> None:
    flows = {"output_form": "flow", "image_size": 128, "outputs": (256,), "identity_map": 8}
    earlier = SwapJob(tiny(enlarge=2, **flows), dataset)
    shipped = earlier.average.network.eval()
    torch.nn.init.normal_(shipped.identity_map.map.weight)
    for name, buffer in shipped.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    output = shipped.decoder.image256_output.conv
    torch.nn.init.normal_(output.weight, std=0.02)
    (file,) = earlier.export(tmp_path)
    job = SwapJob(tiny(channels=12, pixel_unshuffle=2, start=str(file), **flows), dataset)
    grown = job.average.network.eval()
    # What the old network says of 64x64 places is smoothed when it is laid over 128x128 pixels; the new one
    # says it of 2x2 pixels at once. So the maps are compared before that.
    maps: dict[str, torch.Tensor] = {}
    for name, network in (("old", shipped), ("new", grown)):
        network.decoder.image256_output.register_forward_hook(
            lambda module, inputs, made, name=name: maps.__setitem__(name, made)
        )
    target = torch.rand(2, 3, 128, 128) * 2 - 1
    embedding = torch.nn.functional.normalize(torch.randn(2, 512))
    with torch.no_grad():
        shipped(target, embedding)
        grown(target, embedding)
    assert maps["new"].shape == (2, 6, 128, 128)
    assert torch.allclose(maps["new"][..., ::2, 1::2], maps["old"], atol=1e-4)
    assert maps["old"].std() > 0.05
    job.step(0, job.batch(0))  # and its copies of a map learn apart
    first, second = job.generator.decoder.b256_0.basic_block.conv1x1.weight.split(4)[:2]
    assert (first - second).abs().max() > 1e-4
    (file,) = job.export(tmp_path / "grown")
    again, settings = load_swapper(file)
    assert settings.pixel_unshuffle == 2
    with torch.no_grad():
        assert torch.equal(again(target, embedding).full, job.average.network.eval()(target, embedding).full)


def test_the_discriminator_sees_unedited_members(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = SwapJob(tiny(vanilla=0.0, vanilla_same=0.0, batch_size=16, flip=0, jitter_share=0, grey=0), dataset)
    batch = job.batch(0)
    seen: list[torch.Tensor] = []
    judge = job._judge
    monkeypatch.setattr(job, "_judge", lambda real, images: (seen.append(real), judge(real, images))[1])
    job.step(0, batch)
    for row, kind in enumerate(batch.kinds):
        member = getattr(batch, KINDS[kind].real)[row].float() / 127.5 - 1
        assert torch.allclose(seen[0][row], member, atol=1e-6)
    assert len({KINDS[kind].real for kind in batch.kinds}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": (256,)},
        {"outputs": (256, 128), "variant": "shallow", "channels_last": True},
        {"variant": "no_fusion", "precision": "bf16"},
        {"variant": "wide", "mix": "without_triplets", "adv_form": "code", "id_form": "paper"},
        {"loss_256": {**NONE, "pixel": 1}, "loss_128": NONE, "loss_64": NONE},
        {"output_form": "flow", "image_size": 128, "enlarge": 2},
        {"output_form": "flow", "outputs": (256,), "embedder_learning_rate": 1e-3},
        {"identity_map": 8, "optimiser": "muon"},
        {"pixel_unshuffle": 2, "image_size": 128, "optimiser": "muon"},
    ],
    ids=[
        *("one output", "two, shallow", "no fusion, bf16", "wide, without triplets", "no discriminator"),
        *("flow, enlarged", "flow, an embedder that learns", "identity map", "pixels folded"),
    ],
)
def test_every_arrangement_takes_a_step(dataset: Path, changes: dict[str, Any]) -> None:
    job = SwapJob(tiny(batch_size=2, **{"loss_256": {**NONE, "adv": 1, "pixel": 1}, **changes}), dataset)
    before = [p.detach().clone() for p in job.generator.parameters()]
    values = {name: float(value) for name, value in job.step(0, job.batch(0)).items()}
    assert np.isfinite(list(values.values())).all()
    assert ("discriminator" in values) == (job.discriminator is not None)
    if any(values.get(name) for name in ("adv_256", "pixel_256")):
        assert any(not torch.equal(a, b) for a, b in zip(before, job.generator.parameters(), strict=True))
    if drawn := job.generator.identity_map:
        assert drawn.map.weight.any()


@pytest.mark.slow
def test_compiled_networks_take_the_same_steps(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's tracer and autograd alone; generating code for the CPU takes minutes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    recipe = {"loss_256": {**NONE, "adv": 1, "pixel": 10}, "outputs": (256,), "batch_size": 2}
    plain, compiled = (SwapJob(tiny(**recipe, compile=choice), dataset) for choice in (False, True))
    for step in range(2):
        batch = plain.batch(step)
        wanted, found = plain.step(step, batch), compiled.step(step, batch)
        assert all(float(found[name]) == pytest.approx(float(wanted[name]), rel=1e-4) for name in wanted)
    assert compiled.state()["generator"].keys() == plain.state()["generator"].keys()


def test_a_dataset_without_val_trains_and_says_so(tmp_path: Path) -> None:
    make_shard(tmp_path / "d", 0, people=2, photos=2)
    job = SwapJob(tiny(), tmp_path / "d")
    assert job.validate() == {}
    assert any("no val split" in note for note in job.notes)
    assert first_samples(tmp_path / "d", "train", tiny(), 3).kinds


def test_an_uneven_batch_is_refused(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fstriplets.training.swap.these_ranks", lambda: Ranks(0, 3))
    with pytest.raises(ConfigError, match="batch_size 4 cannot be shared by 3"):
        SwapJob(tiny(), dataset)


def recipe_file(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({"trainer": "swap", **TINY, **changes}))
    return path


def losses_in(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"]


def close(one: Path, other: Path) -> None:
    """Two runs of the same recipe told the same losses, and wrote the same swapper, up to rounding."""
    from safetensors.torch import load_file

    steps = [{line["step"]: line for line in losses_in(folder)} for folder in (one, other)]
    for mine, theirs in ((steps[0][step], steps[1][step]) for step in steps[1]):
        for name in mine.keys() - {"seconds", "data_wait", "kind", "step"}:
            assert mine[name] == pytest.approx(theirs[name], rel=2e-3, abs=2e-4), name
    weights = [load_file(folder / "export/swapper.safetensors") for folder in (one, other)]
    for name, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][name].float(), rtol=1e-2, atol=2e-3), name


def alone(recipe: Path, data: Path, output: Path) -> None:
    values = read_recipe(recipe, [])
    assert run_here(Session(values, str(recipe), "swap", str(data), str(output), threads=1))


@pytest.mark.slow
def test_two_ranks_go_on_as_one_process_with_the_whole_batch(dataset: Path, tmp_path: Path) -> None:
    scale = {**TINY["loss_256"], "truth": 2.0, "perceptual": 2.0}
    rates = {"learning_rate": 1e-5, "embedder_learning_rate": 1e-5}
    recipe = recipe_file(tmp_path / "r.yaml", **rates, loss_256=scale)
    alone(recipe, dataset, tmp_path / "alone")
    begun = Session(
        read_recipe(recipe, []), str(recipe), "swap", str(dataset), str(tmp_path / "two"), 1, 1e-9
    )
    assert not run_here(begun)  # one step of the four by a single process
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "fstriplets", "train", "swap", str(recipe), "--threads", "1"),
        *("--data", str(dataset), "--output", str(tmp_path / "two")),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.count("swapper.safetensors") == 1
    close(tmp_path / "alone", tmp_path / "two")


@pytest.mark.slow
def test_dask_workers_train_as_one_process(dataset: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    from fstriplets.training.session import run_on_cluster

    recipe = recipe_file(tmp_path / "r.yaml", learning_rate=1e-5)
    alone(recipe, dataset, tmp_path / "alone")
    session = Session(read_recipe(recipe, []), str(recipe), "swap", str(dataset), str(tmp_path / "dask"), 1)
    heard: list[Any] = []
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster:
        assert run_on_cluster(session, cluster.scheduler_address, heard.append, heard.append)
    assert any("id loss" in str(message) for message in heard)
    close(tmp_path / "alone", tmp_path / "dask")


def test_tensorboard_gets_what_metrics_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            pass

    fake = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    board(tmp_path)(Progress(7, 9, 1.0, 1.0, {"loss": 2.0}))
    board(tmp_path)(Progress(8, 9, 1.0, 1.0, {"pixel_l1": 3.0}, validation=True))
    assert written == [("train/loss", 2.0, 7), ("validation/pixel_l1", 3.0, 8)]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board(tmp_path)(Progress(9, 9, 1.0, 1.0, {"loss": 2.0}))  # not installed: nothing happens
    assert len(written) == 2


def test_trainers_of_one_process_refuse_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fstriplets.training.session.make_training", lambda *given: (object(), None, {"trainer": "editor"})
    )
    with pytest.raises(ConfigError, match="trainer editor trains in one process"):
        _run(Session({}, "r", "editor", "d", str(tmp_path)), Ranks(0, 2), None, None, None)


def test_another_recipe_in_the_same_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"trainer": "swap", **tiny().model_dump(mode="json")}))
    values = read_recipe(recipe_file(tmp_path / "r.yaml", channels=8), [])
    with pytest.raises(OutputError, match="channels differ"):
        run_here(Session(values, "r", "swap", str(dataset), str(folder)))


def test_a_run_begun_before_there_was_a_key_goes_on(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    begun = {"trainer": "swap", **tiny(steps=1).model_dump(mode="json")}
    del begun["start"], begun["betas"], begun["loss_256"]["l1"]
    (folder / "recipe.json").write_text(json.dumps(begun))
    values = read_recipe(recipe_file(tmp_path / "r.yaml", steps=1), [])
    assert run_here(Session(values, "r", "swap", str(dataset), str(folder)))
    begun["clip"] = 1.0
    (folder / "recipe.json").write_text(json.dumps(begun))
    with pytest.raises(OutputError, match=r"\(clip differ\)"):
        run_here(Session(values, "r", "swap", str(dataset), str(folder)))
