"""Measure the face stage on a folder of photos by person. The figures of docs/faces.md come from here.

    python -m fstriplets.faces.measure FOLDER [--set key=value …] [--sheet faces.png] [--limit N] [--copies N]
                                       [--reference yunet]

Prints the share of photos with a face and with an accepted one, reject reasons, time a photo and stage,
percentiles of every measurement, cosines within and between people, and how many planted mislabelled
photos the identity check catches; with --copies how steady crops are under copying; with --reference how the
detector does against another one. Reads photos, writes nothing but the sheet.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig, load_config
from fstriplets.corpus import decode_photo, open_corpus
from fstriplets.errors import PhotoRejected
from fstriplets.faces.identity import check_identity, verification_auc
from fstriplets.faces.pose import LandmarkPose
from fstriplets.faces.reference import agreement_report
from fstriplets.faces.robustness import copies_report
from fstriplets.faces.stage import FaceStage
from fstriplets.records import AlignedFace, Face

__all__ = ["Survey", "main", "planted", "survey"]

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass
class Survey:
    """What the face stage made of a corpus."""

    photos: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)  #: `ok` or the reason -> photos
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    faces: dict[str, list[Face]] = field(default_factory=dict)  #: identity -> one face a photo that has one
    examples: list[AlignedFace] = field(default_factory=list)


def survey(folder: str, config: PipelineConfig, limit: int = 0, keep: int = 0) -> Survey:
    """Run the face stage over a corpus.

    Args:
        limit: people to look at; 0: all.
        keep: aligned faces to keep for a contact sheet, spread over the corpus.
    """
    stage, found = FaceStage(config), Survey()
    corpus = open_corpus(folder, config)
    people = list(corpus.identities())[: limit or None]
    every = max(1, sum(len(photos) for _, photos in people) // keep) if keep else 0
    with _clocks(stage, found.seconds):
        for identity_id, photos in people:
            opened = []
            for photo in photos:
                found.photos += 1
                start = time.process_time()
                try:
                    decoded = decode_photo(corpus.read(photo), config.max_pixels)
                    found.seconds["read and decode"] += time.process_time() - start
                    opened.append(stage.candidates(photo, decoded))
                except PhotoRejected as rejected:
                    found.outcomes[rejected.reason] += 1
                found.seconds["all"] += time.process_time() - start
            start = time.process_time()
            chosen = stage.choose(opened)
            found.seconds["choose"] += time.process_time() - start
            found.seconds["all"] += time.process_time() - start
            for item in chosen:
                found.outcomes[item.face.reason or "ok"] += 1
                if every and sum(found.outcomes.values()) % every == 0:
                    found.examples.append(item)
            found.faces[identity_id] = [item.face for item in chosen]
    return found


class _clocks:
    """Times the parts of a stage by wrapping them, for as long as the context lasts."""

    def __init__(self, stage: FaceStage, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        parts = [
            (stage._detector, "detect", "detect"),
            (stage._landmarker, "find", "landmarks"),
            (stage._pose, "estimate", "pose"),
            (stage._embedder, "embed", "embed"),
        ]
        self._parts = [part for part in parts if part[0] is not None]

    def __enter__(self) -> None:
        for owner, method, name in self._parts:
            setattr(owner, method, self._timed(getattr(owner, method), name))

    def __exit__(self, *_: object) -> None:
        for owner, method, _name in self._parts:
            delattr(owner, method)

    def _timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self._seconds[name] += time.process_time() - start

        return timed


def embeddings_by_person(found: Survey) -> dict[str, npt.NDArray[np.float32]]:
    """Embeddings of faces that passed the quality gates, people with at least two."""
    people = {}
    for name, faces in found.faces.items():
        rows = [face.embedding for face in faces if face.embedding is not None and _good(face)]
        if len(rows) >= 2:
            people[name] = np.array(rows, np.float32)
    return people


def _good(face: Face) -> bool:
    return face.status == "ok" or face.reason == "not_the_person"


def planted(
    people: dict[str, npt.NDArray[np.float32]], share: float, min_similarity: float, seed: int = 0
) -> tuple[int, int, int]:
    """Move a share of photos to other people and look which ones the identity check turns down.

    Returns:
        (moved and turned down, moved, turned down)
    """
    rng = np.random.default_rng(seed)
    names = sorted(people)
    stay: dict[str, list[tuple[npt.NDArray[np.float32], bool]]] = {name: [] for name in names}
    for name in names:
        for vector in people[name]:
            goes = rng.random() < share
            home = (
                names[(names.index(name) + int(rng.integers(1, len(names)))) % len(names)] if goes else name
            )
            stay[home].append((vector, goes))
    hit = moved = down = 0
    for rows in stay.values():
        if not rows:
            continue
        _, belongs = check_identity(np.array([vector for vector, _ in rows]), min_similarity)
        strangers = np.array([goes for _, goes in rows])
        hit += int((strangers & ~belongs).sum())
        moved += int(strangers.sum())
        down += int((~belongs).sum())
    return hit, moved, down


def _report(found: Survey) -> Iterator[str]:
    total = max(found.photos, 1)
    none = found.outcomes["no_face"]
    yield f"{found.photos} photos of {len(found.faces)} people"
    yield f"face found     {1 - none / total:7.1%}"
    yield f"accepted       {found.outcomes['ok'] / total:7.1%}"
    for reason, count in found.outcomes.most_common():
        if reason != "ok":
            yield f"  {reason:<16}{count:6}  {count / total:6.1%}"
    yield "CPU ms a photo " + "  ".join(f"{k} {1000 * v / total:.2f}" for k, v in found.seconds.items())
    faces = [face for group in found.faces.values() for face in group]
    yield "percentiles    " + "".join(f"{p:>8}" for p in _PERCENTILES)
    for name in ("score", "sharpness", "brightness", "yaw", "pitch", "roll", "similarity"):
        values = [v for face in faces if (v := getattr(face, name)) is not None]
        if values:
            yield f"  {name:<13}" + "".join(f"{v:8.2f}" for v in np.percentile(values, _PERCENTILES))
    yield from _pose_report([face for face in faces if face.yaw is not None])
    outside = [face.attributes.get("outside", 0.0) for face in faces]
    if outside:
        yield "  outside      " + "".join(f"{v:8.2f}" for v in np.percentile(outside, _PERCENTILES))


def _pose_report(faces: list[Face]) -> Iterator[str]:
    """How far pose from landmarks alone is from what the pose estimator said."""
    if not faces:
        return
    blank = np.zeros((1, 1, 3), np.uint8)
    cheap = np.array([LandmarkPose().estimate(blank, np.array(face.landmarks))[:2] for face in faces])
    apart = np.abs(cheap - [[face.yaw, face.pitch] for face in faces]).mean(axis=0)
    yield f"  pose from landmarks alone: {apart[0]:.1f} off in yaw, {apart[1]:.1f} in pitch (mean, degrees)"


def _identity_report(people: dict[str, npt.NDArray[np.float32]]) -> Iterator[str]:
    vectors = np.concatenate(list(people.values()))
    owner = np.repeat(np.arange(len(people)), [len(rows) for rows in people.values()])
    cosines = vectors @ vectors.T
    upper = np.triu(np.ones_like(cosines, bool), 1)
    same = owner[:, None] == owner[None]
    yield f"verification AUC {verification_auc(vectors, owner):.4f}"
    yield "cosine of two photos"
    yield from _histogram(cosines[same & upper], cosines[~same & upper])
    alone = np.concatenate([check_identity(rows, -1.0)[0] for rows in people.values()])
    centres = np.stack([rows.sum(axis=0) / np.linalg.norm(rows.sum(axis=0)) for rows in people.values()])
    others = (vectors @ centres.T)[owner[:, None] != np.arange(len(people))[None]]
    yield "cosine of a photo to the centroid of the person's other photos"
    yield from _histogram(alone, others)


def _histogram(genuine: npt.NDArray[Any], impostor: npt.NDArray[Any]) -> Iterator[str]:
    yield f"  same person {len(genuine)}, other people {len(impostor)}"
    for low in np.arange(-0.2, 1.0, 0.1):
        inside = [float(((v >= low) & (v < low + 0.1)).mean()) for v in (genuine, impostor)]
        bars = ["#" * round(40 * share) for share in inside]
        yield f"  {low:5.1f}  same {inside[0]:6.1%} {bars[0]:<24} other {inside[1]:6.1%} {bars[1]}"
    yield "  threshold: same person lost / other people let in"
    for limit in (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5):
        yield f"  {limit:.2f}: {(genuine < limit).mean():7.2%} / {(impostor >= limit).mean():7.2%}"


def _planted_report(people: dict[str, npt.NDArray[np.float32]]) -> Iterator[str]:
    yield "planted mislabelled photos: caught of those planted / right of those turned down, 5 draws"
    for share in (0.02, 0.1, 0.2):
        for limit in (0.25, 0.3, 0.35, 0.4):
            runs = np.array([planted(people, share, limit, seed) for seed in range(5)]).sum(axis=0)
            hit, moved, down = (int(v) for v in runs)
            yield (
                f"  {share:4.0%} moved, min_similarity {limit:.2f}: recall {hit / max(moved, 1):6.1%}"
                f"  precision {hit / max(down, 1):6.1%}  ({hit} of {moved}, {down} turned down)"
            )


def _sheet(examples: list[AlignedFace], path: Path) -> None:
    import cv2

    tiles = []
    for item in examples:
        tile = cv2.resize(item.pixels, (192, 192), interpolation=cv2.INTER_AREA)
        scale = 192 / item.pixels.shape[0]
        for x, y in item.face.landmarks:
            cv2.circle(tile, (round(x * scale), round(y * scale)), 1, (0, 255, 0), -1)
        label = (
            item.face.reason
            or f"{item.face.sharpness:.1f} {item.face.yaw or 0:.0f} {item.face.pitch or 0:.0f}"
        )
        cv2.putText(tile, label, (4, 186), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros((192, 192, 3), np.uint8)] * (-len(tiles) % 10)
    rows = [np.hstack(tiles[i : i + 10]) for i in range(0, len(tiles), 10)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


@click.command()
@click.argument("folder")
@click.option("--set", "overrides", multiple=True, help="Pipeline key=value, e.g. detector=lbp.")
@click.option("--limit", default=0, help="Look at so many people; 0: all.")
@click.option("--copies", default=0, help="Also copy photos of so many people and compare.")
@click.option("--reference", help="Also compare the detector with this one, e.g. yunet.")
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Write a contact sheet (PNG).")
def main(
    folder: str,
    overrides: tuple[str, ...],
    limit: int,
    copies: int,
    reference: str | None,
    sheet: Path | None,
) -> None:
    """Measure the face stage on FOLDER."""
    import cv2

    cv2.setNumThreads(1)  # as in a worker: times are those of one core
    config = load_config(None, list(overrides))
    found = survey(folder, config, limit, keep=60 if sheet else 0)
    click.echo("\n".join(_report(found)))
    people = embeddings_by_person(found)
    if len(people) >= 2:
        click.echo("\n".join([*_identity_report(people), *_planted_report(people)]))
    if copies:
        click.echo("\n".join(copies_report(open_corpus(folder, config), config, copies)))
    if reference:
        click.echo("\n".join(agreement_report(open_corpus(folder, config), config, reference, limit)))
    if sheet is not None and found.examples:
        _sheet(found.examples, sheet)
        click.echo(f"contact sheet: {sheet}")


if __name__ == "__main__":
    main()
