"""Putting trained weights into the package."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fstriplets.errors import WeightsError
from fstriplets.models.weights import file_sha256
from fstriplets.training import bundle as tool

TABLE = """other:
  sha256: 00
  bytes: 1

mine:
  file: mine.safetensors
  sha256: 00
  bytes: 1
  bundled: true
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place, table = tmp_path / "bundled" / "mine.safetensors", tmp_path / "weights.yaml"
    table.write_text(TABLE)
    monkeypatch.setattr(tool, "entry", lambda name: SimpleNamespace(bundled=name == "mine"))
    monkeypatch.setattr(tool, "weights_path", lambda row: place)
    monkeypatch.setattr(tool, "resource", lambda *parts: table)
    return place


def test_halved_weights_keep_their_head_and_their_vectors(tmp_path: Path, place: Path) -> None:
    state = {"kernel": torch.randn(4, 3, 3, 3), "variance": torch.tensor([1e6, 1e-9])}
    save_file(state, tmp_path / "trained.safetensors", metadata={"variant": "baseline"})
    assert tool.bundle(tmp_path / "trained.safetensors", "mine", half=True) == place
    stored = load_file(place)
    assert stored["kernel"].dtype == torch.float16
    assert torch.allclose(stored["kernel"].float(), state["kernel"], rtol=1e-3)
    assert torch.equal(stored["variance"], state["variance"])
    with safe_open(place, "pt") as file:
        assert file.metadata() == {"variant": "baseline"}
    other, mine = (tmp_path / "weights.yaml").read_text().split("mine:\n")
    assert "sha256: 00" in other
    assert f"sha256: {file_sha256(place)}\n  bytes: {place.stat().st_size}\n" in mine
    tool.bundle(tmp_path / "trained.safetensors", "mine")
    assert place.read_bytes() == (tmp_path / "trained.safetensors").read_bytes()


def test_weights_that_are_not_bundled_are_refused(tmp_path: Path, place: Path) -> None:
    with pytest.raises(WeightsError, match="bundled: true"):
        tool.bundle(tmp_path / "trained.safetensors", "other")
    with pytest.raises(WeightsError, match="no such file"):
        tool.bundle(tmp_path / "trained.safetensors", "mine")
    assert not place.exists()
