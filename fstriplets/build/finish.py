"""When all shards are there: run.json, Croissant metadata, dataset card, HTML report, _SUCCESS."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import fstriplets
from fstriplets import audit
from fstriplets.build.card import croissant, dataset_card
from fstriplets.build.claim import RUN, read_run
from fstriplets.build.plan import Generation
from fstriplets.build.report import BuildReport, Tally
from fstriplets.config import PipelineConfig
from fstriplets.models.weights import better_weights
from fstriplets.shards import Store

__all__ = ["finish"]

#: What shapes the bytes of a dataset, beside our own version.
_PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "pyarrow", "onnxruntime", "dask")


def finish(
    store: Store, config: PipelineConfig, generations: list[Generation], tally: Tally, quarantined: list[str]
) -> BuildReport:
    """Describe the whole dataset, not only this run, and mark it done."""
    found = audit.inspect_dataset(store)
    report = _report(found, tally, quarantined, generations)
    run = _run_record(store, config, generations, tally, found, quarantined)
    store.write(RUN, _json(run))
    store.write("croissant.json", _json(croissant(store, run)))
    store.write("README.md", dataset_card(run).encode())
    report.report = str(audit.write_report(store))
    report.identity = run.get("identity", {})
    if set(found.consents) - {"synthetic"}:
        better = better_weights(run.get("weights", {}))
        report.better_weights = {name: row.name for name, row in better.items()}
    store.write("_SUCCESS", b"")
    report.seconds = tally.seconds
    return report


def _report(
    found: audit.Inspection, tally: Tally, quarantined: list[str], generations: list[Generation]
) -> BuildReport:
    return BuildReport(
        output=found.dataset,
        identities=found.identities,
        photos=found.total("photos"),
        faces=found.ok("faces"),
        edits=found.ok("edits"),
        triplets=found.ok("triplets"),
        shards=found.shards,
        kinds=found.kinds,
        rejects={manifest: reasons for manifest, reasons in found.reasons.items() if reasons},
        shards_resumed=tally.resumed,
        bytes=found.bytes,
        editor_share=tally.editor_share,
        quarantined=quarantined,
        frozen=sum(generation.frozen for generation in generations),
    )


def _run_record(
    store: Store,
    config: PipelineConfig,
    generations: list[Generation],
    tally: Tally,
    found: audit.Inspection,
    quarantined: list[str],
) -> dict[str, Any]:
    counts = {
        "identities": found.identities,
        "rows": found.rows,
        "reasons": found.reasons,
        "kinds": found.kinds,
        "edits": found.edits,
        "splits": found.splits,
        "shards": found.shards,
        "bytes": found.bytes,
        "licences": found.licences,
        "consents": found.consents,
        "weights_licences": found.weights_licences,
    }
    last_run = {
        "seconds": round(tally.seconds, 3),
        "stage_seconds": {stage: round(s, 3) for stage, s in sorted(tally.stage_seconds.items())},
        "shards_resumed": tally.resumed,
        "shards_built": tally.done,
        "quarantined": quarantined,
    }
    return {
        **(read_run(store) or {}),
        "status": "done",
        "corpus": config.corpus,
        "runtime": config.runtime.model_dump(mode="json"),
        "versions": _versions(),
        "host": {"machine": platform.machine(), "system": platform.system()},
        "counts": counts,
        "generations": len(generations),
        "last_run": last_run,
    }


def _versions() -> dict[str, str]:
    versions = {"fstriplets": fstriplets.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
