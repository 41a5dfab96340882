"""Training data of the bundled networks: photos, the same photos edited, and the truth of both.

    OUTPUT/people/p0000007.npz   one person: pictures (JPEG), part labels (PNG), landmarks, attributes
    OUTPUT/pairs.json            the settings; a folder holds one set

An edited picture has the scene of its base photo, so that the two differ by the edit alone. One person is
one task and one file, written at once: a stopped run goes on where it was. `training.pairs` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fstriplets.config import RuntimeConfig
from fstriplets.errors import OutputError
from fstriplets.runtime import Task, open_engine

if TYPE_CHECKING:
    from fstriplets.synth.body import Body
    from fstriplets.synth.person import Person
    from fstriplets.synth.render import Photo
    from fstriplets.synth.scene import Scene
    from fstriplets.synth.studio import Studio

__all__ = ["PAIR_ATTRIBUTES", "PAIR_EDITS", "PairPlan", "write_pairs"]

#: Edits of the set and how often each is drawn.
PAIR_EDITS: dict[str, float] = {
    "aging": 1.4,
    "chubbiness": 1.2,
    "beard": 0.8,
    "glasses": 1.4,
    "sunglasses": 0.8,
    "grin": 1.6,
    "hair_colour": 1.2,
    "hair_fringe": 0.7,
    "hair_bald": 0.7,
    "hair_cut": 0.4,
}
#: Share of edits at full strength; the others are uniform above LEAST_STRENGTH.
FULL, LEAST_STRENGTH = 0.3, 0.2

#: Columns of `attributes`, in order; units in docs/training.md.
PAIR_ATTRIBUTES = (
    "age", "beard", "moustache", "chubbiness", "skin_tone", "grey_hair", "bald", "glasses", "sunglasses",
    "smile", "mouth_open", "hair_r", "hair_g", "hair_b", "hair_length", "fringe", "hair_loss", "hair_cut",
    "frame_style", "frame_r", "frame_g", "frame_b",
)  # fmt: skip


@dataclass(frozen=True)
class PairPlan:
    """What to draw.

    Attributes:
        output: folder; people: how many; photos: unedited photos of each; edits: edited pictures of each.
        size: pixels; seed: of the set; max_yaw: degrees.
    """

    output: str
    people: int
    photos: int = 4
    edits: int = 5
    size: int = 256
    seed: int = 77
    max_yaw: float = 60.0

    def identity_seed(self, index: int) -> int:
        """The seed of the index-th person."""
        return self.seed * 1_000_003 + index

    def fingerprint(self) -> str:
        """Names everything that shapes a person's file."""
        from fstriplets.synth import RENDERER

        shaped = {k: v for k, v in asdict(self).items() if k not in ("output", "people")}
        text = json.dumps([RENDERER, 1, shaped, PAIR_EDITS], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_pairs(
    plan: PairPlan,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws the set and returns its folder. Finished people are kept: call again to resume or extend.

    Args:
        workers: processes; 0 draws in this one; None: one a core. scheduler: a running Dask scheduler.
        progress: called with (people done, people in all).

    Raises:
        UserError: no face model; OutputError: the folder holds another set or cannot be written.
    """
    from fstriplets.synth.facemodel import load_face_model

    load_face_model()
    root = Path(plan.output)
    _claim(root, plan)
    missing = [i for i in range(plan.people) if not _path(root, i).is_file()]
    done = plan.people - len(missing)
    if progress:
        progress(done, plan.people)
    if missing:
        with open_engine(RuntimeConfig(workers=workers, scheduler=scheduler), None) as engine:
            for outcome in engine.map(_draw_person, _tasks(plan, missing)):
                if outcome.error is not None:
                    raise outcome.error
                done += 1
                if progress:
                    progress(done, plan.people)
    return root


def _tasks(plan: PairPlan, indices: list[int]) -> Iterator[Task]:
    key = plan.fingerprint()
    for index in indices:
        yield Task(key=f"pairs-{key}-{index}", payload=(plan, index))


def _claim(root: Path, plan: PairPlan) -> None:
    mark = root / "pairs.json"
    stated = {k: v for k, v in asdict(plan).items() if k not in ("output", "people")}
    stated["fingerprint"] = plan.fingerprint()
    try:
        (root / "people").mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            mark.write_text(json.dumps(stated, indent=1, sort_keys=True))
        elif json.loads(mark.read_text()) != stated:
            raise OutputError(
                f"{root} holds pairs drawn with other settings ({mark}): choose another --output"
            )
    except OSError as error:
        raise OutputError(f"cannot write {root}: {error}") from error


def _path(root: Path, index: int) -> Path:
    return root / "people" / f"p{index:07d}.npz"


@lru_cache(maxsize=1)
def _studio() -> Studio:
    from fstriplets.synth.studio import Studio

    return Studio(keep=2)


def _draw_person(payload: tuple[PairPlan, int]) -> int:
    """Draws one person's pictures and writes their file."""
    from fstriplets.synth.edits import apply_edit
    from fstriplets.synth.render import eyewear_of

    plan, index = payload
    studio = _studio()
    seed = plan.identity_seed(index)
    rng = np.random.default_rng([seed, 61])
    person = studio.person(seed)
    pictures = _Pictures()
    scenes = [studio.scene(seed * 1009 + k, plan.max_yaw) for k in range(plan.photos)]
    for k, scene in enumerate(scenes):
        _draw(studio, pictures, person, scene, plan.size, base=k)
    names = list(PAIR_EDITS)
    odds = np.array([PAIR_EDITS[name] for name in names])
    chosen = rng.choice(len(names), plan.edits, replace=plan.edits > len(names), p=odds / odds.sum())
    worn = [eyewear_of(studio.body(person), scene) >= 0 for scene in scenes]
    for i in chosen:
        edit, k = _fitting(names[i], person, worn, rng)
        strength = 1.0 if rng.random() < FULL else float(rng.uniform(LEAST_STRENGTH, 1))
        edited = apply_edit(person, scenes[k], studio.mesh, edit, strength, int(rng.integers(2**31)))
        _draw(studio, pictures, *edited, plan.size, base=k, edit=edit, strength=strength, like=person)
    pictures.write(_path(Path(plan.output), index))
    return len(pictures.base)


def _fitting(edit: str, person: Person, worn: list[bool], rng: np.random.Generator) -> tuple[str, int]:
    """The edit and the photo it goes on: no glasses over glasses, no haircut for the bald."""
    free = [k for k, has in enumerate(worn) if not has]
    if edit in ("glasses", "sunglasses"):
        return (edit, int(rng.choice(free))) if free else ("grin", int(rng.integers(len(worn))))
    if edit.startswith("hair_") and (person.hair.name == "bald" or person.hair.loss > 0.5):
        edit = "aging"
    return edit, int(rng.integers(len(worn)))


def _draw(
    studio: Studio,
    pictures: _Pictures,
    person: Person,
    scene: Scene,
    size: int,
    *,
    base: int,
    edit: str = "",
    strength: float = 0.0,
    like: Person | None = None,
) -> None:
    """Adds one picture; `like` is the person before an edit, whose parts are reused."""
    from fstriplets.synth.render import render_photo

    body = studio.body(person, like if like is not person else None)
    photo = render_photo(body, scene, studio.mesh, size)
    pictures.add(photo, _attributes(studio, body, scene), base, edit, strength)


def _attributes(studio: Studio, body: Body, scene: Scene) -> dict[str, float]:
    """What the truth of a photo does not say: hair and frames."""
    from fstriplets.synth.render import eyewear_of
    from fstriplets.synth.wear import fit_glasses

    person = body.person
    style = eyewear_of(body, scene)
    frame = np.zeros(3)
    if style >= 0:
        frame = fit_glasses(studio.mesh, body.vertices, style, person.glasses_seed, scene.tint).colour
    hair = person.hair_colour * (1 - person.grey) + 0.25 * person.grey
    return {
        "hair_r": float(hair[0]),
        "hair_g": float(hair[1]),
        "hair_b": float(hair[2]),
        "hair_length": person.hair.length,
        "fringe": person.hair.fringe,
        "hair_loss": max(person.hair.loss, float(person.hair.name == "bald")),
        "hair_cut": person.hair.cut,
        "frame_style": float(style),
        "frame_r": float(frame[0]),
        "frame_g": float(frame[1]),
        "frame_b": float(frame[2]),
    }


class _Pictures:
    """The pictures of one person, as they go to disk."""

    def __init__(self) -> None:
        self.jpeg: list[bytes] = []
        self.png: list[bytes] = []
        self.base: list[int] = []
        self.edit: list[str] = []
        self.strength: list[float] = []
        self.landmarks: list[np.ndarray] = []
        self.pose: list[tuple[float, float, float]] = []
        self.box: list[tuple[float, float, float, float]] = []
        self.attributes: list[list[float]] = []

    def add(self, photo: Photo, more: dict[str, float], base: int, edit: str, strength: float) -> None:
        """One picture; `base` is the number of the unedited photo."""
        import cv2

        from fstriplets.synth.camera import to_jpeg

        self.jpeg.append(to_jpeg(photo.pixels, 95))
        done, png = cv2.imencode(".png", photo.truth.labels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        if not done:
            raise RuntimeError("PNG encoding failed")
        self.png.append(png.tobytes())
        self.base.append(base)
        self.edit.append(edit)
        self.strength.append(strength)
        self.landmarks.append(photo.truth.landmarks68)
        self.pose.append(photo.truth.pose)
        self.box.append(photo.truth.box)
        known = {**photo.truth.attributes, **more}
        self.attributes.append([known[name] for name in PAIR_ATTRIBUTES])

    def write(self, path: Path) -> None:
        """Atomically."""
        arrays: dict[str, Any] = {
            "jpeg": np.frombuffer(b"".join(self.jpeg), np.uint8),
            "jpeg_ends": np.cumsum([len(j) for j in self.jpeg]),
            "png": np.frombuffer(b"".join(self.png), np.uint8),
            "png_ends": np.cumsum([len(p) for p in self.png]),
            "base": np.array(self.base, np.int64),
            "edit": np.array(self.edit, "U16"),
            "strength": np.array(self.strength, np.float32),
            "landmarks": np.array(self.landmarks, np.float32),
            "pose": np.array(self.pose, np.float32),
            "box": np.array(self.box, np.float32),
            "attributes": np.array(self.attributes, np.float32),
            "names": np.array(PAIR_ATTRIBUTES),
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(buffer.getvalue())
        os.replace(temporary, path)
