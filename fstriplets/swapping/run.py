"""From a source and a photo, folder or video to files: what `fstriplets swap` does.

The source's id_embedding is computed once. A photo in which no face is found is no error: it is an item with
a reason in the report, and nothing is written for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fstriplets.corpus.folder import PHOTO_SUFFIXES
from fstriplets.errors import ConfigError, FstripletsError, OutputError, PhotoRejected, UserError
from fstriplets.swapping.mark import MARKED
from fstriplets.swapping.model import Embeddings, Model, load_model
from fstriplets.swapping.picture import WRITTEN, Picture, load_picture, save_picture
from fstriplets.swapping.provenance import Signer
from fstriplets.swapping.swapper import Choice, Swapper
from fstriplets.swapping.video import VIDEO_SUFFIXES, Film, swap_video

__all__ = ["Progress", "SwapItem", "SwapReport", "swap"]

_PHOTOS = PHOTO_SUFFIXES | {".heic", ".heif", ".avif"}


@dataclass(frozen=True)
class SwapItem:
    """What became of one photo or video."""

    target: Path
    output: Path | None = None  #: None: nothing was written
    status: str = "swapped"  #: or `rejected`, `failed`
    reason: str = ""  #: snake_case code, e.g. `no_face`
    message: str = ""
    faces: int = 0  #: swapped, over all frames
    frames: int = 0  #: of a video
    frames_swapped: int = 0


@dataclass(frozen=True)
class SwapReport:
    """What a run of `swap` did."""

    items: tuple[SwapItem, ...]
    seconds: float
    marked: bool  #: the files say that they are synthetic
    model: str
    tools: str
    notes: tuple[str, ...] = ()

    @property
    def swapped(self) -> list[SwapItem]:
        """Items that were written."""
        return [item for item in self.items if item.status == "swapped"]

    def exit_code(self, strict: bool = False) -> int:
        """0 if at least one item was swapped (strict: all of them), else 1."""
        done = len(self.swapped)
        return 0 if done == len(self.items) or (done and not strict) else 1


@dataclass(frozen=True)
class Progress:
    """How far a run is: photos of a folder, or frames of a video."""

    done: int
    total: int  #: 0: unknown
    what: str  #: `photos` or `frames`
    target: Path
    seconds: float


@dataclass(frozen=True)
class _Job:
    """Everything that holds for all targets of a run."""

    swapper: Swapper
    embedding: Embeddings
    choice: Choice
    quality: int
    mark: bool
    signer: Signer | None
    audio: bool
    report: Callable[[Progress], None] | None
    started: float = field(default_factory=time.monotonic)


def swap(
    source: str | Path,
    target: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    embedder: str | Path | None = None,
    model: Model | None = None,
    faces: str | int = "largest",
    like: str | Path | None = None,
    like_min: float = Choice.like_min,
    detector: str = "auto",
    landmarker: str = "auto",
    parser: str = "auto",
    colour_match: bool = True,
    identity_strength: float = 1.0,
    quality: int = 95,
    mark: bool = True,
    c2pa: str | None = None,
    audio: bool = True,
    overwrite: bool = False,
    device: str = "auto",
    runtime: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> SwapReport:
    """Put the face of one person on a photo, every photo of a folder, or a video.

    Args:
        source: photo of the person who gives the identity; its largest face is taken.
        target: photo, folder or video.
        output: file for a photo or video, folder for a folder.
        weights, embedder: see model.load_model. model: a loaded one instead.
        faces: which faces of a target: `largest`, `all`, or how many of the largest.
        like: photo of the person in the target who is meant; overrides `faces`.
        like_min: cosine below which nobody is that person.
        detector, landmarker, parser: backends, by name.
        colour_match: bring the swapped face's colours to the target's.
        identity_strength: 0 the target's identity, 1 the source's, up to 2 beyond; see model.swap_faces.
        quality: of JPEG and WebP, 1..100.
        mark: say in the files that they are synthetic.
        c2pa: `CERTIFICATE,KEY`: sign that as well.
        audio: keep a video's.
        overwrite: replace files that exist; never the source or the target.
        device: where the networks of the swap run. runtime: what runs them; see model.load_model.
        progress: called after every photo, and every frame of a video.

    Raises:
        UserError: input that cannot be used, with the way out.
    """
    started = time.monotonic()
    source, target, output = Path(source), Path(target), Path(output)
    choice = replace(Choice.parse(faces), like_min=like_min)
    signer = Signer.parse(c2pa) if c2pa else None
    plan = _plan(source, target, output, overwrite)
    if mark or signer:
        _check_markable(plan)
    model = model or load_model(weights, embedder, device, runtime)
    swapper = Swapper(
        model, detector=detector, landmarker=landmarker, parser=parser, colour=colour_match,
        strength=identity_strength,
    )  # fmt: skip
    embedding = _person(swapper, source, "--source")
    if like is not None:
        choice = replace(choice, like=_person(swapper, Path(like), "--like"))
    job = _Job(swapper, embedding, choice, quality, mark, signer, audio, progress)
    items = tuple(_run(job, plan))
    notes = tuple(_notes(mark, plan))
    return SwapReport(items, time.monotonic() - started, mark, model.name, swapper.tools, notes)


# what goes where


def _plan(source: Path, target: Path, output: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    """Targets and the files they become."""
    if not source.is_file():
        raise UserError(f"--source: no such file: {source}")
    if target.is_dir():
        plan = _folder_plan(source, target, output)
    elif target.is_file():
        plan = [(target, _file_for(target, output))]
        if os.path.samefile(source, target):
            raise UserError(f"--target is the same file as --source: {target}")
    else:
        raise UserError(f"--target: no such file or folder: {target}")
    for _, file in plan:
        if file.exists() and any(os.path.samefile(file, other) for other in (source, target)):
            raise OutputError(f"--output {file} would replace a picture that is read; choose another")
    existing = [file for _, file in plan if file.exists()]
    if existing and not overwrite:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise OutputError(f"{existing[0]}{others} exists already: --overwrite, or another --output")
    return plan


def _file_for(target: Path, output: Path) -> Path:
    """The file a single photo or video becomes."""
    if target.suffix.lower() not in _PHOTOS | VIDEO_SUFFIXES:
        kinds = ", ".join(sorted(_PHOTOS | VIDEO_SUFFIXES))
        raise UserError(f"--target {target}: is no photo or video by its name; known: {kinds}")
    if output.is_dir():
        return output / _name(target)
    known = VIDEO_SUFFIXES if target.suffix.lower() in VIDEO_SUFFIXES else WRITTEN.keys()
    if output.suffix.lower() not in known:
        raise UserError(
            f"--output {output}: name a file that ends in {', '.join(sorted(known))}, or a folder"
        )
    return output


def _name(target: Path) -> str:
    """The name of what a target becomes in a folder; `.png` is added to kinds that are not written."""
    kept = target.suffix.lower() in WRITTEN or target.suffix.lower() in VIDEO_SUFFIXES
    return target.name if kept else f"{target.name}.png"


def _folder_plan(source: Path, target: Path, output: Path) -> list[tuple[Path, Path]]:
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: --target is a folder, so this must be one too, not a file")
    if output.is_dir() and os.path.samefile(output, target):
        raise OutputError(f"--output is the folder of the targets: {output}; choose another")
    inside = output.resolve()
    found = sorted(
        path
        for path in target.rglob("*")
        if path.suffix.lower() in _PHOTOS | VIDEO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(target).parts)
        and path.is_file()
        and inside not in path.resolve().parents  # results of an earlier run
        and not os.path.samefile(path, source)
    )
    if not found:
        raise UserError(f"--target {target}: the folder holds no photos or videos")
    plan = [(path, output / path.relative_to(target).with_name(_name(path))) for path in found]
    names = [file for _, file in plan]
    if len(set(names)) < len(names):
        twice = next(file for file in names if names.count(file) > 1)
        raise UserError(f"--target {target}: two photos would both become {twice}; rename one")
    return plan


def _check_markable(plan: Sequence[tuple[Path, Path]]) -> None:
    for _, file in plan:
        if file.suffix.lower() not in MARKED | {".mkv", ".webm", ".avi"}:
            raise UserError(
                f"{file}: such files carry no mark; choose .jpg, .png, .webp or .mp4, or --no-mark"
            )


def _notes(mark: bool, plan: Sequence[tuple[Path, Path]]) -> Iterator[str]:
    if not mark:
        yield "the files do not say that they are synthetic (--no-mark): say so wherever you show them"
    changed = [file for target, file in plan if file.name == f"{target.name}.png"]
    if changed:
        yield f"{len(changed)} photos of kinds that are not written became PNG, e.g. {changed[0].name}"


# doing it


def _person(swapper: Swapper, path: Path, flag: str) -> Embeddings:
    """id_embedding of the person in a photo."""
    try:
        return swapper.embed(_read(path).seen, str(path))
    except PhotoRejected as error:
        raise UserError(
            f"{flag} {path}: {error.message} ({error.reason}); give a photo with a clear face of the person"
        ) from error
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror or error}") from error


def _read(path: Path) -> Picture:
    return load_picture(path.read_bytes())


def _run(job: _Job, plan: Sequence[tuple[Path, Path]]) -> Iterator[SwapItem]:
    for index, (target, file) in enumerate(plan):
        film = target.suffix.lower() in VIDEO_SUFFIXES
        try:
            yield _film(job, target, file) if film else _photo(job, target, file)
        except PhotoRejected as error:
            yield SwapItem(target, None, error.status, error.reason, error.message)
        except (UserError, OSError) as error:
            if len(plan) == 1 or isinstance(error, OutputError | ConfigError):
                raise _told(error, target) from error
            yield SwapItem(target, None, "failed", "unreadable", str(error))
        if job.report is not None and not (film and len(plan) == 1):
            job.report(Progress(index + 1, len(plan), "photos", target, time.monotonic() - job.started))


def _told(error: Exception, target: Path) -> FstripletsError:
    return error if isinstance(error, FstripletsError) else UserError(f"--target {target}: {error}")


def _photo(job: _Job, target: Path, file: Path) -> SwapItem:
    picture = _read(target)
    faces = job.swapper.choose(job.swapper.find(picture.seen, str(target)), job.choice)
    swapped = job.swapper.swap(picture, faces, job.embedding)
    save_picture(swapped, file, quality=job.quality, mark=job.mark)
    if job.signer is not None:
        job.signer.sign(file)
    return SwapItem(target, file, faces=len(faces))


def _film(job: _Job, target: Path, file: Path) -> SwapItem:
    def report(done: int, total: int) -> None:
        if job.report is not None:
            job.report(Progress(done, total, "frames", target, time.monotonic() - job.started))

    film = Film(job.swapper, job.embedding, job.choice)
    draft = file.with_name(f".{file.stem}.draft{file.suffix}")  # the suffix chooses the container
    try:
        frames = swap_video(target, draft, film, audio=job.audio, mark=job.mark, report=report)
        if not film.swapped:
            raise PhotoRejected(film.reason or "no_face", f"in none of {frames:,} frames: {film.message}")
        if job.signer is not None:
            job.signer.sign(draft)
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    return SwapItem(target, file, faces=film.faces, frames=frames, frames_swapped=film.swapped)
