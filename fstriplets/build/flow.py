"""The build: scan, plan, one task a bucket, finish. DESIGN section 2.

Everything that survives a kill is on disk: the plan, the committed shards. A build that starts
again on the same folder reads both and does what is left.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from fstriplets.build.bucket import BucketResult, BucketTask, build_bucket
from fstriplets.build.claim import PERFORMANCE, check_apart, check_places, claim, lock_stages
from fstriplets.build.estimate import estimate
from fstriplets.build.finish import finish
from fstriplets.build.job import Description, describe, warm
from fstriplets.build.plan import Generation, list_buckets, plan_corpus, read_bucket
from fstriplets.build.report import BuildReport, Progress, Tally
from fstriplets.config import PipelineConfig
from fstriplets.corpus import open_corpus, passed_over
from fstriplets.errors import FstripletsError
from fstriplets.runtime import Engine, Outcome, Task, find_poison, open_engine
from fstriplets.shards import Store, read_stats, verify_shard

__all__ = ["build"]

log = logging.getLogger(__name__)
OnProgress = Callable[[Progress], None]


def build(
    config: PipelineConfig,
    *,
    overwrite: bool = False,
    resume: bool = True,
    retry_failed: bool = False,
    verify: bool = False,
    limit: int | None = None,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Build a dataset of triplets from a corpus; resume it, or extend it when the corpus grew.

    Args:
        config: the recipe, with `corpus` and `output` set.
        overwrite: remove an existing dataset at `output` first.
        resume: go on where an earlier run stopped; False refuses an existing dataset.
        retry_failed: build shards again that hold photos or edits with status `failed`.
        verify: re-hash finished shards before trusting them, not only their sizes.
        limit: plan at most so many identities; a later build without it adds the rest.
        dry_run: write nothing, open a few photos, say what the build would give and take.
        progress: called at every change of stage and after every bucket.

    Raises:
        UserError: bad input; each subclass says which, the message how to mend it.
        Interrupted: stopped by a signal; the same call resumes.
        FstripletsError: a failure of ours; finished shards stay.
    """
    tally = Tally()
    tell = progress or (lambda _: None)
    check_places(config)
    corpus = open_corpus(config.corpus or "", config)
    identities = islice(corpus.identities(), limit)
    tell(tally.progress("scan"))
    if dry_run:
        return estimate(config, corpus, identities)
    store = Store(config.output or "")
    check_apart(store, corpus)
    claim(store, config, overwrite=overwrite, resume=resume)
    with open_engine(
        config.runtime, partial(warm, config.shaping_json()), _performance(store, config)
    ) as engine:
        stages = _describe(engine, config)
        lock_stages(store, stages)
        tell(tally.progress("plan"))
        generations = plan_corpus(store, identities, config)
        tally.total = sum(generations[-1].next_index.values())
        tasks = _open_tasks(store, config, generations, stages, tally, retry_failed, verify)
        tell(tally.progress("build", passed_over(corpus)))
        quarantined = _run(engine, store, tasks, tally, tell)
    tell(tally.progress("finish"))
    return finish(store, config, generations, tally, quarantined)


def _performance(store: Store, config: PipelineConfig) -> Path | None:
    wanted = config.runtime.performance_report and store.local
    return Path(store.root) / PERFORMANCE if wanted else None


def _describe(engine: Engine, config: PipelineConfig) -> Description:
    """Ask a worker what it would build with: the driver itself loads no model."""
    (outcome,) = engine.map(describe, [Task("describe", config.shaping_json())])
    if outcome.error is not None:
        raise outcome.error
    description: Description = outcome.value
    return description


def _open_tasks(
    store: Store,
    config: PipelineConfig,
    generations: list[Generation],
    stages: Description,
    tally: Tally,
    retry_failed: bool,
    verify: bool,
) -> Iterator[BucketTask]:
    """Buckets without a shard that can be trusted; an iterator, for there may be millions."""
    for generation, bucket in list_buckets(store, generations):
        key = f"{generation.digest}\0{stages.fingerprint}\0{bucket.shard}"
        plan_hash = hashlib.sha256(key.encode()).hexdigest()
        stats = read_stats(store, bucket.shard, bucket.split)
        if (
            stats is not None
            and stats.plan_hash == plan_hash
            and not (retry_failed and any(n for k, n in stats.counts.items() if k.endswith("_failed")))
            and not verify_shard(store, bucket.shard, bucket.split, deep=verify)
        ):
            tally.resumed += 1
            continue
        yield BucketTask(
            dataset=store.url,
            corpus=config.corpus or "",
            generation=generation.number,
            shard=bucket.shard,
            split=bucket.split,
            part=bucket.part,
            row_group=bucket.row_group,
            plan_hash=plan_hash,
        )


def _run(
    engine: Engine,
    store: Store,
    tasks: Iterable[BucketTask],
    tally: Tally,
    tell: OnProgress,
) -> list[str]:
    """Build the buckets; take those apart on which workers keep dying. Returns quarantined photos."""
    deadly: list[BucketTask] = []
    for outcome in engine.map(build_bucket, (Task(task.shard, task) for task in tasks)):
        if outcome.died:
            deadly.append(outcome.task.payload)
            tell(tally.progress("build", f"{outcome.task.key}: {outcome.error}; looking for the photo"))
        else:
            tally.add(_value(outcome))
            tell(tally.progress("build"))
    quarantined: list[str] = []
    retries: list[Task] = []
    for task in deadly:
        poison = _isolate(engine, store, task)
        quarantined += poison
        tell(tally.progress("build", f"{task.shard}: quarantined {len(poison)} photos"))
        retries.append(Task(task.shard, replace(task, skip=tuple(poison))))
    hopeless: list[Outcome] = []
    for outcome in engine.map(build_bucket, retries):
        if outcome.died:  # the others first: nothing else is lost
            hopeless.append(outcome)
        else:
            tally.add(_value(outcome))
            tell(tally.progress("build"))
    for outcome in hopeless:
        _value(outcome)
    return quarantined


def _isolate(engine: Engine, store: Store, task: BucketTask) -> list[str]:
    """The photos of a bucket on which a worker dies or hangs, found by halving."""
    photos = [
        photo.photo_id
        for _, group in read_bucket(store, task.part, task.row_group)
        for photo in group
        if photo.status == "ok"
    ]

    def probe(ids: Sequence[str]) -> Task:
        return Task(f"{task.shard}-probe", replace(task, only=tuple(ids)))

    return find_poison(engine, build_bucket, probe, photos)


def _value(outcome: Outcome) -> BucketResult:
    """The result of a bucket; its error is ours to raise, whatever it is."""
    if outcome.error is None:
        result: BucketResult = outcome.value
        return result
    if isinstance(outcome.error, FstripletsError | ImportError | MemoryError | OSError):
        raise outcome.error
    error = outcome.error
    raise FstripletsError(f"shard {outcome.task.key} failed: {type(error).__name__}: {error}") from error
