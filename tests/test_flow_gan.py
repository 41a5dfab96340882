"""The flow-gan editor with seeded weights, the maps it applies, and its trainer on drawn pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_edits_warp import drawn_face, landmarks

from fstriplets.edits import flow_gan, load_editor
from fstriplets.edits.flow_gan import FlowGanEditor, apply_maps
from fstriplets.edits.flow_guide import MIRRORED, face_guide
from fstriplets.edits.flow_layout import glasses_layout
from fstriplets.edits.stage import from_tensor, to_tensor
from fstriplets.evaluation import evaluate_truth
from fstriplets.faces.align import similarity
from fstriplets.models.networks.flow_gan import (
    CODE_SIZE,
    EDITS,
    SIDE,
    FlowGanDiscriminator,
    FlowGanGenerator,
    Maps,
    compose,
    edit_code,
)
from fstriplets.synth.pairs import PAIR_ATTRIBUTES
from fstriplets.training.edit_pairs import EditPairs
from fstriplets.training.editor import EditorJob, Recipe
from fstriplets.training.loop import run_training, seed_step
from fstriplets.training.pairs import PairSet

WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])


def generator(loud: float = 0.3) -> FlowGanGenerator:
    """Seeded, with heads that do something: fresh ones are nearly silent."""
    torch.manual_seed(5)
    network = FlowGanGenerator()
    for head in (network.coarse, network.fine2):
        torch.nn.init.normal_(head.weight, std=loud / 10)
    return network


@pytest.fixture(scope="module")
def editor() -> FlowGanEditor:
    return FlowGanEditor(generator())


def run(
    editor: FlowGanEditor, edit: str, strengths: list[float], seeds: list[int], size: int = 256
) -> tuple[list[np.ndarray], np.ndarray]:
    faces = [cv2.flip(drawn_face(size), 1) if i % 2 else drawn_face(size) for i in range(len(strengths))]
    points = torch.from_numpy(np.stack([landmarks(size)] * len(faces)))
    result = editor.edit(
        to_tensor(faces), edit, torch.tensor(strengths), torch.tensor(seeds), landmarks=points
    )
    return [from_tensor(image) for image in result.images], result.mask.numpy()


def patch_maps(**values: tuple[float, ...]) -> np.ndarray:
    """Maps that do something in the middle only, [10, SIDE, SIDE]."""
    maps = np.zeros((10, SIDE, SIDE), np.float32)
    start = {"flow": 0, "gain": 2, "mask": 5, "colour": 6, "fade": 9}
    for name, value in values.items():
        k = start[name]
        maps[k : k + len(value), 96:160, 96:160] = np.reshape(value, (-1, 1, 1))
    return maps


@pytest.mark.parametrize("edit", ["aging", "glasses", "hair"])
def test_strength_0_returns_the_input(editor: FlowGanEditor, edit: str) -> None:
    pictures, mask = run(editor, edit, [0.0, 0.0], [1, 2])
    assert (pictures[0] == drawn_face()).all()
    assert not mask.any()


def test_a_face_gets_the_same_in_any_batch(editor: FlowGanEditor) -> None:
    together, _ = run(editor, "glasses", [1.0, 0.5, 0.8], [4, 5, 6])
    alone, _ = run(editor, "glasses", [1.0], [4])
    assert (together[0] == alone[0]).all()
    assert (together[2] != together[0]).any()


def test_the_seed_draws_the_frame_and_nothing_else(editor: FlowGanEditor) -> None:
    one, two, again = (run(editor, "glasses", [1.0], [seed])[0][0] for seed in (0, 1, 0))
    assert (one == again).all()
    assert (one != two).any()
    assert (run(editor, "grin", [1.0], [0])[0][0] == run(editor, "grin", [1.0], [1])[0][0]).all()


def test_what_the_maps_leave_alone_stays_bit_for_bit() -> None:
    photo = to_tensor([drawn_face()])[0].permute(1, 2, 0).numpy()
    maps = patch_maps(flow=(0.1, 0.0), gain=(0.3, 0.3, 0.3), mask=(0.5,), colour=(0.2, 0.4, 0.6))
    picture, mask = apply_maps(photo, maps, WHOLE)
    assert (mask[100:156, 100:156] > 0).all()
    assert not mask[:94].any()
    assert not mask[:, 163:].any()
    assert np.abs(picture - photo)[100:156, 100:156].mean() > 0.1


def test_faint_maps_do_nothing() -> None:
    photo = to_tensor([drawn_face()])[0].permute(1, 2, 0).numpy()
    _, mask = apply_maps(photo, patch_maps(flow=(0.0005, 0.0), gain=(0.01,) * 3, mask=(0.015,)), WHOLE)
    assert not mask.any()


def test_the_editor_applies_maps_as_training_does() -> None:
    photo = to_tensor([drawn_face()])
    maps = patch_maps(
        flow=(0.1, -0.05), gain=(0.3, 0.2, 0.1), mask=(0.4,), colour=(0.2, 0.4, 0.6), fade=(0.7,)
    )
    planes = torch.from_numpy(maps)[None]
    trained = compose(
        photo, Maps(planes[:, :2], planes[:, 2:5], planes[:, 5:6], planes[:, 6:9], planes[:, 9:])
    )
    applied, _ = apply_maps(photo[0].permute(1, 2, 0).numpy(), maps, WHOLE)
    inside = np.abs(applied - trained[0].permute(1, 2, 0).numpy())[100:156, 100:156]
    assert inside.mean() < 0.02  # cubic against linear interpolation


def test_maps_follow_a_turned_and_enlarged_face() -> None:
    turn = cv2.getRotationMatrix2D((200, 200), 30, 0.5)
    turn[:, 2] += 128 - 200
    photo = np.random.default_rng(0).random((400, 400, 3), np.float32) * 2 - 1
    photo = cv2.GaussianBlur(photo, (0, 0), 6) * 6
    picture, mask = apply_maps(photo, patch_maps(flow=(0.1, 0.0)), turn)
    # 12.8 px to the right in the aligned face are 25.6 px in the photo, along the face's turned axis
    shift = np.linalg.inv(turn[:, :2]) @ [12.8, 0]
    expected = photo[round(200 + shift[1]), round(200 + shift[0])]
    assert mask[200, 200] == 1
    assert np.abs(picture[200, 200] - expected).max() < 0.1
    assert not mask[:60, :60].any()


@pytest.mark.parametrize("size", [128, 320])
def test_crops_of_other_sizes_get_the_same_edit(editor: FlowGanEditor, size: int) -> None:
    large = run(editor, "chubbiness", [1.0], [0], 256)[0][0]
    other = run(editor, "chubbiness", [1.0], [0], size)[0][0]
    assert other.shape == (size, size, 3)
    same = cv2.resize(other, (256, 256), interpolation=cv2.INTER_AREA)
    change = np.abs(large.astype(float) - drawn_face()).mean()
    assert np.abs(cv2.blur(same, (9, 9)).astype(float) - cv2.blur(large, (9, 9))).mean() < 0.35 * change


def test_a_head_without_hair_is_told(editor: FlowGanEditor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_gan, "hair_layout", lambda photo, points: np.zeros((SIDE, SIDE), np.float32))
    monkeypatch.setattr(FlowGanEditor, "_carry_out", lambda *_: pytest.fail("no colour need be tried"))
    points = torch.from_numpy(landmarks()[None])
    result = editor.edit(
        to_tensor([drawn_face()]), "hair", torch.ones(1), torch.zeros(1, dtype=torch.int64), landmarks=points
    )
    assert result.rejected[0].reason == "no_hair"


def test_a_window_of_the_maps_is_a_part_of_them() -> None:
    network = generator().eval()
    photo = to_tensor([drawn_face()])
    guide = torch.from_numpy(face_guide(landmarks()))[None]
    layout = torch.from_numpy(glasses_layout(landmarks(), 1, dark=True))[None, None]
    code, strength = edit_code("sunglasses", 1.0, 1, (0, 0, 0))[None], torch.ones(1)
    windows = torch.tensor([[64, 80]])
    with torch.no_grad():
        whole = compose(photo, network(photo, guide, layout, code, strength))
        part = compose(photo, network(photo, guide, layout, code, strength, windows, 96), windows)
    # the outer pixels see the window's edge
    torch.testing.assert_close(part[..., 8:-8, 8:-8], whole[..., 72:152, 88:168], atol=1e-4, rtol=1e-3)


def test_codes_tell_edits_strengths_styles_and_colours_apart() -> None:
    codes = [edit_code(edit, 0.5) for edit in EDITS]
    codes += [
        edit_code("glasses", 1.0, style, colour) for style in (0, 1) for colour in ((0, 0, 0), (1, 0, 0))
    ]
    assert len({tuple(code.tolist()) for code in codes}) == len(codes)
    assert all(code.shape == (CODE_SIZE,) for code in codes)


def test_the_guide_follows_the_landmarks_and_mirrors_with_the_face() -> None:
    points = landmarks()
    guide = face_guide(points)
    left = (points[36:42].mean(0) + 0.5) / 4
    y, x = np.unravel_index(np.hypot(guide[0], guide[1]).argmin(), guide[0].shape)
    assert np.hypot(x + 0.5 - left[0], y + 0.5 - left[1]) < 1
    eyes, mouth = guide[18], guide[19]
    assert eyes.max() == 1
    assert eyes[:, : int(left[0]) + 8].any()
    assert np.nonzero(mouth)[0].min() > np.nonzero(eyes)[0].max()
    flipped = points * [-1, 1] + [SIDE - 1, 0]
    mirrored = face_guide(flipped[MIRRORED])
    np.testing.assert_allclose(mirrored[18:, :, ::-1], guide[18:], atol=0.6)
    np.testing.assert_allclose(mirrored[2, :, ::-1], -guide[0], atol=1e-4)
    assert (MIRRORED[MIRRORED] == np.arange(68)).all()


@pytest.mark.parametrize("style", range(4))
def test_frames_lie_round_the_eyes_and_turn_with_the_head(style: int) -> None:
    points = landmarks()
    clear, dark = (glasses_layout(points, style, dark) for dark in (False, True))
    for eye in (points[36:42].mean(0), points[42:48].mean(0)):
        x, y = np.rint(eye).astype(int)
        assert dark[y, x] == 1
        assert clear[y, x] == 0
        # the rim is met on the way out, upwards and downwards
        assert clear[y - 30 : y, x].max() > 0.5
        assert clear[y : y + 32, x].max() > 0.5
    assert dark.sum() > clear.sum() > 100
    turn = cv2.getRotationMatrix2D((128, 128), 20, 1)
    turned = glasses_layout(points @ turn[:, :2].T + turn[:, 2], style, True)
    expected = cv2.warpAffine(dark, turn, (SIDE, SIDE))
    assert np.minimum(turned, expected).sum() > 0.9 * dark.sum()


def test_a_new_colour_of_the_hair_stays_in_the_hair_and_paints_nothing() -> None:
    layout = torch.zeros(1, 1, SIDE, SIDE)
    layout[..., :60, :] = 1
    with torch.no_grad():
        maps = generator()(
            to_tensor([drawn_face()]),
            torch.from_numpy(face_guide(landmarks()))[None],
            layout,
            edit_code("hair_colour", 1.0, colour=(0.3, 0.1, 0.1))[None],
            torch.ones(1),
        )
    assert not maps.flow.any()
    assert not maps.mask.any()
    assert not maps.gain[..., 60:, :].any()
    assert maps.gain[..., :60, :].any()
    assert (maps.fade == layout).all()


def test_it_is_small() -> None:
    assert 2 * sum(value.numel() for value in FlowGanGenerator().state_dict().values()) < 5e6
    score, features = FlowGanDiscriminator()(
        torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), torch.zeros(1, CODE_SIZE)
    )
    assert score.shape == (1, 1, 8, 8)
    assert len(features) == 3


# training


def write_person(folder: Path, number: int, edits: tuple[str, ...] = ("sunglasses", "hair_colour")) -> None:
    """A drawn person and edits of theirs, in the format of `synth pairs`."""
    photo, points = drawn_face(), landmarks()
    pictures = [photo]
    for edit in edits:
        edited = photo.copy()
        if edit == "sunglasses":
            cv2.ellipse(edited, (96, 116), (26, 18), 0, 0, 360, (10, 10, 10), -1)
            cv2.ellipse(edited, (160, 116), (26, 18), 0, 0, 360, (10, 10, 10), -1)
        else:
            edited[:60] = 255 - edited[:60]
        pictures.append(edited)
    jpeg = [cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes() for picture in pictures]
    png = [cv2.imencode(".png", np.full((256, 256), 1, np.uint8))[1].tobytes() for _ in pictures]
    n = len(pictures)
    (folder / "people").mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "people" / f"p{number:07d}.npz",
        jpeg=np.frombuffer(b"".join(jpeg), np.uint8),
        jpeg_ends=np.cumsum([len(j) for j in jpeg]),
        png=np.frombuffer(b"".join(png), np.uint8),
        png_ends=np.cumsum([len(p) for p in png]),
        base=np.zeros(n, np.int64),
        edit=np.array(["", *edits], "U16"),
        strength=np.array([0, *[1.0] * len(edits)], np.float32),
        landmarks=np.stack([points] * n),
        pose=np.zeros((n, 3), np.float32),
        box=np.zeros((n, 4), np.float32),
        attributes=np.full((n, len(PAIR_ATTRIBUTES)), 0.1, np.float32),
        names=np.array(PAIR_ATTRIBUTES),
    )


@pytest.fixture(scope="module")
def drawn_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for number in (0, 1, 19):
        write_person(folder, number)
    return folder


def recipe(**changes: object) -> Recipe:
    base = {"steps": 4, "seed": 3, "batch_size": 2, "window": 96, "adversarial_from": 2}
    return Recipe(**{**base, **changes})


def test_pairs_are_changed_alike(drawn_pairs: Path) -> None:
    pairs = EditPairs(PairSet(drawn_pairs, "train"), {"sunglasses": 1.0}, 96)
    batch = pairs.batch(np.random.default_rng(1), 4)
    outside = (batch.region == 0).expand_as(batch.photo)
    assert outside.float().mean() > 0.3
    # noise and light are the same; only what JPEG spreads remains
    assert (batch.photo - batch.edited).abs()[outside].mean() < 0.02
    assert (batch.photo - batch.edited).abs()[~outside].mean() > 0.1
    again = pairs.batch(np.random.default_rng(1), 4)
    assert torch.equal(batch.photo, again.photo)


def test_what_is_asked_for_is_what_the_pair_shows(drawn_pairs: Path) -> None:
    pairs = EditPairs(PairSet(drawn_pairs, "val"), dict.fromkeys(EDITS, 1.0), 96)
    sunglasses, colour = (pairs.wish(int(pairs.of[edit][0])) for edit in ("sunglasses", "hair_colour"))
    assert (sunglasses.edit, sunglasses.strength, sunglasses.style) == ("sunglasses", 1.0, 0)
    assert colour.colour == pytest.approx((0.1, 0.1, 0.1))
    eyes = pairs.crop_landmarks(int(pairs.of["sunglasses"][0]))[36:48].mean(0)
    np.testing.assert_allclose(similarity([[0, 0], [1, 1]], [[0, 0], [1, 1]])[:, :2], np.eye(2), atol=1e-9)
    assert np.abs(eyes - [127.5, 119.5]).max() < 3


def test_a_step_lowers_the_loss(drawn_pairs: Path) -> None:
    job = EditorJob(
        recipe(steps=4000, learning_rate=5e-3, adversarial_from=99, edits={"sunglasses": 1.0}), drawn_pairs
    )
    batch = job.batch(0)
    losses = [job.step(200 + k, batch)["inside"] for k in range(20)]
    assert losses[-1] < 0.9 * losses[0]


def test_readers_of_faces_pull_the_generator_too(drawn_pairs: Path) -> None:
    plain, read = (
        EditorJob(recipe(identity=weight, attributes=weight), drawn_pairs) for weight in (0.0, 5.0)
    )
    batch = plain.batch(0)
    without, values = plain.step(0, batch), read.step(0, batch)
    assert values.keys() - without.keys() == {"identity", "attributes"}
    assert min(values["identity"], values["attributes"]) > 0
    more = 5.0 * (values["identity"] + values["attributes"])
    assert values["loss"] == pytest.approx(without["loss"] + more, rel=1e-4)
    same = zip(plain.generator.parameters(), read.generator.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in same)


def test_a_stopped_training_ends_with_the_same_weights(drawn_pairs: Path, tmp_path: Path) -> None:
    through = EditorJob(recipe(), drawn_pairs)
    for step in range(4):
        seed_step(3, step)
        through.step(step, through.batch(step))
    options = {"steps": 4, "seed": 3, "recipe": {}, "log_every": 1}
    assert not run_training(EditorJob(recipe(), drawn_pairs), tmp_path, max_minutes=1e-9, **options)
    assert run_training(EditorJob(recipe(), drawn_pairs), tmp_path, **options)
    resumed = EditorJob(recipe(), drawn_pairs)
    resumed.load(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["job"])
    for name, value in through.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name
    assert (tmp_path / "export" / "flow_gan.safetensors").stat().st_size < 5e6


def test_validation_tells_error_and_leak_of_each_edit(drawn_pairs: Path) -> None:
    values = EditorJob(recipe(), drawn_pairs).validate()
    assert 0.5 < values["error_sunglasses"] < 1.5
    assert values["leak_hair_colour"] >= 0


def test_hair_is_measured_by_the_edits_it_knows(tmp_path: Path, editor: FlowGanEditor) -> None:
    write_person(tmp_path, 19, ("hair_colour", "hair_bald"))
    rows, _ = evaluate_truth(tmp_path, [editor, load_editor("null")], 1, None, None)
    edits = {name: {row.edit for row in rows if row.editor == name} for name in ("flow-gan", "null")}
    assert edits == {"flow-gan": {"hair_colour"}, "null": {"hair_colour", "hair_bald"}}
