"""The dataset folder before a build: ours, of this config, or somebody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fstriplets.build.job import Description
from fstriplets.build.plan import is_planned
from fstriplets.config import PipelineConfig
from fstriplets.corpus import Corpus
from fstriplets.corpus.folder import FolderCorpus
from fstriplets.errors import ConfigError, CorpusError, OutputError
from fstriplets.shards import Store

__all__ = ["PERFORMANCE", "RUN", "check_apart", "check_places", "claim", "lock_stages", "read_run"]

RUN = "run.json"
#: Dask's performance report, where the config asks for one.
PERFORMANCE = "performance.html"
#: Everything a build writes: what --overwrite may remove.
OURS = (
    "shards",
    "manifests",
    "stats",
    RUN,
    "croissant.json",
    "README.md",
    "report.html",
    "performance.html",
    "_SUCCESS",
)


def claim(store: Store, config: PipelineConfig, *, overwrite: bool, resume: bool) -> None:
    """Make `store` the output of `config`.

    Raises:
        OutputError: not writable; built by another config; holds something else; or exists and
            neither `resume` nor `overwrite` is wanted.
    """
    run = read_run(store)
    if run is None and (strangers := [name for name in store.listdir("") if name not in OURS]):
        raise OutputError(
            f"{store.url} is not empty and no fstriplets dataset (it holds {strangers[0]});"
            " choose another --output"
        )
    if run is not None and overwrite:
        for name in (RUN, *(name for name in OURS if name != RUN)):
            store.remove(name)
        run = None
    if run is not None and "drawn" in run:
        raise OutputError(f"{store.url} holds a dataset of `fstriplets synth swaps`; choose another --output")
    if run is None or not is_planned(store):  # nothing was built: whatever was tried before may be mended
        try:
            _write(store, {"config": config.shaping(), "status": "building"})
        except OSError as error:
            raise OutputError(f"{store.url} cannot be written ({error}); choose another --output") from error
    elif not resume:
        raise OutputError(f"{store.url} holds a dataset already; resume it, or start over with --overwrite")
    elif changed := _differences(run["config"], config.shaping()):
        raise OutputError(
            f"{store.url} was built with another config ({'; '.join(changed[:5])});"
            " choose another --output, restore the key, or start over with --overwrite"
        )
    store.remove("_SUCCESS")
    store.sweep()


def lock_stages(store: Store, stages: Description) -> None:
    """Hold the dataset to the editors and weights it was begun with.

    Raises:
        OutputError: this machine would build with others.
    """
    run = read_run(store) or {}
    before = run.get("stages")
    now = {"fingerprint": stages.fingerprint, "faces": stages.faces, "edits": stages.edits}
    if before is not None and before["fingerprint"] != stages.fingerprint:
        kind = "faces" if before["faces"] != stages.faces else "edits"
        raise OutputError(
            f"{store.url} was begun with other models or another fstriplets version"
            f" ({before[kind]} then, {now[kind]} now); install the same ones, choose another --output,"
            " or start over with --overwrite"
        )
    _write(store, {**run, "stages": now, "weights": stages.weights, "identity": stages.identity})


def read_run(store: Store) -> dict[str, Any] | None:
    """run.json, or None where there is none."""
    if not store.exists(RUN):
        return None
    try:
        run: dict[str, Any] = json.loads(store.read(RUN))
    except ValueError as error:
        raise OutputError(f"{store.url}/{RUN} is damaged; start over with --overwrite") from error
    return run


def check_places(config: PipelineConfig) -> None:
    """Both ends of the build are named.

    Raises:
        CorpusError, ConfigError: one of the two is not.
    """
    if not config.corpus:
        raise CorpusError("no corpus: name one with --corpus PATH or the key `corpus`")
    if not config.output:
        raise ConfigError("no output: name one with --output DIR or the key `output`")


def check_apart(store: Store, corpus: Corpus) -> None:
    """The output may not lie in a folder of photos: its images would become photos of the next build.

    Raises:
        OutputError: it does.
    """
    if not isinstance(corpus, FolderCorpus) or not store.local:
        return
    inside, outside = Path(corpus.root).resolve(), Path(store.root).resolve()
    if inside == outside or inside in outside.parents:
        raise OutputError(f"--output {store.url} lies inside the corpus {corpus.root}; choose another folder")


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    changed: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changed += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changed.append(f"{prefix}{key}: {old!r} then, {new!r} now")
    return changed


def _write(store: Store, run: dict[str, Any]) -> None:
    store.write(RUN, json.dumps(run, indent=1, sort_keys=True).encode())
