"""Synthetic faces: the face model's import, drawing, truth, edits, swaps and the corpus."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fstriplets.errors import OutputError, UserError

pytest.importorskip("numba")
pytest.importorskip("scipy")

from fstriplets.synth import LABELS, SYNTH_EDITS, CorpusPlan, Studio, import_face_model, write_corpus
from fstriplets.synth.facemodel import load_face_model
from fstriplets.synth.importer import EXPRESSIONS
from fstriplets.synth.lids import lids_outside
from fstriplets.synth.mesh import EYE_L, EYE_R
from fstriplets.synth.pose import rotation
from fstriplets.synth.raster import draw_strands, raster
from fstriplets.synth.regions import build_regions
from fstriplets.synth.scene import gaze_axes
from fstriplets.synth.swap import swap_person
from fstriplets.synth.truth import lip_weights

SIZE = 96


@pytest.fixture(scope="module")
def studio(request: pytest.FixtureRequest) -> Studio:
    folder = request.getfixturevalue("shared_data")
    return Studio(folder / "face_model" / "ict_facekit_light.npz", keep=3)


def part(name: str) -> int:
    return LABELS.index(name)


# the face model


def _obj(vertices: np.ndarray, with_faces: bool = False) -> str:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    if with_faces:
        lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", "usemtl M_Face", "f 1/1 2/2 3/3 4/4"]
        lines += ["usemtl M_BackHead", "f 1/1 3/3 5/2"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of ICT-FaceKit with five vertices."""
    rng = np.random.default_rng(0)
    root = tmp_path / "clone" / "FaceXModel"
    root.mkdir(parents=True)
    neutral = rng.normal(size=(5, 3)).round(3)
    (root / "generic_neutral_mesh.obj").write_text(_obj(neutral, with_faces=True))
    for name in [f"identity{k:03d}" for k in range(100)] + list(EXPRESSIONS):
        (root / f"{name}.obj").write_text(_obj(neutral + rng.normal(size=(5, 3)).round(2)))
    (root / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": [0] * 67 + [4]}))
    return tmp_path / "clone"


def test_clone_and_npz_give_the_same_model(clone: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = import_face_model(clone, tmp_path / "a.npz", lambda done, total: seen.append((done, total)))
    again = import_face_model(first, tmp_path / "b.npz")
    a, b = load_face_model(first), load_face_model(again)
    for name in ("neutral", "identity", "expression", "faces", "uv", "uv_faces", "material", "landmarks68"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.identity.shape == (100, 5, 3)
    assert a.expression_names == EXPRESSIONS
    assert a.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 4]]  # the quad became a fan
    assert [a.materials[m] for m in a.material] == ["M_Face", "M_Face", "M_BackHead"]
    assert a.landmarks68[-1] == 4
    assert seen[-1] == (154, 154)


def test_incomplete_clone_is_named(clone: Path, tmp_path: Path) -> None:
    (clone / "FaceXModel" / "jawOpen.obj").unlink()
    with pytest.raises(UserError, match=r"jawOpen\.obj"):
        import_face_model(clone, tmp_path / "a.npz")
    with pytest.raises(UserError, match="FaceXModel"):
        import_face_model(tmp_path, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_missing_model_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSTRIPLETS_FACE_MODEL", str(tmp_path / "none.npz"))
    with pytest.raises(UserError, match="synth import-face-model"):
        Studio()


# drawing


def test_rotation_signs() -> None:
    forward, up = np.array([0, 0, 1]), np.array([0, 1, 0])
    assert (rotation(20, 0, 0) @ forward)[0] > 0.3  # yaw > 0: to the viewer's right
    assert (rotation(0, 20, 0) @ forward)[1] > 0.3  # pitch > 0: up
    assert (rotation(0, 0, 20) @ up)[0] > 0.3  # roll > 0: clockwise


def test_raster_keeps_the_nearest_and_covers_each_pixel_once() -> None:
    square = np.array(
        [[0, 0, 5], [8, 0, 5], [8, 8, 5], [0, 8, 5], [0, 0, 3], [4, 0, 3], [0, 4, 3]], np.float32
    )
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]], np.int32)
    depth, triangle, weights = raster(square, faces, 8, 8)
    assert (triangle >= 0).all()
    assert triangle[0, 0] == 2
    assert depth[0, 0] == 3
    assert depth[7, 7] == 5
    np.testing.assert_array_less(weights.sum(-1), 1.0001)


def test_strands_hide_behind_what_is_nearer() -> None:
    line = np.array([[[1.0, 4.5, 10.0], [15.0, 4.5, 10.0]]], np.float32)
    white, width = np.ones((1, 2, 3), np.float32), np.ones(2, np.float32)
    depth = np.full((9, 16), 1e9, np.float32)
    depth[:, 8:] = 2.0
    image, cover = np.zeros((9, 16, 3), np.float32), np.zeros((9, 16), np.float32)
    draw_strands(line, white, width, np.arange(1), depth, image, cover, 0.0, 2.0)
    assert cover[4, 2:8].min() > 0.9
    assert cover[:, 8:].max() == 0
    assert cover.sum() == pytest.approx(7, abs=0.6)  # ink of one line of one pixel's width


# photos and their truth


@pytest.mark.real
def test_same_seed_same_bytes_and_truth_fits(studio: Studio) -> None:
    scene = studio.scene(11, max_yaw=20)
    photo = studio.photo(studio.person(3), scene, SIZE)
    again = Studio.photo(studio, studio.person(3), studio.scene(11, max_yaw=20), SIZE)
    np.testing.assert_array_equal(photo.pixels, again.pixels)
    assert photo.pixels.shape == (SIZE, SIZE, 3)
    assert photo.pixels.dtype == np.uint8
    truth = photo.truth
    assert truth.landmarks68.shape == (68, 2)
    assert truth.landmarks5.shape == (5, 2)
    assert truth.landmarks5[0, 0] < truth.landmarks5[1, 0]
    assert truth.labels.shape == truth.depth.shape == (SIZE, SIZE)
    x0, y0, x1, y1 = truth.box
    assert 0 < x0 < x1 < SIZE
    assert 0 < y0 < y1 < SIZE
    assert np.isinf(truth.depth[0, 0])
    hollow = np.isinf(truth.depth) & (truth.labels != 0)
    # only thin strands before the background have no depth of their own
    assert set(np.unique(truth.labels[hollow])) <= {part("hair")}
    assert hollow.mean() < 0.02
    for index, name in ((33, "nose"), (8, "neck"), (57, "lips")):
        x, y = np.round(truth.landmarks68[index]).astype(int)
        near = truth.labels[y - 2 : y + 4, x - 2 : x + 3]
        assert part(name) in near, name
    assert truth.dense[truth.visible].shape[0] > 400


@pytest.mark.real
def test_brow_points_lie_on_the_drawn_brows(studio: Studio) -> None:
    person = replace(studio.person(3), brow=1.0)
    truth = studio.photo(person, replace(studio.scene(11), yaw=0.0, pitch=0.0, eyewear=-1), 192).truth
    rows, columns = np.nonzero(truth.labels == part("brows"))
    brow = np.stack([columns, rows], 1)
    width = np.linalg.norm(truth.landmarks68[36] - truth.landmarks68[45])
    for point in truth.landmarks68[18:26]:
        assert np.linalg.norm(brow - point, axis=1).min() < 0.03 * width
    assert (np.diff(truth.landmarks68[17:27, 0]) > 0).all()


@pytest.mark.real
def test_lip_points_are_spaced_as_annotators_do(studio: Studio) -> None:
    weights = lip_weights(studio.mesh)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    x = weights @ studio.mesh.neutral[studio.mesh.landmarks, 0]
    for corner, point, other, share in ((48, 50, 52, 0.74), (60, 61, 63, 0.69), (60, 67, 65, 0.69)):
        assert x[point] / x[corner] == pytest.approx(1 - share, abs=0.02)
        assert x[other] == pytest.approx(-x[point], abs=0.05)


@pytest.mark.real
def test_eyes_turn_and_mostly_look_into_the_camera(studio: Studio) -> None:
    still = np.zeros(len(studio.mesh.names), np.float32)
    aside = still.copy()
    aside[[studio.mesh.index("eyeLookOut_L"), studio.mesh.index("eyeLookIn_R")]] = 0.7
    turned = gaze_axes(studio.mesh, aside) - gaze_axes(studio.mesh, still)
    assert (turned[:, 0] > 0.3).all()  # both to the viewer's right
    scenes = [studio.scene(seed, max_yaw=25.0) for seed in range(60)]
    ahead = [
        (rotation(s.yaw, s.pitch, s.roll) @ gaze_axes(studio.mesh, s.expression).mean(0))[2] for s in scenes
    ]
    assert np.mean(np.array(ahead) > np.cos(np.radians(12))) > 0.6
    scene = replace(scenes[0], yaw=0.0, pitch=0.0, eyewear=-1)
    looks = [studio.photo(studio.person(3), replace(scene, expression=e), 192) for e in (still, aside)]
    eyes = (looks[0].truth.labels == part("eyes")) & (looks[1].truth.labels == part("eyes"))
    assert np.abs(looks[0].pixels.astype(int) - looks[1].pixels)[eyes].mean() > 10


@pytest.mark.real
def test_people_in_photos_mostly_rest_or_smile(studio: Studio) -> None:
    pressed = ["mouthFrown_L", "browDown_L", "browInnerUp_L", "eyeWide_L", "mouthFunnel"]
    rows = [studio.mesh.index(name) for name in pressed]
    left, right = (
        [i for i, n in enumerate(studio.mesh.names) if n.endswith(end) and not n.startswith("eyeLook")]
        for end in ("_L", "_R")
    )
    weights = np.stack([studio.scene(seed).expression for seed in range(80)])
    assert (weights[:, rows].max(1) > 0.2).mean() < 0.15
    assert np.median(np.abs(weights[:, left] - weights[:, right]).max(1)) < 0.12


@pytest.mark.real
def test_landmarks_follow_yaw(studio: Studio) -> None:
    person = studio.person(3)
    left, right = (studio.photo(person, replace(studio.scene(11), yaw=y), SIZE).truth for y in (-40.0, 40.0))
    nose = [float(t.landmarks68[30, 0] - t.landmarks68[[36, 45], 0].mean()) for t in (left, right)]
    assert nose[0] < -3 < 3 < nose[1]
    assert left.pose[0] == -40.0


@pytest.mark.real
@pytest.mark.parametrize("seed", [6, 12004, 12006])
def test_bald_heads_have_the_colour_of_the_face(studio: Studio, seed: int) -> None:
    person = studio.person(seed)
    bald = replace(person, hair=replace(person.hair, name="bald"))
    body = studio.body(bald)
    forehead = np.median(body.face[70:110, 90:120, :3].reshape(-1, 3), 0)
    high = studio.mesh.position_back[..., 1] > 9
    scalp = np.median(body.back[high & studio.mesh.inside_back][:, :3], 0)
    assert np.abs(np.log(scalp / forehead)).max() < 0.24  # the shadow of shaved hair included
    hue = [c / c.mean() for c in (scalp, forehead)]
    assert np.abs(np.log(hue[0] / hue[1])).max() < 0.055


@pytest.mark.real
def test_eyes_teeth_and_gloss_are_a_persons_own_and_swap_with_the_face(studio: Studio) -> None:
    people = [studio.person(seed) for seed in (3, 4, 6)]
    assert len({person.finish for person in people}) == 3
    for person in people:
        assert abs(person.finish.iris - 1) <= 0.06
        assert person.finish.teeth(75)[2] < person.finish.teeth(25)[2]  # yellower with the years
    assert swap_person(people[0], people[1]).finish == people[0].finish


@pytest.mark.real
def test_lids_stay_outside_the_eyeballs_and_nothing_moves_sideways(studio: Studio) -> None:
    mesh, still = studio.mesh, np.zeros(len(studio.mesh.names), np.float32)
    untouched = mesh.neutral.copy()
    lids_outside(untouched, mesh)
    np.testing.assert_allclose(untouched, mesh.neutral, atol=1e-4)
    ball = np.unique(mesh.faces[np.isin(mesh.material, (EYE_L, EYE_R))])
    still[[mesh.index(f"eyeSquint_{side}") for side in "LR"]] = 0.8
    before = studio.body(studio.person(4)).vertices + mesh.pose_expression(still)
    after = before.copy()
    lids_outside(after, mesh)
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    np.testing.assert_array_equal(after[ball], before[ball])
    assert (after[:, 2] >= before[:, 2]).all()
    again = after.copy()
    lids_outside(again, mesh)
    assert (again - after).max() < 0.5 * (after - before).max()


@pytest.mark.real
def test_open_mouths_show_the_mouth_and_not_the_neck(studio: Studio) -> None:
    weights = np.zeros(len(studio.mesh.names), np.float32)
    weights[studio.mesh.index("jawOpen")] = 0.7
    scene = replace(studio.scene(11), yaw=30.0, pitch=0.0, roll=0.0, expression=weights, eyewear=-1)
    truth = studio.photo(replace(studio.person(4), beard=0.0, moustache=0.0), scene, 192).truth
    inner = np.zeros(truth.labels.shape, np.uint8)
    cv2.fillPoly(inner, [np.round(truth.landmarks68[60:68]).astype(np.int32)], 1)
    inner = cv2.erode(inner, np.ones((3, 3), np.uint8)) > 0
    assert inner.sum() > 40
    assert (truth.labels[inner] == part("mouth")).mean() > 0.9


@pytest.mark.real
@pytest.mark.parametrize("edit", sorted(SYNTH_EDITS))
def test_edit_changes_what_it_names_and_leaves_the_rest(studio: Studio, edit: str) -> None:
    person, scene = studio.person(3), replace(studio.scene(11, max_yaw=10), eyewear=-1)
    before = studio.photo(person, scene, SIZE)
    after = studio.edited(person, scene, edit, 1.0, SIZE, seed=1)
    changed = np.abs(before.pixels.astype(int) - after.pixels).max(-1) > 12
    assert changed.mean() > 0.004
    background = (before.truth.labels == 0) & (after.truth.labels == 0)
    loose = cv2.dilate((before.truth.labels == part("hair")).astype(np.uint8), np.ones((3, 3))) > 0
    assert changed[background & ~loose].mean() < 0.005  # the sensor's noise is the same
    untouched = studio.edited(person, scene, edit, 0.0, SIZE)
    np.testing.assert_array_equal(untouched.pixels, before.pixels)


@pytest.mark.real
def test_edit_truth(studio: Studio) -> None:
    person, scene = studio.person(3), replace(studio.scene(11, max_yaw=10), eyewear=-1)
    plain = studio.photo(person, scene, SIZE).truth
    older = studio.edited(person, scene, "aging", 0.6, SIZE).truth
    assert older.attributes["age"] == pytest.approx(plain.attributes["age"] + 27, abs=0.2)
    dark = studio.edited(person, scene, "sunglasses", 1.0, SIZE).truth
    assert dark.attributes["sunglasses"] == 1
    assert (dark.labels == part("glasses")).mean() > 0.01
    bald = studio.edited(person, scene, "hair_bald", 1.0, SIZE).truth
    assert (bald.labels == part("hair")).sum() == 0 < (plain.labels == part("hair")).sum()
    grin = studio.edited(person, scene, "grin", 1.0, SIZE).truth
    assert grin.attributes["smile"] > plain.attributes["smile"]
    with pytest.raises(ValueError, match="aging"):
        studio.edited(person, scene, "younger", 0.5, SIZE)
    with pytest.raises(ValueError, match="outside"):
        studio.edited(person, scene, "aging", 1.5, SIZE)


@pytest.mark.real
def test_swap_takes_identity_from_source_and_the_rest_from_target(studio: Studio) -> None:
    source, target, scene = studio.person(4), studio.person(3), studio.scene(11, max_yaw=10)
    swapped = studio.swapped(source, target, scene, SIZE)
    photo = studio.photo(target, scene, SIZE)
    np.testing.assert_array_equal(swapped.truth.identity, source.shape)
    np.testing.assert_array_equal(swapped.truth.expression, photo.truth.expression)
    assert swapped.truth.pose == photo.truth.pose
    background = (swapped.truth.labels == 0) & (photo.truth.labels == 0)
    assert np.abs(swapped.pixels.astype(int) - photo.pixels).max(-1)[background].mean() < 3
    with pytest.raises(ValueError, match="source or target"):
        studio.swapped(source, target, scene, SIZE, hair="both")


@pytest.mark.real
def test_regions_are_mirrored(studio: Studio) -> None:
    regions = build_regions(studio.mesh)
    for mask in (regions.beard, regions.ears, regions.lips):
        assert np.abs(mask - mask[:, ::-1]).mean() < 0.02
    assert set(np.unique(regions.label)) <= {part(n) for n in ("skin", "nose", "lips", "neck", "ears")}


# the corpus


@pytest.mark.real
def test_corpus_is_deterministic_resumes_and_reads_back(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSTRIPLETS_FACE_MODEL", str(shared_data / "face_model" / "ict_facekit_light.npz"))
    plan = CorpusPlan(str(tmp_path / "a"), identities=1, images=2, size=64, truth=True)
    write_corpus(plan, workers=0)
    first = tmp_path / "a" / "photos" / "p000000" / "00.jpg"
    stamp = first.stat().st_mtime_ns
    table = write_corpus(replace(plan, identities=2), workers=0)  # one more person; the first is kept
    assert first.stat().st_mtime_ns == stamp
    other = write_corpus(replace(plan, output=str(tmp_path / "b"), identities=2), workers=0)
    for path in sorted(table.parent.rglob("*.*")):
        twin = other.parent / path.relative_to(table.parent)
        assert path.read_bytes() == twin.read_bytes(), path
    truth = np.load(tmp_path / "a" / "truth" / "p000001" / "01.npz")
    assert truth["labels"].shape == (64, 64)

    from fstriplets.config import PipelineConfig
    from fstriplets.corpus import open_corpus

    corpus = open_corpus(os.fspath(tmp_path / "a"), PipelineConfig(corpus=str(tmp_path / "a"), output="x"))
    people = dict(corpus.identities())
    assert sorted(people) == ["p000000", "p000001"]
    photo = people["p000001"][1]
    assert photo.consent == "synthetic"
    assert photo.landmarks is not None
    assert len(photo.landmarks) == 68
    assert "age" in photo.attributes
    assert corpus.read(photo)[:2] == b"\xff\xd8"

    with pytest.raises(OutputError, match="other settings"):
        write_corpus(replace(plan, size=80), workers=0)


@pytest.mark.real
def test_hollows_are_less_open_to_the_sky(studio: Studio) -> None:
    body = studio.body(studio.person(3))
    points, normals = studio.mesh.neutral[studio.mesh.landmarks], studio.mesh.neutral
    assert body.openness.shape == (len(normals),)
    assert body.openness.min() >= 0
    assert body.openness.max() <= 1

    def near(place: np.ndarray) -> float:
        distance = np.linalg.norm(studio.mesh.neutral - place, axis=1)
        return float(body.openness[np.argsort(distance)[:12]].mean())

    nose, cheek = near(points[30]), near((points[36] + points[48]) / 2)
    assert nose > 0.9
    assert cheek > 0.8
    assert near(points[39] + [-0.3, 0.5, 0]) < cheek - 0.1  # under the inner end of the brow
    assert near(points[8] + [0, -1.5, -2.5]) < cheek - 0.05  # under the chin


@pytest.mark.real
@pytest.mark.slow
def test_clone_of_the_whole_model_gives_the_same_people(shared_data: Path, tmp_path: Path) -> None:
    """The npz written out as the OBJ files of a clone and imported again: the same model, the same photo."""
    source = shared_data / "face_model" / "ict_facekit_light.npz"
    model = load_face_model(source)
    root = tmp_path / "FaceXModel"
    root.mkdir()

    def write(name: str, vertices: np.ndarray, tail: str = "") -> None:
        text = "".join(f"v {x:.7f} {y:.7f} {z:.7f}\n" for x, y, z in vertices.tolist())
        (root / f"{name}.obj").write_text(text + tail)

    tail = "".join(f"vt {u:.7f} {v:.7f}\n" for u, v in model.uv.tolist())
    current = -1
    for face, uv, material in zip(model.faces + 1, model.uv_faces + 1, model.material, strict=True):
        if material != current:
            tail, current = f"{tail}usemtl {model.materials[material]}\n", material
        tail += "f " + " ".join(f"{v}/{t}" for v, t in zip(face, uv, strict=True)) + "\n"
    write("generic_neutral_mesh", model.neutral, tail)
    for k, offset in enumerate(model.identity):
        write(f"identity{k:03d}", model.neutral + offset)
    for name, offset in zip(model.expression_names, model.expression, strict=True):
        write(name, model.neutral + offset)
    again = load_face_model(import_face_model(tmp_path, tmp_path / "model.npz"))
    for name in ("faces", "uv_faces", "landmarks68"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    np.testing.assert_allclose(again.identity, model.identity, atol=2e-3)
    names = [[m.materials[i] for i in m.material] for m in (model, again)]
    assert names[0] == names[1]
    photos = []
    for path in (source, tmp_path / "model.npz"):
        drawn = Studio(path)
        photos.append(drawn.photo(drawn.person(3), drawn.scene(11), SIZE))
    difference = np.abs(photos[0].truth.landmarks68 - photos[1].truth.landmarks68).max()
    assert difference < 0.05  # pixels: half precision rounds a text file's digits now and then
