"""The build itself: against a plain process pool, per core, and where the time goes."""

from __future__ import annotations

import multiprocessing.pool
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import fstriplets
from benchmarks.measure import Figure
from fstriplets.build.bucket import BucketTask, build_bucket
from fstriplets.build.flow import _open_tasks
from fstriplets.build.job import describe, warm
from fstriplets.build.plan import plan_corpus
from fstriplets.build.report import Tally
from fstriplets.config import PipelineConfig
from fstriplets.corpus import open_corpus
from fstriplets.runtime import Task, default_workers, open_engine
from fstriplets.shards import Store

__all__ = ["PEOPLE", "PHOTOS", "WORKERS", "against_pool", "editor_share", "free_dataset", "per_core"]

SHARDS = 8
PER_SHARD = 1000
PEOPLE, PHOTOS = 80, 25  # at 4 triplets a photo: 8 shards of 1,000
WORKERS = default_workers()
#: Every stage that costs is there; edits are free: this measures the pipeline itself.
FREE = [
    "detector=aligned", "landmarker=template", "pose_estimator=landmarks", "embedder=none", "editor=null",
    "attribute_scorer=none",
    "accept.min_inside_change=0", "duplicates.near=false", "quality.brightness=[0, 255]", "splits={train: 1}",
    f"triplets_per_shard={PER_SHARD}", "triplets_per_photo=4", "image_size=256",
]  # fmt: skip


def _config(work: Path, workers: int) -> PipelineConfig:
    places = [f"corpus={work / 'crops'}", f"output={work / 'out'}", f"runtime.workers={workers}"]
    return fstriplets.load_config(None, [*FREE, *places])


def _planned(config: PipelineConfig) -> list[BucketTask]:
    """Plan into an empty output and return the tasks, as `build` does."""
    shutil.rmtree(config.output or "", ignore_errors=True)
    store = Store(config.output or "")
    generations = plan_corpus(store, open_corpus(config.corpus or "", config).identities(), config)
    stages = describe(config.model_dump_json())
    return list(_open_tasks(store, config, generations, stages, Tally(), False, False))


@contextmanager
def _pool(config: PipelineConfig) -> Iterator[multiprocessing.pool.Pool]:
    """The plainest engine: spawned processes, one thread each, models warm."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(WORKERS, _start, (config.model_dump_json(),)) as pool:
        pool.map(time.sleep, [0.1] * WORKERS, chunksize=1)
        yield pool


def _start(config_json: str) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    warm(config_json)


def against_pool(work: Path, pairs: int = 3) -> list[Figure]:
    """8 shards of 1,000 triplets with free edits: our runtime against multiprocessing.Pool, both warm."""
    config = _config(work, WORKERS)
    times: list[tuple[float, float]] = []
    with (
        open_engine(config.runtime, partial(warm, config.model_dump_json())) as engine,
        _pool(config) as pool,
    ):
        for _ in range(pairs + 1):
            tasks = _planned(config)
            start = time.perf_counter()
            for outcome in engine.map(build_bucket, (Task(task.shard, task) for task in tasks)):
                assert outcome.error is None, outcome.error
            middle = time.perf_counter()
            tasks = _planned(config)
            again = time.perf_counter()
            list(pool.imap_unordered(build_bucket, tasks))
            times.append((middle - start, time.perf_counter() - again))
    del times[0]  # first touches: page cache, lazy imports
    ratio = statistics.median(plain / ours for ours, plain in times)
    ours, plain = (statistics.median(side) for side in zip(*times, strict=True))
    detail = f"{SHARDS} shards of {PER_SHARD}, {WORKERS} workers: {ours:.1f} s against {plain:.1f} s"
    return [Figure("build against a plain process pool", ratio, "x", ">= 0.85", detail)]


def per_core(work: Path) -> list[Figure]:
    """Triplets a second of one process with free edits, from stored crops to a committed shard."""
    config = _config(work, 0)
    _start(config.model_dump_json())
    results, rates, cpu = [], [], []
    for task in _planned(config):
        start, busy = time.perf_counter(), time.process_time()
        results.append(build_bucket(task))
        count = results[-1].counts["triplets.ok"]
        rates.append(count / (time.perf_counter() - start))
        cpu.append(count / (time.process_time() - busy))
    parts = sorted(results[-1].seconds.items(), key=lambda item: -item[1])
    detail = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in parts if seconds > 0.005)
    rate, busy_rate = statistics.median(rates[1:]), statistics.median(cpu[1:])
    name = "triplets a second a core, free edits"
    return [
        Figure(name, rate, "/s", ">= 900", f"a shard: {detail}"),
        Figure("the same by processor time", busy_rate, "/s", "", "what a core gives that does nothing else"),
    ]


def free_dataset(work: Path) -> Path:
    """A dataset of about 1,000 triplets with free edits in at least two shards a core, to be read."""
    fewer = {"triplets_per_shard": 1000 // (2 * WORKERS)}
    config = _config(work, WORKERS).model_copy(update=fewer)
    report = fstriplets.build(config, overwrite=True, limit=PEOPLE // 8)
    return Path(report.output)


def editor_share(work: Path) -> list[Figure]:
    """Where the workers' time goes with a real editor: the demo corpus with its landmarks, one process."""
    given = ["detector=given", "landmarker=template", "pose_estimator=landmarks", "embedder=none"]
    others = ["attribute_scorer=none", f"output={work / 'demo'}", "runtime.workers=0"]
    config = fstriplets.load_config("quickstart", [*given, *others])
    report = fstriplets.build(config, overwrite=True)
    rate = report.triplets / report.seconds
    detail = (
        f"demo corpus, editor {config.editor}: {report.edits} edits, {rate:.0f} triplets/s in one process"
    )
    return [Figure("share of time in editors", 100 * report.editor_share, "%", ">= 90", detail)]
