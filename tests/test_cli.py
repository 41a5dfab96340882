"""The command line: options become a config, errors become a message and an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pytest

from fstriplets.audit import Inspection
from fstriplets.build import BuildReport, Progress
from fstriplets.cli.app import COMMANDS, cli, run
from fstriplets.cli.progress import BuildProgress, duration
from fstriplets.cli.summary import size, summary_lines
from fstriplets.config import PipelineConfig
from fstriplets.errors import ConfigError, Interrupted, PhotoRejected


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the build by a recorder of its arguments."""
    made: list[dict[str, Any]] = []

    def fake(config: PipelineConfig, **arguments: Any) -> BuildReport:
        made.append({"config": config, **arguments})
        return BuildReport(output=config.output or "", triplets=3)

    monkeypatch.setattr("fstriplets.build.build", fake)
    return made


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fake(config: PipelineConfig, **arguments: Any) -> BuildReport:
        raise error

    monkeypatch.setattr("fstriplets.build.build", fake)


def test_options_become_the_config(calls: list[dict[str, Any]]) -> None:
    line = (
        "build photos --corpus people:odd#.csv --output out --workers 0 --scheduler tcp://h:1 --gpu"
        " --set image_size=128 --set edits.aging.strength=[0.3,0.6] --limit 4 --dry-run --verify"
        " --retry-failed"
    )
    assert run(line.split()) == 0
    (call,) = calls
    config = call["config"]
    assert config.corpus == "people:odd#.csv"
    assert config.output == "out"
    assert config.image_size == 128
    assert config.edits["aging"].strength == (0.3, 0.6)
    assert (config.runtime.workers, config.runtime.scheduler, config.runtime.gpu) == (0, "tcp://h:1", True)
    assert (call["limit"], call["dry_run"], call["verify"], call["retry_failed"]) == (4, True, True, True)
    assert call["overwrite"] is False


def test_options_left_out_leave_the_recipe_alone(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("corpus: a\noutput: b\nruntime: {gpu: true, workers: 3}\n", encoding="utf-8")
    assert run(["build", str(recipe), "--overwrite"]) == 0
    config = calls[0]["config"]
    assert (config.corpus, config.output) == ("a", "b")
    assert (config.runtime.gpu, config.runtime.workers) == (True, 3)
    assert calls[0]["overwrite"] is True


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("build nowhere.yaml", "nowhere.yaml"),
        ("build photos --set image_sise=128", "did you mean 'image_size'"),
        ("build photos --set edits.aging.strength=2", "edits.aging.strength"),
        ("build photos --set edits.agin.ratio=2", "did you mean 'aging'"),
        ("build photos --set image_size", "key=value"),
        ("build photos --workers -1", "--workers"),
        ("build photos --colour red", "--colour"),
        ("build", "PIPELINE"),
        ("bulid photos", "bulid"),
        ("inspect no-such-dataset", "no-such-dataset"),
    ],
)
def test_a_bad_call_ends_with_2_and_says_what_is_wrong(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("first\nsecond"), 2, "error: first\n  second\n"),
        (Interrupted("3 of 9 shards done"), 130, "stopped: 3 of 9 shards done"),
        (KeyboardInterrupt(), 130, "stopped"),
        (click.Abort(), 130, "stopped"),
        (PhotoRejected("no_face", "leaked"), 1, "leaked"),
        (ZeroDivisionError("by nought"), 1, "ZeroDivisionError: by nought"),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _raise(monkeypatch, error)
    assert run(["build", "photos", "--corpus", "a", "--output", "b"]) == code
    assert said in capsys.readouterr().err


def test_the_traceback_of_a_crash_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _raise(monkeypatch, ZeroDivisionError("by nought"))
    run(["build", "photos"])
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    (kept,) = tmp_path.iterdir()
    assert str(kept) in shown
    assert "Traceback" in kept.read_text(encoding="utf-8")
    monkeypatch.setenv("FSTRIPLETS_DEBUG", "1")
    run(["build", "photos"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_is_described_the_same_everywhere(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=100).rstrip(".") == COMMANDS[name][1].rstrip(".")


def _commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += _commands(child, f"{path} {name}")
    return found


def test_every_option_has_help() -> None:
    for path, command in _commands(cli, "fstriplets"):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.opts}"


def test_python_m_and_broken_pipe() -> None:
    command = (
        f"{sys.executable} -m fstriplets --version | head -c 0; {sys.executable} -m fstriplets --version"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("fstriplets")
    assert "Traceback" not in done.stderr


def test_summary_tells_counts_reasons_and_places() -> None:
    report = BuildReport(
        output="out/",
        identities=12,
        photos=72,
        faces=70,
        edits=140,
        triplets=280,
        shards={"train": 3, "val": 1},
        kinds={"pair_identity": 200, "attribute_target": 80},
        rejects={"photos": {"truncated": 1, "duplicate": 4}, "edits": {}},
        shards_resumed=2,
        bytes=12_345_678,
        seconds=14.0,
        editor_share=0.91,
        quarantined=["abc"],
        report="out/report.html",
    )
    text = "\n".join(summary_lines(report))
    for said in (
        "280 triplets\n",
        "4 (train 3, val 1), 12 MB, 2 of them kept",
        "photos: 4 duplicate, 1 truncated",
        "91%",
        "quarantined 1",
        "out/shards/",
        "out/report.html",
        "fstriplets inspect out --sheet",
    ):
        assert said in text, said


def test_a_rate_is_told_only_of_what_this_run_made() -> None:
    assert "280 triplets (20/s)" in summary_lines(BuildReport(output="out", triplets=280, seconds=14.0))[0]
    resumed = BuildReport(output="out", triplets=280, seconds=14.0, shards_resumed=1)
    assert summary_lines(resumed)[0].endswith("280 triplets")


def test_a_dry_run_says_that_nothing_was_written() -> None:
    report = BuildReport(
        output="out", dry_run=True, triplets=1000, shards={"train": 1}, bytes=5_000, estimate_seconds=4000.0
    )
    text = "\n".join(summary_lines(report))
    assert "nothing was written" in text
    assert "about 1,000" in text
    assert "1 h 6 min" in text
    assert "inspect" not in text


def test_progress_prints_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with BuildProgress() as progress:
        progress(Progress("plan"))
        progress(Progress("build", 3, 10, 1, 100, 90, 200, 400, 7, 20.0))
        progress(Progress("build", 4, 10, 1, 101, 91, 201, 401, 7, 20.1))
        progress(Progress("build", 4, 10, 1, 101, 91, 201, 401, 7, 20.2, "a worker died"))
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "planning"
    assert shown[1].startswith("building · 3/10 shards · 100 photos (5.0/s)")
    assert "400 triplets (20/s)" in shown[1]
    assert shown[1].endswith("1 min 10 s left")
    assert shown[2:] == ["a worker died"]


def test_quiet_still_passes_messages_on(capsys: pytest.CaptureFixture[str]) -> None:
    with BuildProgress(show=False) as progress:
        progress(Progress("build", 3, 10))
        progress(Progress("build", 3, 10, message="a worker died"))
    assert capsys.readouterr().err == "a worker died\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (42, "42 s"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18_720, "5 h 12 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (8100, "8.1 KB"), (3.4e9, "3.4 GB"), (5e15, "5,000 TB")],
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.fixture
def inspection(monkeypatch: pytest.MonkeyPatch) -> Inspection:
    found = Inspection(
        dataset="out",
        identities=2,
        shards={"train": 1},
        bytes=12_000,
        rows={"photos": {"ok": 9, "rejected": 3}, "triplets": {"ok": 30}},
        reasons={"photos": {"truncated": 1, "duplicate": 2}},
        kinds={"pair_identity": 30},
        consents={"": 30},
    )
    monkeypatch.setattr("fstriplets.audit.inspect_dataset", lambda dataset: found)
    return found


def test_inspect_prints_counts_and_every_reason(
    inspection: Inspection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", "out"]) == 0
    shown = capsys.readouterr().out
    for said in ("30 triplets of 2 people", "none on record 30", "9 of 12 accepted (75%)", "0 of 0 accepted"):
        assert said in shown, said
    assert shown.index("2 duplicate") < shown.index("1 truncated")


def test_inspect_json_is_json(inspection: Inspection, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == asdict(inspection)


def test_debug_flag_sets_the_variable(monkeypatch: pytest.MonkeyPatch, calls: list[dict[str, Any]]) -> None:
    monkeypatch.setenv("FSTRIPLETS_DEBUG", "")
    assert run(["--debug", "build", "photos"]) == 0
    assert os.environ["FSTRIPLETS_DEBUG"] == "1"
