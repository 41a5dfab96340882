"""`python -m benchmarks [NAME...]`: measure this machine and print one table.

NAME is any of help, planning, build, core, editors, loader, trainer, keys, swap; without one, all but keys
and swap.
`python -m benchmarks ablations --help`: the paper's ablations, a matter of hours.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fstriplets
from benchmarks import ablations, build, cold, loader, swap, trainer
from benchmarks.corpus import write_crops
from benchmarks.measure import Figure


def _core(work: Path) -> list[Figure]:
    return build.per_core(_crops(work))


def _pool(work: Path) -> list[Figure]:
    return build.against_pool(_crops(work))


def _loader(work: Path) -> list[Figure]:
    return loader.loader(build.free_dataset(_crops(work)))


def _trainer(work: Path) -> list[Figure]:
    return trainer.trainer(build.free_dataset(_crops(work)))


def _crops(work: Path) -> Path:
    """The corpus of aligned crops, made once a run."""
    if not (work / "crops").exists():
        write_crops(work / "crops", build.PEOPLE, build.PHOTOS)
    return work


MEASURES: dict[str, Callable[[Path], list[Figure]]] = {
    "help": lambda work: cold.help_time(),
    "planning": cold.planning,
    "build": _pool,
    "core": _core,
    "editors": build.editor_share,
    "loader": _loader,
    "trainer": _trainer,
    "keys": trainer.keys,
    "swap": swap.swap_runtimes,
}
#: Measured when they are named only: minutes each.
LONG = {"keys", "swap"}


def main(names: list[str]) -> None:
    """Take the figures asked for and print them as a table."""
    if names[:1] == ["ablations"]:
        ablations.main(names[1:])
        return
    unknown = set(names) - set(MEASURES)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; choose from: {', '.join(MEASURES)}")
    start = time.perf_counter()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="fstriplets-bench-") as folder:
        for name in names or [name for name in MEASURES if name not in LONG]:
            print(f"measuring: {name} …", file=sys.stderr, flush=True)
            figures += MEASURES[name](Path(folder))
    print(f"fstriplets {fstriplets.__version__}, Python {platform.python_version()}, {build.WORKERS} cores\n")
    print("\n".join(_table(figures)))
    print(f"\n{time.perf_counter() - start:.0f} s in all")


def _table(figures: list[Figure]) -> list[str]:
    lines = ["| figure | value | goal | | |", "|---|---:|---|---|---|"]
    for f in figures:
        mark = {True: "reached", False: "MISSED", None: ""}[f.reached]
        lines.append(f"| {f.name} | {f.value:.2f} {f.unit} | {f.goal} | {mark} | {f.detail} |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
