"""What a build says of itself: Progress while it runs, BuildReport when it ends."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fstriplets.build.bucket import BucketResult

__all__ = ["BuildReport", "Progress", "Tally"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Given to `progress` at every change of stage and after every bucket. Counts are of this run."""

    stage: str  #: "scan", "plan", "build" or "finish"
    shards_done: int = 0  #: resumed ones too
    shards_total: int = 0  #: 0: not known yet
    shards_resumed: int = 0
    photos: int = 0
    faces: int = 0
    edits: int = 0
    triplets: int = 0
    rejected: int = 0  #: rows of all manifests that are not `ok`
    seconds: float = 0.0
    message: str = ""  #: one line worth printing, or empty


@dataclass(slots=True)
class BuildReport:
    """What a build did, or with `dry_run` would do."""

    output: str
    dry_run: bool = False
    identities: int = 0
    photos: int = 0
    faces: int = 0
    edits: int = 0
    triplets: int = 0
    shards: dict[str, int] = field(default_factory=dict)  #: split -> shards
    kinds: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, dict[str, int]] = field(default_factory=dict)  #: manifest -> reason -> rows
    shards_resumed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    editor_share: float = 0.0  #: of the workers' time
    quarantined: list[str] = field(default_factory=list)  #: photo ids
    frozen: int = 0  #: new photos of people whose shard was planned before
    estimate_seconds: float | None = None  #: dry run: of the whole build on this machine
    report: str | None = None  #: path of report.html
    identity: dict[str, Any] = field(default_factory=dict)  #: the recogniser and the cosines that count
    #: bundled weights used on photos of real people -> public ones that do better there
    better_weights: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """Adds up bucket results."""

    total: int = 0
    resumed: int = 0
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    stage_seconds: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)

    def add(self, result: BucketResult) -> None:
        """Count one bucket."""
        self.done += 1
        self.counts.update(result.counts)
        self.reasons.update(result.reasons)
        self.kinds.update(result.kinds)
        self.stage_seconds.update(result.seconds)

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self.started

    @property
    def editor_share(self) -> float:
        """Share of the workers' time spent inside editors."""
        total = sum(self.stage_seconds.values())
        return self.stage_seconds["editors"] / total if total else 0.0

    def progress(self, stage: str, message: str = "") -> Progress:
        """The state of things."""
        rejected = sum(n for key, n in self.counts.items() if not key.endswith(".ok"))
        photos = sum(n for key, n in self.counts.items() if key.startswith("photos."))
        return Progress(
            stage,
            self.resumed + self.done,
            self.total,
            self.resumed,
            photos,
            self.counts["faces.ok"],
            self.counts["edits.ok"],
            self.counts["triplets.ok"],
            rejected,
            self.seconds,
            message,
        )
