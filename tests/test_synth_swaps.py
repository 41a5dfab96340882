"""True swaps: the dataset `synth swaps` draws, and the swap trainer that takes it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat_studio import FlatStudio
from test_shards import tree
from test_train_swap import NONE, run, tiny
from tiny_dataset import make_shard

import fstriplets
from fstriplets.cli.app import run as command_line
from fstriplets.errors import ConfigError, DatasetError, OutputError, UserError
from fstriplets.shards import ImageCodec, Store, iter_manifest, list_stats, read_manifest, verify_shard
from fstriplets.synth import facemodel
from fstriplets.synth.swaps import SwapPlan, groups_of, write_swaps
from fstriplets.training.ranks import Ranks
from fstriplets.training.swap import SwapJob
from fstriplets.training.swap_data import TripletStream, first_samples
from fstriplets.training.swap_recipe import Recipe
from fstriplets.training.swap_truth import face_masks, pixel_measures
from fstriplets.training.swap_validation import Validation

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64
load = facemodel.load_face_model
#: Five people of whom 0, 1, 2 are in train and 3, 4 in val.
PLAN: dict[str, Any] = {"people": 5, "swaps": 4, "photos": 3, "size": SIZE, "seed": 37}
PIXELS = tiny(
    loss_256={**NONE, "pixel": 1}, loss_128=NONE, loss_64=NONE, vanilla=0.0, vanilla_same=0.0
).model_dump()


def mixed(swaps: Path, share: float = 0.25, **changes: Any) -> Recipe:
    return Recipe(**{**PIXELS, "true_swaps": str(swaps), "true_swap_share": share, **changes})


@pytest.fixture(scope="module", autouse=True)
def flat_studio() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fstriplets.synth.swap_shard._studio", FlatStudio)
        patch.setattr(facemodel, "load_face_model", lambda path=None: load(path) if path else None)
        yield


@pytest.fixture(scope="module")
def swaps(tmp_path_factory: pytest.TempPathFactory, flat_studio: None) -> Path:
    folder = tmp_path_factory.mktemp("swaps") / "swaps"
    write_swaps(SwapPlan(str(folder), **PLAN), workers=0)
    return folder


@pytest.fixture(scope="module")
def triplets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triplets") / "triplets"
    for number in range(2):
        make_shard(folder, number, people=2, photos=2)
    make_shard(folder, 9, people=2, photos=2, split="val")
    return folder


# the dataset


def test_a_dataset_in_the_layout_of_build(swaps: Path) -> None:
    store = Store(swaps)
    shards = {stats.shard: stats.samples for stats in list_stats(store)}
    assert shards == {"train-000000": 12, "val-000000": 6}  # two people have three photos to be put into
    assert not [p for name in shards for p in verify_shard(store, name, name.split("-")[0], deep=True)]
    faces = {row["face_id"]: row for row in read_manifest(store, "faces").to_pylist()}
    edits = {row["edit_id"]: row for row in read_manifest(store, "edits").to_pylist()}
    assert len(faces) == 15
    for row in read_manifest(store, "triplets").to_pylist():
        source, target, edit = faces[row["source_id"]], faces[row["target_id"]], edits[row["result_id"]]
        assert source["identity_id"] == row["identity_id"] == edit["identity_id"] != target["identity_id"]
        assert edit["face_id"] == row["target_id"]
        assert source["split"] == target["split"] == row["split"]
        assert (row["kind"], row["real"], row["consent"]) == ("true_swap", "source", "synthetic")
        assert "synthetic" in row["licence"]
    people = [
        {face["identity_id"] for face in faces.values() if face["split"] == s} for s in ("train", "val")
    ]
    assert not people[0] & people[1]
    about = json.loads(store.read("run.json"))
    assert (about["status"], about["config"]["crop"], about["config"]["image_size"]) == ("done", "ffhq", SIZE)
    assert about["counts"]["kinds"] == {"true_swap": 18}


def test_target_and_result_are_one_photo_but_for_the_face(swaps: Path) -> None:
    store = Store(swaps)
    rows = read_manifest(store, "triplets").to_pylist()
    masks = face_masks(swaps, [row["triplet_id"] for row in rows if row["split"] == "val"], SIZE)
    for row, face in zip((row for row in rows if row["split"] == "val"), masks.numpy(), strict=True):
        tar = f"shards/{row['split']}/{row['shard']}.tar"
        target, result = (
            ImageCodec.decode(store.read_range(tar, row[f"{r}_offset"], row[f"{r}_size"])).astype(int)
            for r in ("target", "result")
        )
        apart = np.abs(target - result).max(-1)
        for corner in (apart[:15, :15], apart[:15, -15:], apart[-15:, :15], apart[-15:, -15:]):
            assert corner.max() <= 1  # blocks of the JPEG that the face does not touch
        assert apart[face].mean() > 10


def test_the_reader_tells_both_people(swaps: Path) -> None:
    for sample in fstriplets.open_triplets(swaps, split="val"):
        meta = sample["meta"]
        assert meta["kind"] == "true_swap"
        assert meta["has_result"]
        assert meta["identity_id"] != meta["target_identity_id"]
        assert sample["result"].shape == (3, SIZE, SIZE)


def test_a_stopped_run_goes_on_with_the_same_bytes(swaps: Path, tmp_path: Path) -> None:
    plan = SwapPlan(str(tmp_path / "again"), **PLAN)
    write_swaps(plan, workers=0)
    assert tree(tmp_path / "again") == tree(swaps)
    kept = tmp_path / "again/shards/val/val-000000.tar"
    before = kept.stat().st_mtime_ns
    (tmp_path / "again/stats/train/train-000000.json").unlink()
    seen: list[tuple[int, int]] = []
    write_swaps(plan, workers=0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (5, 5)]
    assert kept.stat().st_mtime_ns == before
    assert tree(tmp_path / "again") == tree(swaps)
    other = SwapPlan(str(tmp_path / "other"), **{**PLAN, "seed": 38})
    write_swaps(other, workers=0)
    assert not set(tree(tmp_path / "other").values()) & set(tree(swaps).values()) - {tree(swaps)["_SUCCESS"]}


def test_more_people_leave_full_shards_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fstriplets.synth.swaps._PEOPLE", 3)
    shape = {"swaps": 1, "photos": 1, "size": SIZE, "seed": 1}
    write_swaps(SwapPlan(str(tmp_path), 10, **shape), workers=0)
    first = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("shards/train/*.tar")}
    found = write_swaps(SwapPlan(str(tmp_path), 14, **shape), workers=0)
    later = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("shards/train/*.tar")}
    full = sorted(first)[: len(first) - 1]
    assert len(full) >= 1
    assert all(later[name] == first[name] for name in full)
    groups = groups_of(SwapPlan(str(tmp_path), 14, **shape))
    assert found.ok("triplets") == sum(len(group.people) for group in groups)
    assert all(2 <= len(group.people) <= 4 for group in groups)


def test_a_stopped_run_leaves_something_of_every_split() -> None:
    groups = groups_of(SwapPlan("unused", **{**PLAN, "people": 1500}))
    whole = Counter(group.split for group in groups)
    drawn = Counter(group.split for group in groups[: len(groups) * 3 // 5])
    assert set(whole) == {"train", "val", "test"}
    assert all(abs(drawn[split] - 0.6 * count) <= 1 for split, count in whole.items())


def test_what_cannot_be_drawn_is_refused(swaps: Path, triplets: Path, tmp_path: Path) -> None:
    def refused(output: Path, **changes: Any) -> str:
        with pytest.raises(OutputError, match="choose another --output") as error:
            write_swaps(SwapPlan(str(output), **{**PLAN, **changes}), workers=0)
        return str(error.value)

    assert "other settings" in refused(swaps, size=96)
    assert "holds 5 people, more than --people 4" in refused(swaps, people=4)
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt" in refused(tmp_path)
    built = tmp_path / "built"
    built.mkdir()
    (built / "run.json").write_text('{"status": "done"}')
    assert "was not drawn" in refused(built)
    lonely = next(
        plan
        for seed in range(99)
        if len({_split(plan := SwapPlan("x", 2, seed=seed), index) for index in range(2)}) == 2
    )
    with pytest.raises(UserError, match="draw more --people"):
        groups_of(lonely)


def _split(plan: SwapPlan, index: int) -> str:
    from fstriplets.config import PipelineConfig
    from fstriplets.triplets import split_of

    return split_of(plan.identity_id(index), PipelineConfig())


def test_the_command_draws_and_names_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "d"
    words = ["--people", "5", "--swaps", "2", "--size", "64", "--seed", "37", "--workers", "0", "-q"]
    assert command_line(["synth", "swaps", *words, "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "5 people, 10 swaps (train 6, val 4) of 64 px" in said
    assert "true_swaps=" in said
    assert command_line(["inspect", str(folder), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "true_swap 10" in capsys.readouterr().out
    assert command_line(["inspect", str(folder), "--report", str(tmp_path / "report.html")]) == 0
    assert "true_swap(B)" in (tmp_path / "report.html").read_text()
    assert command_line(["synth", "swaps", "--people", "1", "--output", str(folder)]) == 2
    assert command_line(["build", "quickstart", "--output", str(folder)]) == 2
    assert "holds a dataset of `fstriplets synth swaps`" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.slow
def test_drawn_swaps_keep_the_targets_photo(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    pytest.importorskip("scipy")
    from fstriplets.synth.studio import Studio

    studio = Studio(shared_data / "face_model" / "ict_facekit_light.npz", keep=1)
    monkeypatch.setattr("fstriplets.synth.swap_shard._studio", lambda: studio)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        write_swaps(SwapPlan(str(folder), 2, swaps=1, photos=1, size=96, seed=105), workers=0)
    assert tree(folders[0]) == tree(folders[1])
    store = Store(folders[0])
    (faces,) = iter_manifest(store, "faces")
    landmarks = {row["face_id"]: np.reshape(row["landmarks"], (68, 2)) for row in faces.to_pylist()}
    for row in read_manifest(store, "triplets").to_pylist():
        target, result = (
            ImageCodec.decode(
                store.read_range(f"shards/train/{row['shard']}.tar", row[f"{r}_offset"], row[f"{r}_size"])
            ).astype(int)
            for r in ("target", "result")
        )
        apart = np.abs(target - result).mean(-1)
        x, y = landmarks[row["target_id"]][30].round().astype(int)
        assert np.median(np.r_[apart[:10].ravel(), apart[:, :6].ravel(), apart[:, -6:].ravel()]) < 3
        assert apart[y - 12 : y + 12, x - 12 : x + 12].mean() > 6


# the trainer


def test_true_swaps_have_their_exact_share(swaps: Path, triplets: Path) -> None:
    stream = TripletStream(triplets, "train", mixed(swaps), Ranks())
    batches = [stream.batch() for _ in range(24)]
    assert all(batch.kinds.count("true_swap") == 1 for batch in batches)  # a quarter of four, every time
    keys = Counter(
        key for b in batches for key, kind in zip(b.keys, b.kinds, strict=True) if kind == "true_swap"
    )
    assert len(keys) == 12
    assert set(keys.values()) == {2}  # epochs of their own
    assert all(batch.has_result.all() for batch in batches)
    only = TripletStream(triplets, "train", mixed(swaps, share=1.0), Ranks())
    assert set(only.batch().kinds) == {"true_swap"}


def test_a_true_swap_taken_back_ends_in_the_photo_it_was_made_of(swaps: Path, triplets: Path) -> None:
    there, back, some = (
        TripletStream(triplets, "train", mixed(swaps, share=1.0, true_swap_reversed=share), Ranks())
        for share in (0.0, 1.0, 0.5)
    )
    forth = 0
    for _ in range(10):
        one, other, either = there.batch(), back.batch(), some.batch()
        assert one.keys == other.keys == either.keys
        assert torch.equal(other.source, one.target.flip(-1))  # tells of the person, less of the picture
        assert torch.equal(other.target, one.result)
        assert torch.equal(other.result, one.target)
        for row, wanted in enumerate(either.result):
            assert torch.equal(wanted, one.result[row]) or torch.equal(wanted, other.result[row])
            forth += int(torch.equal(wanted, one.result[row]))
    assert 8 < forth < 32  # of 40


@pytest.mark.parametrize("used", [1, 13])
def test_a_mixed_stream_can_be_taken_up_by_any_number_of_ranks(
    swaps: Path, triplets: Path, used: int
) -> None:
    recipe = mixed(swaps, share=0.3, vanilla=0.3, flip=0.5, jitter_share=1.0, true_swap_reversed=0.5)
    stream = TripletStream(triplets, "train", recipe, Ranks())
    place = json.loads(json.dumps([stream.batch().place for _ in range(used)][-1]))
    parts = [TripletStream(triplets, "train", recipe, Ranks(rank, 4)) for rank in range(4)]
    for part in parts:
        part.seek(place)
    for _ in range(12):
        whole, shares = stream.batch(), [part.batch() for part in parts]
        assert whole.keys == [key for share in shares for key in share.keys]
        assert all(share.place == whole.place for share in shares)
        images = zip(*(share.images(torch.device("cpu")) for share in shares), strict=True)
        for one, many in zip(whole.images(torch.device("cpu")), images, strict=True):
            assert torch.equal(one, torch.cat(many))


def test_a_place_without_true_swaps_is_not_taken_up_with_them(swaps: Path, triplets: Path) -> None:
    plain = TripletStream(triplets, "train", Recipe(**PIXELS), Ranks())
    place = plain.batch().place
    assert "true_swaps" not in place
    with pytest.raises(DatasetError, match="true_swap_share"):
        TripletStream(triplets, "train", mixed(swaps), Ranks()).seek(place)


def test_a_resumed_mixed_run_ends_with_the_very_same_weights(
    swaps: Path, triplets: Path, tmp_path: Path
) -> None:
    recipe = mixed(swaps, share=0.5, steps=3, validation_samples=2)
    whole, _ = run(recipe, triplets, tmp_path / "whole")
    _, done = run(recipe, triplets, tmp_path / "parts", max_minutes=1e-9)
    assert not done
    second, done = run(recipe, triplets, tmp_path / "parts")
    assert done
    states = whole.generator.state_dict(), second.generator.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert whole.state()["place"] == second.state()["place"]


def test_swaps_alone_are_a_dataset_to_train_on(swaps: Path) -> None:
    job = SwapJob(Recipe(**{**PIXELS, "vanilla": 0.4}), swaps)
    batch = job.batch(0)
    assert {"true_swap", "vanilla"} >= set(batch.kinds)
    values = job.step(0, batch)
    assert float(values["pixel_256"]) > 0
    measured = job.validate()
    assert "pixel_l1" not in measured  # true swaps are reported apart
    assert {"id_cosine", "true_swap_psnr"} <= set(measured)


def test_measures_of_true_swaps_stand_apart(swaps: Path, triplets: Path) -> None:
    plain, both = (SwapJob(recipe, triplets) for recipe in (Recipe(**PIXELS), mixed(swaps, share=0.0)))
    before, after = plain.validate(), both.validate()
    assert before == {name: after[name] for name in before}
    names = {f"{what}{of}" for what in ("psnr", "l1") for of in ("", "_target", "_source")}
    names |= {f"id_cosine{of}" for of in ("", "_target", "_before", "_truth")}
    assert set(after) - set(before) == {f"true_swap_{name}" for name in names}
    assert after["true_swap_l1_target"] > 5
    assert -1 <= after["true_swap_id_cosine_truth"] <= 1.0001


def test_the_truth_itself_measures_perfect(swaps: Path) -> None:
    batch = first_samples(swaps, "val", Recipe(**PIXELS), 6)
    source, target, truth = batch.images(torch.device("cpu"))
    masks = face_masks(swaps, batch.keys, SIZE)
    perfect = pixel_measures(truth, source, target, truth, masks)
    assert (perfect["psnr"], perfect["l1"]) == (pytest.approx(80), 0)
    copied = pixel_measures(target, source, target, truth, masks)
    assert copied["psnr"] == copied["psnr_target"] < 40
    assert copied["l1"] == copied["l1_target"] == perfect["l1_target"]
    by_hand = [
        float((t - r)[:, m].abs().mean()) * 127.5 for t, r, m in zip(target, truth, masks, strict=True)
    ]
    assert copied["l1_target"] == pytest.approx(np.mean(by_hand), rel=1e-4)
    outside = truth.clone()
    outside[~masks[:, None].expand_as(outside)] = 0
    assert pixel_measures(outside, source, target, truth, masks)["l1"] == 0
    larger = face_masks(swaps, batch.keys, 2 * SIZE).float().mean((1, 2))
    assert torch.allclose(larger, masks.float().mean((1, 2)), atol=0.02)


def test_a_val_split_is_wanted_from_either(swaps: Path, triplets: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "d", 0, people=2, photos=2)
    job = SwapJob(mixed(swaps), tmp_path / "d")
    assert {name.split("_")[0] for name in job.validate()} == {"true"}
    with pytest.raises(DatasetError, match="val"):
        Validation(tmp_path / "d", Recipe(**PIXELS), job.identity)


def test_bad_true_swaps_are_refused_by_their_key(swaps: Path, triplets: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="true_swap_share needs true_swaps"):
        Recipe(**{**PIXELS, "true_swap_share": 0.1})
    with pytest.raises(DatasetError, match=r"true_swaps: .*nowhere.*synth swaps"):
        TripletStream(triplets, "train", mixed(tmp_path / "nowhere"), Ranks())
    with pytest.raises(DatasetError, match=r"true_swaps: .*triplets.*of kind .*synth swaps"):
        TripletStream(triplets, "train", mixed(triplets), Ranks()).batch()
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"config": {"crop": "arcface"}}')
    with pytest.raises(ConfigError, match=r"true_swaps: .* template arcface"):
        SwapJob(mixed(other), triplets)
