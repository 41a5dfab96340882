"""How real synthetic people are: `python -m fstriplets.synth.evaluate [--real FOLDER …] [--people N]`.

Draws people, runs the real face stage over them as `fstriplets build` would (detector, 468-point
landmarks, pose network, recogniser) and over folders of real photos, and prints tables:

- pictures: colour, contrast, sharpness and edges of aligned crops, synthetic beside real;
- identities: cosines within and between people, synthetic beside real;
- privacy: how near synthetic people are to real ones, against how near real people are to each other, in the
  recogniser and in the skin itself;
- truth: share of photos the detector finds, landmark error against the truth, pose error against the truth.

Needs the weights yunet, mediapipe_face_mesh, fsanet_1x1, fsanet_var and mobilefacenet_foamliu
installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.corpus.base import DecodedPhoto
from fstriplets.errors import PhotoRejected
from fstriplets.faces.align import invert, transform_points
from fstriplets.faces.stage import FaceStage
from fstriplets.records import AlignedFace, Photo

__all__ = ["Survey", "main", "picture_statistics", "survey_folder", "survey_synthetic"]

FloatArray = npt.NDArray[np.floating[Any]]

_CROP = 256
_STAGE = {
    "detector": "yunet",
    "landmarker": "mediapipe",
    "pose_estimator": "fsanet",
    "embedder": "mobilefacenet_foamliu",
    "image_size": _CROP,
    # No gates but the detector's own: what counts is whether faces are found, not whether they are good.
    # `min_face` stays: it tells yunet at which scale to look, and 1 makes it doubt large faces.
    "quality": {
        "min_sharpness": 0.0,
        "brightness": (0.0, 255.0),
        "max_outside": 1.0,
        "max_yaw": 180.0,
        "max_pitch": 180.0,
    },
}
#: Landmarks compared with the truth: MediaPipe has no jaw line of its own.
_INNER = np.arange(17, 68)


@dataclass
class Survey:
    """What the face stage saw of a set of people."""

    name: str
    photos: int = 0
    missed: int = 0
    people: list[int] = field(default_factory=list)  #: number of the person, one a found photo
    embeddings: list[FloatArray] = field(default_factory=list)
    pictures: list[dict[str, float]] = field(default_factory=list)
    crops: list[npt.NDArray[np.uint8]] = field(default_factory=list)  #: one a person, for the skin comparison
    landmark_error: list[float] = field(default_factory=list)  #: share of the interocular distance
    landmark_bias: list[FloatArray] = field(default_factory=list)  #: [51, 2] of each photo, the same unit
    pose_error: list[FloatArray] = field(default_factory=list)  #: degrees (yaw, pitch, roll)
    turned: list[float] = field(default_factory=list)  #: degrees the head is turned by, to either side

    def add(self, person: int, face: AlignedFace) -> None:
        """Count one found face."""
        if face.face.embedding is None:
            raise ValueError("the face stage made no embedding")
        if person not in self.people:
            self.crops.append(face.pixels)
        self.people.append(person)
        self.embeddings.append(np.asarray(face.face.embedding, np.float64))
        self.pictures.append(picture_statistics(face.pixels))

    def cosines(self) -> tuple[FloatArray, FloatArray]:
        """Cosines of pairs of photos: of one person, and of two."""
        vectors, who = np.stack(self.embeddings), np.array(self.people)
        pairs = np.triu_indices(len(who), 1)
        cosine = (vectors @ vectors.T)[pairs]
        same = (who[:, None] == who[None])[pairs]
        return cosine[same], cosine[~same]

    def first_embeddings(self) -> FloatArray:
        """Mean embedding of each person, normalised, [N, D]."""
        vectors, who = np.stack(self.embeddings), np.array(self.people)
        means = np.stack([vectors[who == person].mean(0) for person in dict.fromkeys(self.people)])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def picture_statistics(crop: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Colour, contrast, sharpness and edges of an aligned crop's middle, uint8 [S, S, 3] RGB.

    Sharpness is the log10 of the Laplacian's variance, edges the share of Canny edge pixels, fine the
    deviation of what a blur of 1 % of the width removes (grey levels); skin is the cheeks' mean.
    """
    size = crop.shape[0]
    face = crop[int(0.22 * size) : int(0.86 * size), int(0.22 * size) : int(0.78 * size)]
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    lab = cv2.cvtColor(face.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.01 * size)
    return {
        "lightness": float(lab[..., 0].mean()),
        "a (red)": float(lab[..., 1].mean()),
        "b (yellow)": float(lab[..., 2].mean()),
        "contrast": float(grey.std()),
        "saturation": float(np.hypot(lab[..., 1], lab[..., 2]).mean()),
        "sharpness": float(np.log10(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F).var() + 1)),
        "edges %": float(100 * (cv2.Canny(grey, 60, 140) > 0).mean()),
        "fine": float((grey - smooth).std()),
    }


def survey_folder(stage: FaceStage, folder: Path, photos: int, limit: int) -> Survey:
    """The face stage over real photos, one folder a person, the first `photos` of each."""
    found = Survey(folder.name)
    people = sorted(path for path in folder.iterdir() if path.is_dir())[:limit]
    for number, person in enumerate(people):
        for path in sorted(person.glob("*.jpg"))[:photos]:
            pixels = cv2.imread(str(path))
            if pixels is not None:
                _look(stage, found, number, np.ascontiguousarray(pixels[..., ::-1]))
    return found


def survey_synthetic(
    stage: FaceStage, seeds: Iterable[int], photos: int, size: int, max_yaw: float, face_model: Path | None
) -> Survey:
    """The face stage over people of these identity seeds, against their truth."""
    from fstriplets.synth.studio import Studio

    found, studio = Survey("synthetic"), Studio(face_model, keep=1)
    for number, seed in enumerate(seeds):
        person = studio.person(seed)
        for k in range(photos):
            photo = studio.photo(person, studio.scene(seed * 1009 + k, max_yaw), size)
            face = _look(stage, found, number, photo.pixels)
            if face is not None:
                _compare(found, face, photo.truth.landmarks68, photo.truth.pose)
    return found


def _look(stage: FaceStage, found: Survey, person: int, pixels: npt.NDArray[np.uint8]) -> AlignedFace | None:
    found.photos += 1
    name = f"{found.name}-{person}-{found.photos}"
    try:
        faces = stage.candidates(Photo(name, str(person), name), DecodedPhoto(pixels, "png"))
    except PhotoRejected:
        found.missed += 1
        return None
    if faces[0].face.embedding is None:  # found, but too uncertain to be described
        found.missed += 1
        return None
    found.add(person, faces[0])
    return faces[0]


def _compare(found: Survey, face: AlignedFace, landmarks: FloatArray, pose: Sequence[float]) -> None:
    """Errors of the landmark and pose networks against a photo's truth."""
    matrix = np.asarray(face.face.transform, np.float64).reshape(2, 3)
    seen = transform_points(face.face.landmarks, invert(matrix))
    eyes = float(np.linalg.norm(landmarks[36] - landmarks[45]))
    offset = (seen - landmarks)[_INNER] / eyes
    found.landmark_error.append(float(np.linalg.norm(offset, axis=1).mean()))
    found.landmark_bias.append(offset)
    found.turned.append(abs(float(pose[0])))
    if face.face.yaw is not None and face.face.pitch is not None and face.face.roll is not None:
        tilt = float(
            np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        )  # the crop is levelled, the truth is not
        read = np.array([face.face.yaw, face.face.pitch, face.face.roll - tilt])
        found.pose_error.append(read - np.asarray(pose))


def picture_table(surveys: Sequence[Survey]) -> Iterator[str]:
    """Mean and spread of each picture statistic, one row a statistic, one column a survey."""
    yield "pictures      " + "".join(f"{s.name:>20}" for s in surveys)
    for key in surveys[0].pictures[0]:
        cells = []
        for survey in surveys:
            values = np.array([picture[key] for picture in survey.pictures])
            cells.append(f"{values.mean():11.2f} ± {values.std():5.2f} ")
        yield f"{key:14}" + "".join(f"{cell:>20}" for cell in cells)


def identity_table(surveys: Sequence[Survey]) -> Iterator[str]:
    """Cosines of the recogniser."""
    yield "identities        people  photos  found %  same mean  same p5  others mean  others p95  others max"
    for survey in surveys:
        same, other = survey.cosines()
        share = 100 * (1 - survey.missed / survey.photos)
        mean, low = (same.mean(), np.percentile(same, 5)) if len(same) else (np.nan, np.nan)
        yield (
            f"{survey.name:16}{len(set(survey.people)):8}{survey.photos:8}{share:9.1f}{mean:11.3f}{low:9.3f}"
            f"{other.mean():13.3f}{np.percentile(other, 95):12.3f}{other.max():12.3f}"
        )


def privacy_table(synthetic: Survey, real: Survey) -> Iterator[str]:
    """Nearest real person of each synthetic person, and of each real person the nearest other one."""
    yield f"privacy: nearest person of {real.name:10}    real people   synthetic people"
    near_real, near_made = (
        _nearest(real.first_embeddings()),
        _nearest(real.first_embeddings(), synthetic.first_embeddings()),
    )
    yield f"cosine, mean                         {near_real.mean():11.3f}{near_made.mean():19.3f}"
    yield f"cosine, largest                      {near_real.max():11.3f}{near_made.max():19.3f}"
    skin_real, skin_made = _skin_vectors(real.crops), _skin_vectors(synthetic.crops)
    apart_real, apart_made = _apart(skin_real), _apart(skin_real, skin_made)
    yield f"skin distance, mean (grey levels)    {apart_real.mean():11.2f}{apart_made.mean():19.2f}"
    yield f"skin distance, smallest              {apart_real.min():11.2f}{apart_made.min():19.2f}"


def truth_table(survey: Survey) -> Iterator[str]:
    """The networks against the truth, for heads turned little and far.

    The constant part of the landmark error is where two mark-ups put the same point; the rest is error.
    """
    turned = np.array(survey.turned)
    yield "truth          photos  landmarks %  of it constant %  rest %    yaw  pitch   roll (degrees)"
    for name, chosen in (("all", turned >= 0), ("yaw under 20", turned < 20), ("yaw 20 to 60", turned >= 20)):
        if not chosen.any():
            continue
        offsets = np.stack(survey.landmark_bias)[chosen]
        constant = offsets.mean(0)
        rest = float(np.linalg.norm(offsets - constant, axis=2).mean())
        pose = np.abs(np.stack(survey.pose_error)[chosen]).mean(0)
        yield (
            f"{name:14}{int(chosen.sum()):7}{100 * np.mean(np.array(survey.landmark_error)[chosen]):13.2f}"
            f"{100 * float(np.linalg.norm(constant, axis=1).mean()):18.2f}{100 * rest:8.2f}"
            f"{pose[0]:7.1f}{pose[1]:7.1f}{pose[2]:7.1f}"
        )


def _nearest(real: FloatArray, others: FloatArray | None = None) -> FloatArray:
    """Largest cosine to a real person, of every other (real ones: themselves left out)."""
    cosine = (real if others is None else others) @ real.T
    if others is None:
        np.fill_diagonal(cosine, -1)
    return np.asarray(cosine.max(1))


def _skin_vectors(crops: Sequence[npt.NDArray[np.uint8]]) -> FloatArray:
    """The face's inner part at 64 px, light levelled: mean and contrast of each channel are everybody's."""
    rows = []
    for crop in crops:
        size = crop.shape[0]
        face = crop[int(0.28 * size) : int(0.80 * size), int(0.26 * size) : int(0.74 * size)]
        small = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        small = small - cv2.GaussianBlur(small, (0, 0), 16)
        rows.append(small.ravel())
    return np.stack(rows)


def _apart(real: FloatArray, others: FloatArray | None = None) -> FloatArray:
    """Root mean square distance to the nearest real person."""
    rows = real if others is None else others
    squared = (rows**2).sum(1)[:, None] + (real**2).sum(1)[None] - 2 * rows @ real.T
    if others is None:
        np.fill_diagonal(squared, np.inf)
    return np.asarray(np.sqrt(np.maximum(squared.min(1), 0) / real.shape[1]))


@click.command(help=__doc__)
@click.option(
    "--people", type=click.IntRange(min=2), default=300, show_default=True, help="Synthetic people to draw."
)
@click.option("--photos", type=click.IntRange(min=1), default=2, show_default=True, help="Photos of each.")
@click.option(
    "--first-seed",
    type=click.IntRange(min=0),
    default=5000,
    show_default=True,
    help="Identity seed of the first.",
)
@click.option(
    "--size",
    type=click.IntRange(96, 1024),
    default=224,
    show_default=True,
    metavar="PX",
    help="Side of the photos.",
)
@click.option(
    "--max-yaw",
    type=click.FloatRange(0, 60),
    default=40.0,
    show_default=True,
    metavar="DEGREES",
    help="How far heads turn.",
)
@click.option(
    "--real",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Folder of real people; may repeat. Privacy is measured against the first.",
)
@click.option(
    "--face-model", type=click.Path(path_type=Path, exists=True), help="The imported face model's .npz."
)
def main(
    people: int,
    photos: int,
    first_seed: int,
    size: int,
    max_yaw: float,
    real: tuple[Path, ...],
    face_model: Path | None,
) -> None:
    """See the module's text."""
    stage = FaceStage(PipelineConfig(**_STAGE))
    synthetic = survey_synthetic(
        stage, range(first_seed, first_seed + people), photos, size, max_yaw, face_model
    )
    folders = [survey_folder(stage, folder, photos, people) for folder in real]
    tables = [picture_table([synthetic, *folders]), identity_table([synthetic, *folders])]
    if folders:
        tables.append(privacy_table(synthetic, folders[0]))
    for table in [*tables, truth_table(synthetic)]:
        click.echo("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
