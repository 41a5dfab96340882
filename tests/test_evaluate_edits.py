"""`fstriplets evaluate edits`: editors against the truth of stored synthetic pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fstriplets.cli.app import cli
from fstriplets.edits import load_editor
from fstriplets.evaluation import evaluate_truth
from fstriplets.evaluation.edit_truth import TruthRow

PAIRS = Path(__file__).parent / "data" / "edit_pairs"


def rows_of(*editors: str) -> dict[tuple[str, str], TruthRow]:
    rows, pictures = evaluate_truth(PAIRS, [load_editor(name) for name in editors], 4, None, None)
    assert all(picture.dtype == np.uint8 for shown in pictures.values() for picture in shown)
    return {(row.editor, row.edit): row for row in rows}


def test_doing_nothing_is_as_wrong_as_the_unedited_photo() -> None:
    rows = rows_of("null")
    assert {edit for _, edit in rows} == {"beard", "chubbiness", "sunglasses"}
    for row in rows.values():
        assert row.error == pytest.approx(row.copied)
        assert row.likeness == pytest.approx(row.copied_likeness)
        assert row.outside == 0


def test_the_bundled_network_comes_nearer_to_the_truth_than_no_edit() -> None:
    rows = rows_of("flow-gan")
    assert {edit for _, edit in rows} == {"beard", "chubbiness", "sunglasses"}
    for row in rows.values():
        assert row.error < 0.95 * row.copied, row.edit
        assert row.likeness > row.copied_likeness, row.edit
        assert row.outside < 2, row.edit


def test_scores_and_cosines_are_of_the_same_pictures() -> None:
    def embed(crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        flat = crops[:, ::16, ::16].reshape(len(crops), -1).astype(np.float64)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    def scorer(crops: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
        assert landmarks.shape == (len(crops), 68, 2)
        return {"beard": crops.mean((1, 2, 3)) / 255}

    rows, _ = evaluate_truth(PAIRS, [load_editor("null")], 4, embed, scorer)
    beard = next(row for row in rows if row.edit == "beard")
    assert beard.cosine == pytest.approx(1.0)
    assert beard.true_cosine is not None
    assert beard.true_cosine < 1.0
    assert beard.rise == 0
    assert beard.true_rise is not None
    assert beard.true_rise < 0  # a beard darkens
    assert next(row for row in rows if row.edit == "chubbiness").rise is None


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    arguments = ["evaluate", "edits", "--pairs", str(PAIRS), "--editor", "null", "--json", str(output)]
    done = CliRunner().invoke(cli, [*arguments, "--set", "embedder=none", "--set", "attribute_scorer=none"])
    assert done.exit_code == 0, done.output
    assert "| chubbiness | null | 1 |" in done.output
    assert {row["edit"] for row in json.loads(output.read_text())["truth"]} == {
        "beard",
        "chubbiness",
        "sunglasses",
    }


def test_it_wants_photos_or_pairs_and_strengths_in_range(tmp_path: Path) -> None:
    assert "--pairs" in CliRunner().invoke(cli, ["evaluate", "edits"]).output
    wrong = CliRunner().invoke(cli, ["evaluate", "edits", str(tmp_path), "--strengths", "0,2"])
    assert wrong.exit_code == 2
    assert "0,2" in wrong.output
