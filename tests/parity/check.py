"""Check a network against its recorded outputs.

Tolerance of an output: relative L2 error at most max(2e-5, 20 x the official implementation's own
float32-against-float64 error, recorded in keys.json); of a gradient, at least 1e-3, because the kink of
LeakyReLU lets values near zero change sides between correct implementations.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .factories import FACTORIES, Entry
from .numbers import Rules, load_golden, load_keys
from .runners import Tensors, runners

GOLDENS = Path(__file__).parent / "goldens"
OWN_RULES = "parity_common.py"


@dataclass(frozen=True)
class Output:
    """One compared array."""

    name: str  # case/output
    max_abs: float
    rel: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.rel <= self.tolerance


@dataclass
class Report:
    """What a check found."""

    net: str
    missing: list[str] = field(default_factory=list)  # official names the network lacks
    extra: list[str] = field(default_factory=list)  # names only the network has
    outputs: list[Output] = field(default_factory=list)
    error: str = ""  # why nothing, or not all, could be compared

    @property
    def passed(self) -> bool:
        named = not (self.missing or self.extra or self.error)
        return named and bool(self.outputs) and all(output.passed for output in self.outputs)

    def __str__(self) -> str:
        lines = [f"{self.net:28} {'PASS' if self.passed else 'FAIL'}"]
        if self.error:
            lines.append(f"    {self.error}")
        for title, names in (("lacks", self.missing), ("has besides", self.extra)):
            if names:
                lines.append(f"    the network {title} {len(names)} names: {', '.join(names[:5])}")
        for o in self.outputs:
            verdict = "ok" if o.passed else "FAILED " + o.note
            figures = f"max abs {o.max_abs:.2g}  rel {o.rel:.2g}  tolerance {o.tolerance:.2g}"
            lines.append(f"    {o.name:24} {figures}  {verdict}")
        return "\n".join(lines)


class Folder:
    """A folder of recorded outputs: its arrays and the rules they were made by."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        places = [place for place in (path, path / "goldens") if any(place.glob("*.keys.json"))]
        if not places:
            raise FileNotFoundError(f"no NET.keys.json in {path} or {path / 'goldens'}")
        self.arrays = places[0]
        own = [p for p in (path / OWN_RULES, self.arrays / OWN_RULES, path.parent / OWN_RULES) if p.is_file()]
        self.rules = _load_rules(own[0]) if own else Rules()
        self.nets = sorted(file.name.removesuffix(".keys.json") for file in self.arrays.glob("*.keys.json"))

    def check(self, net: str, entry: Entry | None = None, cases: Iterable[str] | None = None) -> Report:
        """Check a net of this folder.

        Args:
            entry: what makes and calls it; None: its entry in FACTORIES.
            cases: only these; None: all that were recorded.
        """
        if net not in self.nets:
            return Report(net, error=f"not in {self.arrays}; it has: {', '.join(self.nets)}")
        if entry is None and net not in FACTORIES:
            return Report(net, error="not in FACTORIES (tests/parity/factories.py)")
        report = Report(net)
        try:
            self._fill(report, entry or FACTORIES[net], None if cases is None else set(cases))
        except Exception as error:  # whatever a network raises is a finding, not the end of the run
            report.error = f"{type(error).__name__}: {error}"
        return report

    def _fill(self, report: Report, entry: Entry, cases: set[str] | None) -> None:
        factory, key_map, runner = entry
        meta, golden = load_keys(self.arrays, report.net), load_golden(self.arrays, report.net)
        state = self.rules.regenerate(meta["keys"])
        state = {key_map(name) if key_map else name: value for name, value in state.items()}
        module = factory()
        have = set(module.state_dict())
        report.missing, report.extra = sorted(set(state) - have), sorted(have - set(state))
        if report.missing or report.extra:
            return
        calls = runner or runners(self.rules.stats).get(report.net, {})
        for case in golden if cases is None else cases:
            if case not in calls or case not in golden:
                raise KeyError(f"case {case!r} is {'not recorded' if case in calls else 'without a runner'}")
            module.load_state_dict(state)  # anew: a training pass changes buffers
            inputs = {name: torch.from_numpy(v.copy()) for name, v in golden[case]["in"].items()}
            got = calls[case](module, inputs)
            for name, want in golden[case]["out"].items():
                report.outputs.append(self._compare(f"{case}/{name}", got, want, meta))

    def _compare(self, name: str, got: Tensors, want: np.ndarray, meta: Mapping[str, Any]) -> Output:
        tolerance = _tolerance(meta, name)
        output = name.split("/", 1)[1]
        if output not in got:
            return Output(name, np.inf, np.inf, tolerance, "the runner does not give it")
        found = self.rules.compare(got[output].detach().cpu().numpy(), want)
        return Output(name, found["max_abs"], found["rel"], tolerance, found.get("note", ""))


def check(net: str, folder: str | Path = GOLDENS, cases: Iterable[str] | None = None) -> Report:
    """Check `net` against the outputs recorded in `folder` (default: those of this project)."""
    return Folder(folder).check(net, cases=cases)


def _tolerance(meta: Mapping[str, Any], name: str) -> float:
    own = meta.get("f32_vs_f64", {}).get(name)
    tolerance = max(2e-5, 20 * own["rel"]) if isinstance(own, dict) else 2e-5
    return max(1e-3, tolerance) if "grad" in name.split("/")[1] else tolerance


def _load_rules(path: Path) -> Rules:
    spec = importlib.util.spec_from_file_location("a_folders_parity_common", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = ("regenerate", "stats", "compare")
    own: dict[str, Callable[..., Any]] = {n: getattr(module, n) for n in names if hasattr(module, n)}
    return Rules(**own)
