"""What identity weights do to a face: `python -m fstriplets.synth.calibrate --photos LONDON --men FILE`.

Draws resting, frontal people of random shape, looks at them with a landmark network and a recogniser, and
looks at real people's photos with the same landmark network. To `data/likeness.npz`, a few kilobytes, go:

- real people's proportions as linear functions of the weights (`proportions.py`), so that `likeness.py` can
  draw people whose proportions come together as people's do;
- how proportions go with skin tone and sex, so that a face is of one piece;
- the direction in weights of what all drawn people have in common for the recogniser;
- measures that landmarks do not show, as linear functions of the weights (`measures.py`).

Photos lie in one folder a person, one of them `neutral.jpg`, as for `synth learn-skin`. Needs the weights
yunet, mediapipe_face_mesh and mobilefacenet_foamliu installed; takes about six minutes on one core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.corpus.base import DecodedPhoto
from fstriplets.errors import CorpusError, PhotoRejected
from fstriplets.faces.stage import FaceStage
from fstriplets.models.weights import require
from fstriplets.records import Photo
from fstriplets.synth.browshape import draw_brow_shape
from fstriplets.synth.likeness import IDENTITY_SIZE, LIKENESS_FILE, MODES
from fstriplets.synth.measures import measure_rows
from fstriplets.synth.mesh import Mesh
from fstriplets.synth.proportions import explain, real_proportions
from fstriplets.synth.scene import Scene, make_scene
from fstriplets.synth.skin.aggregate import normal_scores
from fstriplets.synth.skin.landmarks import PhotoLandmarks
from fstriplets.synth.studio import Studio

__all__ = ["Looks", "RealPeople", "belonging", "common_look", "draw_looks", "lip_gaps", "main", "real_people"]

FloatArray = npt.NDArray[np.floating[Any]]

_SIZE = 224
_FIRST_SEED = 200_000
_MODE_SPREAD, _TRAIT_SPREAD, _LIMIT = 1.2, 0.9, 3.0
_RIDGE = 150.0
#: Proportions whose noise is larger than this are followed all the same: it is the network's, not people's.
_MOST_NOISE = 0.5
#: Units by which the lips of a resting mouth stand apart, and how strictly that is kept.
_LIP_GAP, _LIP_NOISE = 0.05, 0.6
#: MediaPipe's points in the middle of the cheeks.
_CHEEKS = (50, 280)


class Looks(NamedTuple):
    """What the networks saw of drawn people."""

    weights: FloatArray  #: [N, I] identity weights
    brows: FloatArray  #: [N, 10] their brow shapes
    points: FloatArray  #: [N, 468, 2] pixels
    embeddings: FloatArray  #: [N, D] unit vectors


class RealPeople(NamedTuple):
    """What is measured of people of photos; lives in memory only."""

    names: list[str]  #: of their folders
    points: FloatArray  #: [N, 468, 2] pixels
    tones: FloatArray  #: [N] standard normal score of the skin's lightness among them, negative is dark


def draw_looks(count: int, face_model: Path | None = None, seed: int = 5) -> Looks:
    """Draw people of random shape and look at them."""
    studio, rng = Studio(face_model, keep=1), np.random.default_rng(seed)
    stage = FaceStage(PipelineConfig(detector="yunet", embedder="mobilefacenet_foamliu"))
    finder = _finder()
    rows: list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = []
    for k in range(count):
        free = np.concatenate(
            [rng.normal(0, _MODE_SPREAD, MODES), rng.normal(0, _TRAIT_SPREAD, IDENTITY_SIZE - MODES)]
        )
        weights = np.clip(free, -_LIMIT, _LIMIT).astype(np.float32)
        person = replace(
            studio.person(_FIRST_SEED + k), shape=weights, glasses=-1, age=30.0, beard=0.0, moustache=0.0
        )
        pixels = studio.photo(person, _passport(studio.mesh, k), _SIZE).pixels
        try:
            face = stage.candidates(Photo(str(k), str(k), str(k)), DecodedPhoto(pixels, "png"))[0].face
            points = finder(pixels)
        except PhotoRejected:
            continue
        if face.embedding is not None:
            brows = np.array(draw_brow_shape(person.seed))
            rows.append((weights, brows, points, np.array(face.embedding)))
    return Looks(*(np.stack(column) for column in zip(*rows, strict=True)))


def real_people(photos: Path) -> RealPeople:
    """Landmarks and skin tone of the neutral photo of each person of a folder.

    Raises:
        CorpusError: a file that is no photo, or nobody with a photo in which a face is found.
    """
    finder = _finder()
    names: list[str] = []
    points: list[FloatArray] = []
    light: list[float] = []
    for path in sorted(photos.glob("*/neutral.jpg")):
        image = cv2.imread(str(path))
        if image is None:
            raise CorpusError(f"{path} is not a photo")
        try:
            points.append(finder(np.ascontiguousarray(image[..., ::-1])))
        except PhotoRejected:
            continue
        names.append(path.parent.name)
        light.append(_cheek_light(image, points[-1]))
    if not names:
        raise CorpusError(f"{photos}: no faces; expected one folder a person, each with neutral.jpg")
    return RealPeople(names, np.stack(points), normal_scores(np.array(light)))


def _cheek_light(image: npt.NDArray[np.uint8], points: FloatArray) -> float:
    """Median grey level of two squares on the cheeks, a twelfth of the face's width each way."""
    reach = int(np.ptp(points[:, 0]) / 12)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    squares = [
        grey[y - reach : y + reach, x - reach : x + reach] for x, y in points[list(_CHEEKS)].astype(int)
    ]
    return float(np.median(np.concatenate([square.ravel() for square in squares])))


def belonging(proportions: FloatArray, tones: FloatArray, masculine: npt.NDArray[np.bool_]) -> FloatArray:
    """[R, 2] change of each proportion with one deviation of skin tone, and from the mean to men.

    Each is shrunk by how uncertain it is, to zero where it is not twice its error.

    Args:
        proportions: [N, R]; tones: [N] scores; masculine: [N].
    """
    factors = np.stack([tones, np.where(masculine, 1.0, -1.0), np.ones(len(tones))], 1)
    slopes, *_ = np.linalg.lstsq(factors, proportions, rcond=None)
    left = proportions - factors @ slopes
    variance = (left**2).sum(0) / (len(tones) - 3)
    error = np.diag(np.linalg.inv(factors.T @ factors))[:, None] * variance
    certain = np.maximum(0, 1 - 4 * error / np.maximum(slopes**2, 1e-12))
    return np.asarray((slopes * certain)[:2].T)


def common_look(weights: FloatArray, embeddings: FloatArray) -> FloatArray:
    """[I] change, by each weight, of an embedding's part along the mean embedding of all."""
    mean, scale = embeddings.mean(0), weights.std(0)
    part = embeddings @ mean / np.linalg.norm(mean)
    table = (weights - weights.mean(0)) / scale
    slope = np.linalg.solve(table.T @ table + _RIDGE * np.eye(table.shape[1]), table.T @ (part - part.mean()))
    return np.asarray(slope / scale)


def _masculine(men: Path, names: list[str]) -> npt.NDArray[np.bool_]:
    """[N] whose folder the file names.

    Raises:
        CorpusError: a line that names no folder in which a face was found.
    """
    listed = set(men.read_text(encoding="utf-8").split())
    unknown = sorted(listed - set(names))
    if unknown:
        raise CorpusError(f"{men}: no folder with a face in its neutral.jpg: {', '.join(unknown)}")
    return np.array([name in listed for name in names])


def lip_gaps(mesh: Mesh) -> FloatArray:
    """[3, I] how far the lips of a resting mouth open with each weight, in units of `_LIP_GAP`."""
    height = mesh.identity.reshape(len(mesh.identity), -1, 3)[:, mesh.landmarks, 1]
    gaps = [height[:, upper] - height[:, lower] for upper, lower in ((61, 67), (62, 66), (63, 65))]
    return np.stack(gaps) / _LIP_GAP


def _finder() -> PhotoLandmarks:
    return PhotoLandmarks(require("yunet"), require("mediapipe_face_mesh"))


def _passport(mesh: Mesh, seed: int) -> Scene:
    scene = make_scene(mesh, 100 + seed % 50, 3.0)
    resting = np.zeros_like(scene.expression)
    resting[[mesh.index("eyeBlink_L"), mesh.index("eyeBlink_R")]] = 0.1
    return replace(scene, expression=resting, yaw=0.0, pitch=0.0, roll=0.0, distance=130.0, blur=0.0)


@click.command(help=__doc__)
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Real people.",
)
@click.option(
    "--men",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Text file with the folders of the men among them, one a line.",
)
@click.option(
    "--people", type=click.IntRange(min=300), default=900, show_default=True, help="People to draw."
)
@click.option(
    "--face-model", type=click.Path(path_type=Path, exists=True), help="The imported face model's .npz."
)
@click.option("--output", type=click.Path(path_type=Path), default=LIKENESS_FILE, help="The .npz to write.")
def main(photos: Path, men: Path, people: int, face_model: Path | None, output: Path) -> None:
    """See the module's text."""
    photographed = real_people(photos)
    masculine = _masculine(men, photographed.names)
    real = real_proportions(photographed.points)
    looks = draw_looks(people, face_model)
    slope, centre, noise = explain(real.of(looks.points), np.concatenate([looks.weights, looks.brows], 1))
    mesh = Studio(face_model).mesh
    gaps = lip_gaps(mesh)
    belongs = belonging(real.of(photographed.points), photographed.tones, masculine)
    table = {
        "rows": np.concatenate([slope[:, :IDENTITY_SIZE], gaps]),
        "brows": np.concatenate([slope[:, IDENTITY_SIZE:], np.zeros((len(gaps), looks.brows.shape[1]))]),
        "centre": np.concatenate([centre, np.zeros(len(gaps))]),
        "noise": np.concatenate([np.minimum(noise, _MOST_NOISE), np.full(len(gaps), _LIP_NOISE)]),
        "spread": np.concatenate([np.ones(len(centre)), np.zeros(len(gaps))]),
        "belongs": np.concatenate([belongs, np.zeros((len(gaps), 2))]),
        "look": common_look(looks.weights, looks.embeddings),
        "measures": measure_rows(mesh, MODES),
    }
    arrays: dict[str, Any] = {name: value.astype(np.float32) for name, value in table.items()}
    with output.open("wb") as file:
        np.savez_compressed(file, **arrays)
    click.echo(f"{output}: {len(centre)} proportions of {len(looks.weights)} drawn people")
    click.echo("not explained by weights, in deviations of people: " + " ".join(f"{n:.2f}" for n in noise))


if __name__ == "__main__":
    main()
