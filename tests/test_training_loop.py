"""The training loop: exact resume, stops, refusals."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fstriplets.errors import ConfigError, FstripletsError, OutputError
from fstriplets.training.loop import run_training, warmup_cosine
from fstriplets.training.muon import Muon, orthogonal
from fstriplets.training.recipe import TRAINERS, load_training, read_recipe


class _Line:
    """Fits a line with noise in the data and dropout in the network."""

    def __init__(self, break_at: int = -1) -> None:
        torch.manual_seed(0)
        self.net = torch.nn.Linear(2, 1)
        self.optimiser = torch.optim.Adam(self.net.parameters(), 0.05)
        self.break_at = break_at
        self.seen: list[int] = []

    def batch(self, step: int) -> Any:
        rng = np.random.default_rng([7, step])
        return torch.from_numpy(rng.normal(size=(8, 2)).astype(np.float32))

    def step(self, step: int, batch: Any) -> dict[str, float]:
        self.seen.append(step)
        if step == self.break_at:
            return {"loss": float("nan")}
        x = torch.nn.functional.dropout(batch, 0.2)
        loss = (self.net(x)[:, 0] - batch.sum(1)).pow(2).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss": loss.item()}

    def state(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])

    def validate(self) -> dict[str, float]:
        return {"error": (self.net.weight - 1).abs().sum().item()}

    def export(self, folder: Path) -> list[Path]:
        folder.mkdir(exist_ok=True)
        (folder / "line.txt").write_text(str(self.net.weight.tolist()))
        return [folder / "line.txt"]


def _run(job: _Line, folder: Path, steps: int = 40, **more: Any) -> bool:
    return run_training(job, folder, steps=steps, seed=1, recipe={"steps": steps}, log_every=10, **more)


def test_a_resumed_run_ends_with_the_very_same_weights(tmp_path: Path) -> None:
    whole = _Line()
    assert _run(whole, tmp_path / "whole")
    first = _Line()
    assert not _run(first, tmp_path / "parts", max_minutes=1e-9)
    assert first.seen == [0]
    second = _Line()
    assert _run(second, tmp_path / "parts")
    assert second.seen == list(range(1, 40))
    for a, b in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "parts/export/line.txt").read_text() == (
        tmp_path / "whole/export/line.txt"
    ).read_text()


def test_metrics_are_one_json_line_a_report(tmp_path: Path) -> None:
    _run(_Line(), tmp_path, validate_every=20)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [10, 20, 30, 40]
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [20, 40]
    assert lines[-1]["error"] < 0.5


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    _run(_Line(), tmp_path)
    with pytest.raises(OutputError, match="steps differ"):
        _run(_Line(), tmp_path, steps=50)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FstripletsError, match="loss became NaN"):
        _run(_Line(break_at=15), tmp_path)


def test_the_first_ctrl_c_saves_the_step_in_hand(tmp_path: Path) -> None:
    class Stopped(_Line):
        def step(self, step: int, batch: Any) -> dict[str, float]:
            values = super().step(step, batch)
            if step == 5:
                import signal

                signal.raise_signal(signal.SIGINT)
            return values

    with pytest.raises(FstripletsError, match="stopped after 6 of 40"):
        _run(Stopped(), tmp_path)
    rest = _Line()
    _run(rest, tmp_path)
    assert rest.seen[0] == 6


def test_warmup_and_cosine_stay_in_range() -> None:
    factors = [warmup_cosine(step, 1000) for step in range(1000)]
    assert 0 < factors[0] < 0.01
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.02, abs=1e-3)


def test_recipes_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("trainer: nobody\nsteps: 1\n")
    with pytest.raises(ConfigError, match="trainer 'nobody'"):
        load_training(path, tmp_path, "faces")
    assert read_recipe(path, ["loss.id=2.5"])["loss"] == {"id": 2.5}
    with pytest.raises(ConfigError, match="key=value"):
        read_recipe(path, ["steps"])


@pytest.mark.parametrize("trainer", list(TRAINERS))
def test_every_trainer_knows_its_defaults(trainer: str) -> None:
    recipe = import_module(TRAINERS[trainer][1]).Recipe
    defaults = recipe.completed({})
    assert defaults == json.loads(json.dumps(defaults))
    required = {name: recipe.model_fields[name] for name in recipe.model_fields.keys() - defaults.keys()}
    assert all(field.is_required() for field in required.values())
    assert {"seed", "validate_every"} <= defaults.keys()


def test_groups_of_keys_are_completed_and_mappings_that_are_a_value_are_not() -> None:
    from fstriplets.training.editor import Recipe as Editor
    from fstriplets.training.swap_recipe import Recipe as Swap

    assert Swap.completed({"loss_256": {"id": 3.0}})["loss_256"]["id"] == 3.0
    assert Swap.completed({"loss_256": {"id": 3.0}})["loss_256"]["l1"] == 0.0
    assert Editor.completed({"edits": {"grin": 2.0}})["edits"] == {"grin": 2.0}


_FAULTS = """
import resource, sys
import numpy as np
from fstriplets.training.memory import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
for turn in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(48 << 20, np.uint8)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc's malloc treats large blocks")
def test_freed_blocks_are_taken_again_without_asking_the_kernel() -> None:
    told = {}
    for how in ("keep", "leave"):
        command = [sys.executable, "-c", _FAULTS, how]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        told[how] = int(said[0]), int(said[1])
    assert told["keep"][0] == 1
    assert told["keep"][1] < told["leave"][1] / 10


def test_muon_turns_the_scales_of_a_gradient_alike() -> None:
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 6))[0] for n in (6, 20))
    gradient = u @ torch.diag(torch.logspace(0, -1, 6)) @ v.T
    for matrix in (gradient, gradient.T):
        step = orthogonal(matrix)
        assert step.shape == matrix.shape
        assert torch.linalg.svdvals(step).sub(1).abs().max() < 0.4
        same = (u.T @ (step if matrix is gradient else step.T) @ v).diagonal()
        assert same.min() > 0.6  # of the same singular vectors


def test_muon_fits_where_the_inputs_scales_differ() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Tanh(), torch.nn.Conv2d(8, 1, 1))
    teacher = torch.nn.Conv2d(4, 1, 3)
    x = torch.randn(8, 4, 8, 8) * torch.logspace(0, -1, 4)[:, None, None]
    matrices = [p for p in net.parameters() if p.ndim > 1]
    optimiser = Muon(matrices, [p for p in net.parameters() if p.ndim == 1], 0.01)
    errors = []
    for _ in range(100):
        loss = (net(x) - teacher(x).detach()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss))
    assert errors[-1] < 0.1 * errors[0]
