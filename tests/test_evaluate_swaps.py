"""`fstriplets evaluate swaps`: swappers whose figures are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from flat_studio import FlatStudio
from tiny_dataset import make_shard

from fstriplets.cli.app import cli
from fstriplets.config import load_config
from fstriplets.errors import DatasetError
from fstriplets.evaluation import SwapRow, evaluate_photo_swaps, evaluate_true_swaps
from fstriplets.faces import FaceStage
from fstriplets.synth import facemodel
from fstriplets.synth.swaps import SwapPlan, write_swaps
from fstriplets.training.swap_data import first_samples
from fstriplets.training.swap_features import load_features, load_identity
from fstriplets.training.swap_recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64


class Known:
    """A swapper that answers from a list, or with the target."""

    size, crop, name = SIZE, "ffhq", "known"

    def __init__(self, answers: np.ndarray | None = None) -> None:
        self.answers = answers

    def embed(self, crops: np.ndarray) -> np.ndarray:
        return np.eye(len(crops), 8, dtype=np.float32)

    def swap(self, crops: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        assert len(crops) == len(embeddings)
        return crops if self.answers is None else self.answers


@pytest.fixture(scope="module")
def swaps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("swaps") / "swaps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fstriplets.synth.swap_shard._studio", FlatStudio)
        patch.setattr(facemodel, "load_face_model", lambda path=None: None)
        # five people of whom 3 and 4 are in val
        write_swaps(SwapPlan(str(folder), people=5, swaps=4, photos=3, size=SIZE, seed=37), workers=0)
        yield folder


def embed(crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    assert landmarks.shape == (len(crops), 68, 2)
    flat = crops[:, ::16, ::16].reshape(len(crops), -1).astype(np.float64)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def rows_of(swaps: Path, model: Known) -> dict[str, SwapRow]:
    identity = load_identity("face_embedder", "ffhq")
    features = load_features("face_analyser", "ffhq", identity)
    rows, pictures = evaluate_true_swaps(swaps, "val", model, 6, embed, features)
    assert pictures.sheet(4).shape == (4 * SIZE, 4 * SIZE, 3)
    return {row.answer: row for row in rows}


def test_who_copies_the_target_is_measured_as_the_target(swaps: Path) -> None:
    rows = rows_of(swaps, Known())
    made, target, truth = rows["swapped"], rows["target"], rows["truth"]
    assert (made.psnr, made.l1, made.perceptual) == (target.psnr, target.l1, target.perceptual)
    assert made.to_target == pytest.approx(1.0)
    assert (made.pose, made.expression) == (0, 0)
    assert made.samples == 6
    assert (truth.psnr, truth.l1, truth.perceptual) == (None, None, None)


def test_a_perfect_swapper_is_as_good_as_the_truth(swaps: Path) -> None:
    recipe = Recipe(steps=1, image_size=SIZE, vanilla=0.0, vanilla_same=0.0)
    truth = first_samples(swaps, "val", recipe, 6).result.permute(0, 2, 3, 1).numpy()
    rows = rows_of(swaps, Known(np.ascontiguousarray(truth)))
    made, perfect, copied = rows["swapped"], rows["truth"], rows["target"]
    assert made.l1 == 0
    assert made.perceptual == pytest.approx(0, abs=1e-6)
    assert (made.to_source, made.to_target, made.pose) == (perfect.to_source, perfect.to_target, perfect.pose)
    assert copied.l1 is not None
    assert copied.l1 > 1
    assert copied.perceptual is not None
    assert copied.perceptual > 0.01


def test_people_of_a_folder_take_turns() -> None:
    config = load_config(None, [f"image_size={SIZE}", "detector=bundled", "landmarker=bundled"])
    rows, pictures = evaluate_photo_swaps(Path("demo"), config, FaceStage(config), Known(), 3)
    by_name = {row.answer: row for row in rows}
    assert set(by_name) == {"swapped", "target", "source"}
    assert by_name["swapped"].samples == 3
    assert by_name["swapped"].to_target == pytest.approx(1.0, abs=1e-5)
    assert by_name["swapped"].psnr is None
    assert np.array_equal(pictures.source, np.roll(pictures.target, -1, axis=0))


def test_the_command_tells_what_it_measured(
    swaps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fstriplets.swapping.model.load_model", lambda weights: Known())
    figures, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    options = ["--split", "val", "--json", str(figures), "--sheet", str(sheet)]
    result = CliRunner().invoke(cli, ["evaluate", "swaps", "--true-swaps", str(swaps), *options])
    assert result.exit_code == 0, result.output
    assert "| swapped |" in result.output
    assert {row["answer"] for row in json.loads(figures.read_text())["truth"]} == {
        "swapped", "target", "source", "truth",
    }  # fmt: skip
    assert sheet.stat().st_size > 1000


def test_input_that_cannot_be_measured_is_named(tmp_path: Path) -> None:
    assert "--true-swaps" in CliRunner().invoke(cli, ["evaluate", "swaps"]).output
    make_shard(tmp_path / "data", 0, people=2, photos=2, split="val")
    identity = load_identity("face_embedder", "ffhq")
    features = load_features("face_analyser", "ffhq", identity)
    with pytest.raises(DatasetError, match="synth swaps"):
        evaluate_true_swaps(tmp_path / "data", "val", Known(), 4, None, features)
