"""Training pairs: what `synth pairs` draws and what `PairSet` reads back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fstriplets.cli.app import run
from fstriplets.errors import DatasetError, OutputError
from fstriplets.training.pairs import PairSet

pytest.importorskip("numba")
pytest.importorskip("scipy")

from fstriplets.synth.pairs import PAIR_ATTRIBUTES, PAIR_EDITS, PairPlan, write_pairs

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def face_model(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSTRIPLETS_FACE_MODEL", str(shared_data / "face_model" / "ict_facekit_light.npz"))


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSTRIPLETS_FACE_MODEL", str(shared_data / "face_model" / "ict_facekit_light.npz"))
        return write_pairs(PairPlan(str(root), people=2, photos=2, edits=4, size=96), workers=0)


def test_an_edited_picture_has_its_base_photos_scene(folder: Path) -> None:
    pairs = PairSet(folder)
    assert len(pairs) == 12
    assert set(pairs.edit) <= {"", *PAIR_EDITS}
    edited = np.flatnonzero(pairs.edit != "")
    assert len(edited) == 8
    for i in edited:
        base = pairs.base[i]
        assert pairs.edit[base] == ""
        assert pairs.person[base] == pairs.person[i]
        np.testing.assert_array_equal(pairs.pose[i], pairs.pose[base])
        apart = np.abs(pairs.pixels(i).astype(int) - pairs.pixels(base)).max(-1)
        corners = np.r_[apart[:6, :6].ravel(), apart[:6, -6:].ravel()]
        assert corners.mean() < 3  # the background is the same
        assert 0 < pairs.strength[i] <= 1
    for i in np.flatnonzero(pairs.edit == ""):
        assert pairs.base[i] == i
        assert pairs.strength[i] == 0


def test_truth_fits_the_pictures(folder: Path) -> None:
    pairs = PairSet(folder)
    assert set(pairs.attributes) == set(PAIR_ATTRIBUTES)
    for i in range(len(pairs)):
        picture, labels = pairs.pixels(i), pairs.labels(i)
        assert picture.shape == (96, 96, 3)
        assert labels.shape == (96, 96)
        assert labels.max() <= 12
        x0, y0, x1, y1 = pairs.box[i]
        nose = pairs.landmarks[i, 30]
        assert x0 < nose[0] < x1
        assert y0 < nose[1] < y1


def test_a_longer_run_keeps_what_is_there_and_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    plan = PairPlan(str(tmp_path), people=1, photos=2, edits=4, size=96)
    write_pairs(plan, workers=0)
    name = "people/p0000000.npz"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    before = (tmp_path / name).stat().st_mtime_ns
    assert run(["synth", "pairs", "--people", "2", "--photos", "2", "--edits", "4", "--size", "96",
                "--workers", "0", "--output", str(tmp_path), "-q"]) == 0  # fmt: skip
    assert (tmp_path / name).stat().st_mtime_ns == before
    assert (tmp_path / "people/p0000001.npz").is_file()


def test_a_folder_holds_one_set(folder: Path) -> None:
    with pytest.raises(OutputError, match="other settings"):
        write_pairs(PairPlan(str(folder), people=1, photos=1, edits=0, size=96), workers=0)


def test_an_empty_folder_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="synth pairs"):
        PairSet(tmp_path)
