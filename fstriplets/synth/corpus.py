"""Writing a corpus of synthetic people: folders of photos, a table, optional truth arrays.

    OUTPUT/photos/p000007/00.jpg     one folder a person
    OUTPUT/truth/p000007/00.npz      with truth=True
    OUTPUT/rows/p000007.json         the person's rows, written last: what resume trusts
    OUTPUT/table.csv, table.parquet  the corpus table `fstriplets build` reads

One person is one task; the same seed gives the same bytes in any process, whatever the number of workers.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fstriplets.config import RuntimeConfig
from fstriplets.errors import OutputError
from fstriplets.runtime import Task, open_engine

__all__ = ["LICENCE", "CorpusPlan", "write_corpus", "write_table"]

LICENCE = "CC0-1.0 (synthetic; face model ICT-FaceKit, MIT)"


@dataclass(frozen=True)
class CorpusPlan:
    """What to draw.

    Attributes:
        output: folder; identities, images: people, and photos of each; size: pixels, 64..1024.
        seed: of the corpus; people of two seeds differ. max_yaw: degrees.
        truth: write the truth arrays too.
    """

    output: str
    identities: int
    images: int
    size: int = 256
    seed: int = 0
    max_yaw: float = 60.0
    truth: bool = False

    def identity_seed(self, index: int) -> int:
        """The seed of the index-th person."""
        return self.seed * 1_000_003 + index

    def fingerprint(self) -> str:
        """Names everything that shapes a person's photos."""
        from fstriplets.synth import RENDERER

        shaped = {k: v for k, v in asdict(self).items() if k not in ("output", "identities")}
        return hashlib.sha256(json.dumps([RENDERER, shaped], sort_keys=True).encode()).hexdigest()[:16]


def write_corpus(
    plan: CorpusPlan,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws a corpus and returns its table.csv. Finished people are kept: call again to resume.

    Args:
        workers: processes; 0 draws in this one; None: one a core.
        scheduler: a running Dask scheduler instead (the output must be a shared folder).
        progress: called with (people done, people in all).

    Raises:
        UserError: no face model; OutputError: the folder holds another corpus or cannot be written.
    """
    from fstriplets.synth.facemodel import load_face_model

    load_face_model()
    root = Path(plan.output)
    _claim(root, plan)
    missing = [i for i in range(plan.identities) if not _rows_path(root, plan, i).is_file()]
    done = plan.identities - len(missing)
    if progress:
        progress(done, plan.identities)
    config = RuntimeConfig(workers=workers, scheduler=scheduler)
    if missing:
        with open_engine(config, None) as engine:
            for outcome in engine.map(_draw_person, _tasks(plan, missing)):
                if outcome.error is not None:
                    raise outcome.error
                done += 1
                if progress:
                    progress(done, plan.identities)
    return write_table(
        root, [json.loads(_rows_path(root, plan, i).read_text()) for i in range(plan.identities)]
    )


def _tasks(plan: CorpusPlan, indices: list[int]) -> Iterator[Task]:
    key = plan.fingerprint()
    for index in indices:
        yield Task(key=f"synth-{key}-{index}", payload=(plan, index))


def _claim(root: Path, plan: CorpusPlan) -> None:
    """Marks the folder as this corpus'; refuses one that another plan began."""
    mark = root / "synth.json"
    stated = {k: v for k, v in asdict(plan).items() if k not in ("output", "identities")}
    stated["fingerprint"] = plan.fingerprint()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if mark.is_file():
            if json.loads(mark.read_text()) != stated:
                raise OutputError(
                    f"{root} holds a corpus drawn with other settings ({mark}): choose another --output"
                )
            return
        _write(mark, json.dumps(stated, indent=1, sort_keys=True).encode())
    except OSError as error:
        raise OutputError(f"cannot write {root}: {error}") from error


def _name(plan: CorpusPlan, index: int) -> str:
    return f"p{plan.identity_seed(index):06d}"


def _rows_path(root: Path, plan: CorpusPlan, index: int) -> Path:
    return root / "rows" / f"{_name(plan, index)}.json"


@lru_cache(maxsize=1)
def _studio() -> Any:
    from fstriplets.synth.studio import Studio

    return Studio(keep=1)


def _draw_person(payload: tuple[CorpusPlan, int]) -> int:
    """Draws one person's photos; their rows are written last."""
    from fstriplets.synth.camera import to_jpeg

    plan, index = payload
    root, name, studio = Path(plan.output), _name(plan, index), _studio()
    seed = plan.identity_seed(index)
    person = studio.person(seed)
    rows = []
    for k in range(plan.images):
        scene = studio.scene(seed * 1009 + k, plan.max_yaw)
        photo = studio.photo(person, scene, plan.size)
        path = f"photos/{name}/{k:02d}.jpg"
        _write(root / path, to_jpeg(photo.pixels, scene.quality))
        if plan.truth:
            _write_truth(root / "truth" / name / f"{k:02d}.npz", photo.truth)
        rows.append(_row(path, name, photo.truth))
    _write(_rows_path(root, plan, index), json.dumps(rows).encode())
    return len(rows)


def _row(path: str, name: str, truth: Any) -> dict[str, Any]:
    yaw, pitch, roll = truth.pose
    return {
        "path": path,
        "identity_id": name,
        "licence": LICENCE,
        "consent": "synthetic",
        "box": [round(float(v), 2) for v in truth.box],
        "landmarks": [[round(float(v), 2) for v in p] for p in truth.landmarks68],
        "yaw": round(yaw, 2),
        "pitch": round(pitch, 2),
        "roll": round(roll, 2),
        **truth.attributes,
    }


def _write_truth(path: Path, truth: Any) -> None:
    """One .npz a photo; fixed time stamps, so that the bytes depend on the seed alone."""
    import io

    arrays = {
        "landmarks68": truth.landmarks68,
        "landmarks5": truth.landmarks5,
        "dense": truth.dense,
        "visible": truth.visible,
        "box": np.array(truth.box, np.float32),
        "labels": truth.labels,
        "depth": truth.depth.astype(np.float16),
        "pose": np.array(truth.pose, np.float32),
        "expression": truth.expression,
        "identity": truth.identity,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Atomically: nothing under its final name is ever half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def write_table(root: Path, people: list[list[dict[str, Any]]]) -> Path:
    """table.csv (lists as JSON) and table.parquet (lists as lists) of all rows; returns the csv."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for person in people for row in person]
    path = root / "table.csv"
    temporary = path.with_name(".table.csv.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    os.replace(temporary, path)
    parquet = root / "table.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet.with_name(".table.parquet.tmp"))
    os.replace(parquet.with_name(".table.parquet.tmp"), parquet)
    return path
