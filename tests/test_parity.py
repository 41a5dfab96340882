"""Our networks give what the official ones gave, and the check that says so can fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.__main__ import main
from parity.check import GOLDENS, Folder, check
from parity.factories import FACTORIES

#: 65 GFLOP and a backward pass; 44 M regenerated weights.
SLOW = {"mobilefsgan_generator", "iresnet50"}


@pytest.mark.parametrize(
    "net", [pytest.param(net, marks=pytest.mark.slow if net in SLOW else ()) for net in sorted(FACTORIES)]
)
def test_our_network_gives_the_recorded_outputs(net: str) -> None:
    report = check(net)
    assert report.passed, str(report)


def test_every_recorded_net_is_in_the_table_and_every_table_entry_is_recorded() -> None:
    assert Folder(GOLDENS).nets == sorted(FACTORIES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the smallest net."""
    for file in GOLDENS.glob("stargan_generator.*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


def change(folder: Path, key: str, change: float) -> None:
    file = folder / "stargan_generator.npz"
    arrays = dict(np.load(file))
    arrays[key] = arrays[key] + np.float32(change)
    np.savez(file, **arrays)


def test_a_folder_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    assert "stargan_generator" in (out := capsys.readouterr().out)
    assert "PASS" in out


def test_a_wrong_output_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, "eval/out/y", 1e-3)
    assert main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert "eval/y" in out
    report = Folder(folder).check("stargan_generator")
    assert [o.name for o in report.outputs if not o.passed] == ["eval/y"]


def test_a_missing_name_fails(folder: Path) -> None:
    file = folder / "stargan_generator.keys.json"
    meta = json.loads(file.read_text())
    gone = meta["keys"].pop()["name"]
    file.write_text(json.dumps(meta))
    report = Folder(folder).check("stargan_generator")
    assert not report.passed
    assert report.extra == [gone]


def test_an_output_no_runner_gives_fails(folder: Path) -> None:
    file = folder / "stargan_generator.npz"
    arrays = dict(np.load(file))
    np.savez(file, **arrays, **{"eval/out/more": np.zeros(3, np.float32)})
    assert not Folder(folder).check("stargan_generator").passed


def test_a_case_without_runner_fails(folder: Path) -> None:
    file = folder / "stargan_generator.npz"
    arrays = dict(np.load(file))
    np.savez(file, **arrays, **{"other/in/x": arrays["eval/in/x"], "other/out/y": arrays["eval/out/y"]})
    report = Folder(folder).check("stargan_generator")
    assert "other" in report.error


def test_nets_outside_the_table_are_skipped_unless_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in list(folder.iterdir()):
        shutil.copy(file, folder / file.name.replace("stargan_generator", "some_net"))
    assert main([str(folder)]) == 0
    assert "skipped" in capsys.readouterr().out
    assert main([str(folder), "some_net"]) == 1
    assert main([str(folder), "absent_net"]) == 1


def test_a_folder_of_unknown_nets_is_no_success(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.replace("stargan_generator", "some_net"))
    assert main([str(folder)]) == 1


def test_wrong_calls_end_with_2(tmp_path: Path) -> None:
    assert main([]) == 2
    assert main([str(tmp_path)]) == 2


def test_the_goldens_subfolder_and_its_own_rules_are_used(folder: Path) -> None:
    (folder / "goldens").mkdir()
    for file in list(folder.glob("stargan_generator.*")):
        file.rename(folder / "goldens" / file.name)
    assert main([str(folder)]) == 0
    # a rule that regenerates zeros: the recorded outputs cannot come out
    rule = (
        "import torch\ndef regenerate(keys):\n    return {e['name']: torch.zeros(e['shape']) for e in keys}\n"
    )
    (folder / "parity_common.py").write_text(rule)
    assert main([str(folder)]) == 1


def test_a_network_that_raises_is_a_failure_with_its_message(folder: Path) -> None:
    def broken() -> torch.nn.Module:
        raise RuntimeError("no such layer")

    report = Folder(folder).check("stargan_generator", (broken, None, None))
    assert not report.passed
    assert "no such layer" in report.error
