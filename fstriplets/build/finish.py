"""When all shards are there: run.json, Croissant metadata, dataset card, HTML report, _SUCCESS."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import fstriplets
from fstriplets.audit import Inspection, inspect_dataset, write_report
from fstriplets.build.card import croissant, dataset_card
from fstriplets.build.claim import RUN, read_run
from fstriplets.build.plan import Generation
from fstriplets.build.report import BuildReport, Tally
from fstriplets.config import PipelineConfig
from fstriplets.shards import Store

__all__ = ["finish"]

#: What shapes the bytes of a dataset, beside our own version.
PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "pyarrow", "onnxruntime", "dask")


def finish(
    store: Store, config: PipelineConfig, generations: list[Generation], tally: Tally, quarantined: list[str]
) -> BuildReport:
    """Describe the whole dataset, not only this run, and mark it done."""
    inspection = inspect_dataset(store.url)
    report = _report(store, generations, tally, quarantined, inspection)
    run = read_run(store) or {}
    run.update(
        status="done",
        corpus=config.corpus,
        runtime=config.runtime.model_dump(mode="json"),
        versions=_versions(),
        host={"machine": platform.machine(), "system": platform.system()},
        counts=_counts(inspection),
        generations=len(generations),
        last_run={
            "seconds": round(report.seconds, 3),
            "stage_seconds": {stage: round(s, 3) for stage, s in sorted(tally.stage_seconds.items())},
            "shards_resumed": tally.resumed,
            "shards_built": tally.done,
            "quarantined": quarantined,
        },
    )
    store.write(RUN, json.dumps(run, indent=1, sort_keys=True).encode())
    store.write("croissant.json", json.dumps(croissant(store, run), indent=1).encode())
    store.write("README.md", dataset_card(run).encode())
    report.report = str(write_report(store.url))
    store.write("_SUCCESS", b"")
    return report
