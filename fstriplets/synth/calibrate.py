"""Which identity weights a recogniser answers to: `python -m fstriplets.synth.calibrate`.

Draws bald, resting, frontal heads of random shape in a few fixed skins, embeds them and regresses the
embedding on the identity weights (ridge). The leading singular vectors go to `data/likeness.npz`, a few
kilobytes, so that `likeness.py` can spread people without a recogniser at hand, with the proportions of the
face as functions of the weights, so that it can keep them within what people have. Needs the weights yunet,
mediapipe_face_mesh and mobilefacenet_foamliu installed; takes about three minutes on one core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from fstriplets.config import PipelineConfig
from fstriplets.corpus.base import DecodedPhoto
from fstriplets.errors import PhotoRejected
from fstriplets.faces.stage import FaceStage
from fstriplets.records import Photo
from fstriplets.synth.body import build_body
from fstriplets.synth.likeness import IDENTITY_SIZE, LIKENESS_FILE
from fstriplets.synth.mesh import Mesh
from fstriplets.synth.render import render_photo
from fstriplets.synth.scene import make_scene
from fstriplets.synth.studio import Studio

__all__ = ["answers", "main", "proportions", "sensitivity"]

_SKINS = (1003, 1007, 1010, 1012, 1021, 1030, 1033, 1041)
_SIZE = 112
_MODE_SPREAD, _TRAIT_SPREAD, _LIMIT = 1.6, 1.3, 3.5
_RIDGE = 300.0
_KEPT = 40
#: Proportions of the face: landmarks (68) whose mean, less the mean of the others, is measured along an axis.
_PROPORTIONS: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...] = (
    ((27,), (33,), 1),  # nose: length, width, projection, bridge, turn of the tip, skew
    ((35,), (31,), 0),
    ((30,), (31, 35), 2),
    ((30,), (39, 42), 2),
    ((27, 28), (39, 42), 2),
    ((30,), (33,), 1),
    ((30, 33), (27, 8), 0),
    ((51,), (33,), 1),  # mouth: philtrum, lips, width, projection, corners, place, skew
    ((51,), (62,), 1),
    ((66,), (57,), 1),
    ((54,), (48,), 0),
    ((51, 57), (31, 35, 8), 2),
    ((48, 54), (62,), 1),
    ((51, 57), (27, 8), 0),
    ((57,), (8,), 1),  # chin: length, projection, width; jaw, cheeks, face: widths, height
    ((8,), (57,), 2),
    ((10,), (6,), 0),
    ((12,), (4,), 0),
    ((13,), (3,), 0),
    ((15,), (1,), 0),
    ((11,), (5,), 0),
    ((27,), (8,), 1),
    ((4, 12), (8,), 1),
    ((42,), (39,), 0),  # eyes: spacing, width, depth, slant, height over the nose; brows over them
    ((36, 45), (39, 42), 1),
    ((39, 45), (36, 42), 0),
    ((36, 39, 42, 45), (1, 15), 2),
    ((36, 39, 42, 45), (30,), 1),
    ((19, 24), (37, 44), 1),
    ((17, 26), (21, 22), 1),
    ((19, 24), (36, 45), 2),
    ((36,), (45,), 1),
)


def answers(shapes: int, face_model: Path | None = None, seed: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Identity weights [N, I] and embeddings [N, D] less the mean of their skin."""
    studio, rng = Studio(face_model), np.random.default_rng(seed)
    stage = FaceStage(PipelineConfig(detector="yunet", embedder="mobilefacenet_foamliu"))
    bodies = [build_body(_plain(studio, skin), studio.mesh) for skin in _SKINS]
    scenes = [_passport(studio, k) for k in range(len(_SKINS))]
    weights: list[np.ndarray] = []
    embeddings: list[tuple[float, ...]] = []
    skins: list[int] = []
    for k in range(shapes):
        drawn = np.concatenate(
            [rng.normal(0, _MODE_SPREAD, 100), rng.normal(0, _TRAIT_SPREAD, IDENTITY_SIZE - 100)]
        )
        drawn = np.clip(drawn, -_LIMIT, _LIMIT).astype(np.float32)
        skin = k % len(_SKINS)
        body = replace(bodies[skin], vertices=studio.mesh.shape(drawn))
        pixels = render_photo(body, scenes[skin], studio.mesh, _SIZE).pixels
        try:
            face = stage.candidates(Photo(str(k), str(k), str(k)), DecodedPhoto(pixels, "png"))[0].face
        except PhotoRejected:
            continue
        if face.embedding is not None:
            weights.append(drawn)
            embeddings.append(face.embedding)
            skins.append(skin)
    table, which = np.array(embeddings), np.array(skins)
    for skin in set(skins):
        table[which == skin] -= table[which == skin].mean(0)
    return np.stack(weights), table


def sensitivity(weights: np.ndarray, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Directions [130, K], gains [K], and the share of variance a held-out sixth is explained by."""
    held = np.arange(len(weights)) % 6 == 0

    def solve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y))

    rest = embeddings[held] - weights[held] @ solve(weights[~held], embeddings[~held])
    share = 1 - float((rest**2).sum() / (embeddings[held] ** 2).sum())
    left, gains, _ = np.linalg.svd(solve(weights, embeddings), full_matrices=False)
    return left[:, :_KEPT], gains[:_KEPT], share


def proportions(mesh: Mesh) -> np.ndarray:
    """Proportions of the face [R, I] as functions of the weights, in deviations of the face model's modes."""
    points = mesh.identity.reshape(len(mesh.identity), -1, 3)[:, mesh.landmarks]
    rows = [
        points[:, list(high), axis].mean(1) - points[:, list(low), axis].mean(1)
        for high, low, axis in _PROPORTIONS
    ]
    table = np.stack(rows)
    return np.asarray(table / np.linalg.norm(table[:, :100], axis=1, keepdims=True))


def _plain(studio: Studio, seed: int):  # type: ignore[no-untyped-def]
    person = studio.person(seed)
    hair = replace(person.hair, name="bald")
    return replace(person, hair=hair, beard=0.0, moustache=0.0, glasses=-1, age=30.0)


def _passport(studio: Studio, seed: int):  # type: ignore[no-untyped-def]
    scene = make_scene(studio.mesh, 100 + seed, 3.0)
    resting = np.zeros_like(scene.expression)
    resting[[studio.mesh.index("eyeBlink_L"), studio.mesh.index("eyeBlink_R")]] = 0.15
    return replace(scene, expression=resting, yaw=0.0, pitch=0.0, roll=0.0)


@click.command(help=__doc__)
@click.option(
    "--shapes", type=click.IntRange(min=300), default=1600, show_default=True, help="Heads to draw."
)
@click.option(
    "--face-model", type=click.Path(path_type=Path, exists=True), help="The imported face model's .npz."
)
@click.option("--output", type=click.Path(path_type=Path), default=LIKENESS_FILE, help="The .npz to write.")
def main(shapes: int, face_model: Path | None, output: Path) -> None:
    """See the module's text."""
    directions, gains, share = sensitivity(*answers(shapes, face_model))
    table = proportions(Studio(face_model).mesh)
    with output.open("wb") as file:
        np.savez_compressed(
            file,
            directions=directions.astype(np.float16),
            gains=gains.astype(np.float32),
            proportions=table.astype(np.float16),
        )
    click.echo(
        f"{output}: {len(gains)} directions; shape explains {100 * share:.0f} % of held-out embeddings"
    )


if __name__ == "__main__":
    main()
