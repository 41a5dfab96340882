"""What is paid before the first photo: start of the command line, and planning a very large corpus."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.corpus import write_table
from benchmarks.measure import Figure, seconds

__all__ = ["help_time", "planning"]

PEOPLE, PHOTOS = 15_552, 1_100_000  # FSTriplets' own size

_PLAN = """
import resource, sys, time
import fstriplets
from fstriplets.build.plan import list_buckets, plan_corpus
from fstriplets.corpus import open_corpus
from fstriplets.shards import Store

start = time.perf_counter()
config = fstriplets.load_config("photos", [f"corpus={sys.argv[1]}", f"output={sys.argv[2]}"])
store = Store(config.output)
generations = plan_corpus(store, open_corpus(config.corpus, config).identities(), config)
buckets = sum(1 for _ in list_buckets(store, generations))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(time.perf_counter() - start, peak, buckets, generations[0].photos)
"""


def help_time(runs: int = 9) -> list[Figure]:
    """`fstriplets --help` in a fresh process, beside an interpreter that does nothing."""
    ours = [sys.executable, "-m", "fstriplets", "--help"]
    bare = [sys.executable, "-c", "pass"]
    times = [(_timed(ours), _timed(bare)) for _ in range(runs + 1)][1:]
    value = statistics.median(wall for (wall, _), _ in times)
    busy = statistics.median(cpu for (_, cpu), _ in times)
    empty = statistics.median(wall for _, (wall, _) in times)
    detail = f"{busy:.2f} s of processor time; an empty interpreter: {empty:.2f} s"
    return [Figure("fstriplets --help", value, "s", "< 0.3", detail)]


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds of wall and of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def planning(work: Path) -> list[Figure]:
    """Plan the whole of FSTriplets' size from a parquet table, in a process of its own."""
    table = write_table(work / "people.parquet", PEOPLE, PHOTOS)
    done = subprocess.run(
        [sys.executable, "-c", _PLAN, str(table), str(work / "planned")],
        check=True,
        capture_output=True,
        text=True,
    )
    took, peak, buckets, photos = (float(word) for word in done.stdout.split())
    detail = f"{photos:,.0f} photos of {PEOPLE:,} people into {buckets:,.0f} shards"
    return [
        Figure("planning", took, "s", "< 60", detail),
        Figure("peak memory of planning", peak, "GB", "< 1", "resident, the whole driver process"),
    ]
