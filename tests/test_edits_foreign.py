"""The StarGAN and SPADE editors with seeded weights, and importing checkpoints of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_edits_warp import drawn_face, landmarks

from fstriplets.cli.app import cli
from fstriplets.edits import EDITORS, load_editor
from fstriplets.edits.spade import LABELS, SpadeEditor, label_map
from fstriplets.edits.stage import from_tensor, to_tensor
from fstriplets.edits.stargan import StarGANEditor
from fstriplets.edits.warp.hair import find_hair
from fstriplets.edits.warp.portrait import Portrait
from fstriplets.errors import WeightsError
from fstriplets.models import weights as W
from fstriplets.models.networks import SPADEGenerator, StarGANGenerator

SIDE = 64


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder and no editors remembered."""
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path / "weights"))
    load_editor.cache_clear()
    yield tmp_path
    load_editor.cache_clear()


def stargan_file(folder: Path, labels: int = 5) -> Path:
    torch.manual_seed(0)
    network = StarGANGenerator(4, labels, 1)
    path = folder / "200000-G.ckpt"
    torch.save({f"module.{n}": v for n, v in network.state_dict().items()}, path)
    return path


def spade_file(folder: Path, classes: int = 19) -> Path:
    torch.manual_seed(0)
    path = folder / "latest_net_G.pth"
    torch.save(SPADEGenerator(2, classes, SIDE).state_dict(), path)
    return path


@pytest.fixture
def stargan(home: Path) -> StarGANEditor:
    W.import_as("stargan", stargan_file(home), "for tests only", {"size": str(SIDE)})
    return StarGANEditor()


@pytest.fixture
def spade(home: Path) -> SpadeEditor:
    W.import_as("spade", spade_file(home), "for tests only", {"size": str(SIDE)})
    return SpadeEditor()


def run(editor, edit: str, strengths: list[float], face: np.ndarray | None = None, seed: int = 3):
    face = drawn_face() if face is None else face
    count = len(strengths)
    result = editor.edit(
        to_tensor([face] * count),
        edit,
        torch.tensor(strengths),
        torch.full((count,), seed),
        landmarks=torch.from_numpy(np.stack([landmarks(len(face))] * count)),
    )
    return [from_tensor(image) for image in result.images], result.mask[:, 0].numpy(), result.rejected


@pytest.mark.parametrize("name", ["stargan", "spade"])
def test_without_a_checkpoint_the_error_names_the_command(name: str) -> None:
    assert name in EDITORS.names()
    with pytest.raises(WeightsError, match=rf"fstriplets weights import --as {name} --licence"):
        load_editor(name)


def test_an_imported_checkpoint_is_weights_like_any_other(home: Path) -> None:
    path = stargan_file(home)
    done = CliRunner().invoke(
        cli, ["weights", "import", "--as", "stargan", "--licence", "mine", "--set", "size=64", str(path)]
    )
    assert done.exit_code == 0, done.output
    row = W.entry("stargan")
    assert (row.licence, row.bytes, row.source) == ("mine", path.stat().st_size, "200000-G.ckpt")
    assert W.require("stargan").read_bytes() == path.read_bytes()
    assert [found.status for found in W.verify(["stargan"])] == ["ok"]
    editor = load_editor("stargan")
    assert editor.weights[0].licence == "mine"
    assert row.sha256[:16] in editor.fingerprint
    assert editor.edits == {"aging", "hair"}  # what the official five labels can do


def test_a_second_import_replaces_the_first(home: Path) -> None:
    W.import_as("spade", spade_file(home), "one", {"size": "64"})
    W.import_as("spade", spade_file(home), "two", {"size": "64"})
    assert W.entry("spade").licence == "two"


def test_what_is_no_such_network_is_refused(home: Path) -> None:
    with pytest.raises(WeightsError, match="no StarGAN generator"):
        W.import_as("stargan", spade_file(home), "x")
    with pytest.raises(WeightsError, match="12 label classes"):
        W.import_as("spade", spade_file(home, classes=12), "x", {"size": "64"})
    with pytest.raises(WeightsError, match="has 3 labels"):
        W.import_as("stargan", stargan_file(home, labels=3), "x")
    with pytest.raises(WeightsError, match="needs --licence"):
        W.import_as("stargan", stargan_file(home), " ")
    with pytest.raises(WeightsError, match="choose one of: stargan, spade"):
        W.import_as("gaugan", stargan_file(home), "x")
    with pytest.raises(WeightsError, match="unknown setting 'side' of stargan; known: labels, size"):
        W.import_as("stargan", stargan_file(home), "x", {"side": "64"})
    with pytest.raises(WeightsError, match="multiple of 32"):
        W.import_as("stargan", stargan_file(home), "x", {"size": "100"})
    assert not (home / "weights").exists()


def test_labels_of_another_training_open_other_edits(home: Path) -> None:
    options = {"labels": "Eyeglasses,Smiling,Chubby", "size": "64"}
    W.import_as("stargan", stargan_file(home, labels=3), "x", options)
    editor = StarGANEditor()
    assert editor.edits == {"glasses", "grin", "chubbiness"}
    pictures, _, _ = run(editor, "grin", [1.0])
    assert not np.array_equal(pictures[0], drawn_face())


@pytest.mark.parametrize("name", ["aging", "hair"])
def test_stargans_change_grows_with_strength_from_nothing(stargan: StarGANEditor, name: str) -> None:
    face = drawn_face()
    pictures, masks, _ = run(stargan, name, [0.0, 0.3, 0.6, 1.0])
    changes = [float(np.abs(face.astype(int) - p).mean()) for p in pictures]
    assert changes[0] == 0
    assert changes == sorted(changes)
    assert changes[3] > 1.5 * changes[1]
    assert not masks[0].any()


def test_what_stargan_does_not_change_is_the_photos_own(stargan: StarGANEditor) -> None:
    face = drawn_face()
    pictures, masks, _ = run(stargan, "aging", [1.0])
    assert 0 < (masks[0] > 0).mean() < 1
    assert np.array_equal(pictures[0][masks[0] == 0], face[masks[0] == 0])


def test_stargan_edits_at_any_size_and_does_not_depend_on_the_batch(stargan: StarGANEditor) -> None:
    large = drawn_face(512)
    alone, _, _ = run(stargan, "aging", [0.8], large)
    among, _, _ = run(stargan, "aging", [0.1, 0.8, 1.0], large)
    assert alone[0].shape == (512, 512, 3)
    assert np.array_equal(alone[0], among[1])


def test_stargan_draws_the_hair_colour_by_the_seed(home: Path) -> None:
    labels = ",".join(("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"))
    W.import_as("stargan", stargan_file(home, labels=4), "x", {"labels": labels, "size": "64"})
    editor = StarGANEditor()
    drawn = {run(editor, "hair", [1.0], seed=seed)[0][0].tobytes() for seed in range(8)}
    assert len(drawn) > 1
    assert run(editor, "hair", [1.0], seed=5)[0][0].tobytes() in drawn


def test_the_label_map_has_the_parts_where_they_are() -> None:
    face = drawn_face()
    portrait = Portrait(face.astype(np.float32) / 255, landmarks())
    labels = label_map(portrait, find_hair(portrait))
    points = landmarks().astype(int)

    def at(x: int, y: int) -> str:
        return LABELS[labels[y, x]]

    assert len(LABELS) == 19
    assert at(*points[30]) == "nose"
    assert at(*points[36:42].mean(0).astype(int)) == "left_eye"
    assert at(128, 25) == "hair"
    assert at(*((points[3] + points[31]) // 2)) == "skin"
    assert at(5, 250) == "background"


def test_spades_fringe_covers_forehead_only_and_comes_down_with_strength(spade: SpadeEditor) -> None:
    face = drawn_face()
    pictures, masks, rejected = run(spade, "hair", [0.0, 0.3, 0.6, 1.0])
    assert not rejected
    assert np.array_equal(pictures[0], face)
    areas = [float(mask.sum()) for mask in masks]
    assert areas[0] == 0
    assert areas == sorted(areas)
    assert areas[1] > 0
    for picture, mask in zip(pictures, masks, strict=True):
        assert np.array_equal(picture[mask == 0], face[mask == 0])
    brows = int(landmarks()[17:27, 1].max())
    assert not masks[3][brows:].any()


def test_spades_fringe_has_the_hairs_tones(spade: SpadeEditor) -> None:
    pictures, masks, _ = run(spade, "hair", [1.0])
    painted = pictures[0][masks[0] > 0.95].astype(float)
    assert len(painted) > 50
    assert np.abs(painted.mean(0) - (60, 42, 30)).max() < 25


def test_spade_turns_down_who_has_no_hair(spade: SpadeEditor) -> None:
    _, _, rejected = run(spade, "hair", [1.0], drawn_face(hair=False))
    assert rejected[0].reason in ("no_hair", "no_forehead")
