"""The edit stage, the registry and the accept gates, with tiny fake editors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

import fstriplets.registry
from fstriplets.config import PipelineConfig, load_config
from fstriplets.edits import EditResult, EditStage, load_editor
from fstriplets.edits.accept import judge, measure
from fstriplets.edits.registry import EDITORS
from fstriplets.edits.stage import from_tensor, to_tensor
from fstriplets.errors import ConfigError, FstripletsError, PhotoRejected
from fstriplets.faces.limits import PUBLIC, RECOGNISERS, IdentityLimits, limits_of
from fstriplets.records import AlignedFace, Face, PlannedEdit

SIZE = 32


class Brighten:
    """Adds strength/2 to the upper half; what it is told shapes it."""

    name = "brighten"
    edits = frozenset({"aging", "glasses"})
    fingerprint = "brighten-1"
    weights = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def edit(self, faces, edit, strength, seeds):
        self.batches.append(len(faces))
        mask = torch.zeros(len(faces), 1, *faces.shape[2:])
        mask[:, :, : SIZE // 2] = 1
        return EditResult((faces + mask * strength.view(-1, 1, 1, 1) / 2).clamp(-1, 1), mask)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """plug(name, editor): installs an editor as another package would, by an entry point."""
    points: list[EntryPoint] = []
    real = fstriplets.registry.entry_points
    monkeypatch.setattr(
        fstriplets.registry,
        "entry_points",
        lambda group: [*points, *real(group=group)] if group == "fstriplets.editors" else real(group=group),
    )

    def install(name: str, editor: object) -> object:
        module = type("module", (), {"make": staticmethod(lambda: editor)})
        monkeypatch.setitem(__import__("sys").modules, "a_package", module)
        points.append(EntryPoint(name, "a_package:make", "fstriplets.editors"))
        return editor

    yield install
    for point in points:
        EDITORS._loaded.pop(point.name, None)
    load_editor.cache_clear()


def a_face(i: int, points: int = 68) -> AlignedFace:
    pixels = np.random.default_rng(i).integers(20, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    face = Face(
        face_id=f"face{i}", photo_id=f"photo{i}", identity_id="someone", box=(0, 0, 1, 1),
        landmarks=tuple((float(k % 9) + 8, float(k // 9) + 8) for k in range(points)),
        transform=(1, 0, 0, 0, 1, 0), score=1, sharpness=1, brightness=100,
    )  # fmt: skip
    return AlignedFace(face, pixels)


def faces_of(count: int) -> dict[str, AlignedFace]:
    return {f"face{i}": a_face(i) for i in range(count)}


def planned(i: int, edit: str = "aging", strength: float = 0.5, editor: str = "brighten") -> PlannedEdit:
    return PlannedEdit(f"face{i}", edit, strength, editor, seed=i)


def a_config(*overrides: str) -> PipelineConfig:
    return load_config(None, ["editor=brighten", "edits=[aging, glasses]", *overrides])


def no_embedder(crops: np.ndarray, landmarks: np.ndarray) -> None:
    return None


def test_null_returns_every_face_bit_for_bit() -> None:
    config = load_config(None, ["editor=null"])
    faces = faces_of(3)
    made = list(EditStage(config, no_embedder).run(faces, [planned(i, editor="null") for i in range(3)]))
    assert [edit.status for _, edit, _ in made] == ["ok"] * 3
    for item, edit, pixels in made:
        assert np.array_equal(pixels, faces[item.face_id].pixels)
        assert edit.values == {}


def test_every_byte_survives_the_trip_through_a_tensor() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tensor = to_tensor([ramp, ramp])
    assert tensor.shape == (2, 3, 16, 16)
    assert float(tensor.min()) == -1.0
    assert float(tensor.max()) == 1.0
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(from_tensor(tensor[1]), ramp)
    assert from_tensor(torch.full((3, 4, 4), 7.0)).tolist() == [[[255] * 3] * 4] * 4
    assert from_tensor(torch.full((3, 4, 4), float("nan"))) is None


def test_edits_are_made_once_in_batches_by_editor_and_edit(plug) -> None:
    editor = plug("brighten", Brighten())
    config = a_config("batch_size=2")
    plan = [planned(i, edit) for i in range(3) for edit in ("aging", "glasses")]
    made = list(EditStage(config, no_embedder).run(faces_of(3), [*plan, *plan]))
    assert sorted(editor.batches) == [1, 1, 2, 2]
    assert sorted((p.face_id, p.edit) for p, _, _ in made) == sorted((p.face_id, p.edit) for p in plan)
    assert len({edit.edit_id for _, edit, _ in made}) == 6


def test_edit_id_names_face_edit_strength_seed_and_editor(plug) -> None:
    plug("brighten", Brighten())
    stage = EditStage(a_config(), no_embedder)
    faces = faces_of(2)

    def ids(*plan: PlannedEdit) -> list[str]:
        return [edit.edit_id for _, edit, _ in stage.run(faces, plan)]

    first = planned(0)
    assert ids(first) == ids(first)
    others = [
        replace(first, strength=0.6),
        replace(first, seed=9),
        replace(first, edit="glasses"),
        planned(1),
    ]
    assert len({*ids(first), *ids(*others)}) == 5


def test_pixels_are_kept_for_accepted_edits_only(plug) -> None:
    plug("brighten", Brighten())
    stage = EditStage(a_config(), no_embedder)
    (_, strong, pixels), (_, weak, nothing) = stage.run(faces_of(1), [planned(0), planned(0, strength=0.0)])
    assert strong.status == "ok"
    assert pixels.dtype == np.uint8
    assert pixels.shape == (SIZE, SIZE, 3)
    assert strong.values["inside_change"] == pytest.approx(0.25 * 127.5, abs=0.6)
    assert strong.values["changed_area"] == pytest.approx(0.5)
    assert strong.values["outside_change"] == 0
    assert (weak.status, weak.reason, nothing) == ("rejected", "no_change", None)
    assert "min_inside_change" in weak.message


def test_identity_gates_read_the_embedder(plug) -> None:
    plug("brighten", Brighten())
    angle = {"now": 0.0}

    def embed(crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        assert crops.shape == (1, SIZE, SIZE, 3)
        assert landmarks.shape == (1, 68, 2)
        brighter = crops[:, : SIZE // 2].mean() > crops[:, SIZE // 2 :].mean() + 10
        turn = np.radians(angle["now"] if brighter else 0.0)
        return np.array([[np.cos(turn), np.sin(turn)]], np.float32)

    def outcome(edit: str, degrees: float) -> tuple[str, float]:
        angle["now"] = degrees
        ((_, made, _),) = EditStage(a_config(), embed).run(faces_of(1), [planned(0, edit)])
        return made.reason, made.values["identity_similarity"]

    assert outcome("aging", 5) == ("identity_kept", pytest.approx(np.cos(np.radians(5))))
    assert outcome("aging", 45)[0] == ""
    assert outcome("aging", 89)[0] == "identity_lost"
    assert outcome("glasses", 5)[0] == ""
    assert outcome("glasses", 80)[0] == "identity_lost"


def _turned(degrees: float, recogniser: str, *overrides: str) -> tuple[str, str]:
    """Reason and message of an identity edit after which the embedding is turned so far."""
    turn = np.radians(degrees)

    def embed(crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        edited = crops[0, : SIZE // 2].mean() > crops[0, SIZE // 2 :].mean() + 10
        return np.array([[np.cos(turn), np.sin(turn)] if edited else [1, 0]], np.float32)

    stage = EditStage(a_config(*overrides), embed, limits=RECOGNISERS[recogniser])
    ((_, made, _),) = stage.run(faces_of(1), [planned(0)])
    return made.reason, made.message


def test_every_recogniser_has_its_own_gate_and_a_given_number_wins(plug) -> None:
    plug("brighten", Brighten())
    degrees = float(np.degrees(np.arccos(0.97)))
    assert _turned(degrees, "bundled") == ("", "")
    reason, message = _turned(degrees, "mobilefacenet_foamliu")
    assert reason == "identity_kept"
    assert "accept.identity_max 0.95" in message
    reason, message = _turned(degrees, "bundled", "accept.identity_max=0.9")
    assert reason == "identity_kept"
    assert "accept.identity_max 0.9" in message
    assert _turned(degrees, "mobilefacenet_foamliu", "accept.identity_max=0.98")[0] == ""
    # one that does nothing fails with either
    assert _turned(4.0, "bundled")[0] == "identity_kept"


def test_limits_come_from_the_embedder_then_its_name_then_the_public_ones() -> None:
    own = IdentityLimits(0.1, 0.2, 0.0, 0.3)
    assert limits_of(type("Mine", (), {"name": "bundled", "limits": own})()) is own
    assert limits_of(type("Theirs", (), {"name": "bundled"})()) is RECOGNISERS["bundled"]
    assert limits_of(type("Other", (), {"name": "arcface-r100"})()) is PUBLIC
    assert limits_of(None) is PUBLIC
    given = load_config(None, ["identity_check.min_similarity=0.5", "accept.identity_min=0"])
    settled = RECOGNISERS["bundled"].settled(given)
    assert settled.min_similarity == 0.5
    assert settled.identity_min == 0  # nought is a number too
    assert settled.identity_max == RECOGNISERS["bundled"].identity_max


def test_stored_embeddings_are_used_for_the_original(plug) -> None:
    plug("brighten", Brighten())
    calls = []

    def embed(crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        calls.append(len(crops))
        return np.array([[0.6, 0.8]] * len(crops), np.float32)

    face = a_face(0)
    known = AlignedFace(replace(face.face, embedding=(1.0, 0.0)), face.pixels)
    ((_, edit, _),) = EditStage(a_config(), embed).run({"face0": known}, [planned(0)])
    assert calls == [1]
    assert edit.values["identity_similarity"] == pytest.approx(0.6)


def test_attribute_scores_gate_the_wanted_and_the_others(plug) -> None:
    plug("brighten", Brighten())

    def outcome(after: dict[str, float]) -> str:
        def scorer(crops: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
            edited = crops[:, : SIZE // 2].mean() > crops[:, SIZE // 2 :].mean() + 10
            return {name: np.full(len(crops), value if edited else 0.1) for name, value in after.items()}

        stage = EditStage(a_config(), no_embedder, attribute_scorer=scorer)
        ((_, edit, _),) = stage.run(faces_of(1), [planned(0, "glasses")])
        assert edit.values["attribute_glasses"] == pytest.approx(after["glasses"] - 0.1)
        return edit.reason

    assert outcome({"glasses": 0.9, "grin": 0.2}) == ""
    assert outcome({"glasses": 0.12, "grin": 0.2}) == "attribute_missing"
    assert outcome({"glasses": 0.9, "grin": 0.9}) == "attribute_drift"
    assert outcome({"glasses": 0.9, "chubbiness": 0.9}) == ""  # is recorded, but not trusted to reject
    assert outcome({"glasses": 0.9, "sunglasses": 0.9}) == ""  # looks like it: goes with the edit


def test_one_bad_face_costs_only_itself(plug) -> None:
    class Picky(Brighten):
        name = "picky"

        def edit(self, faces, edit, strength, seeds):
            if (seeds == 1).any():
                raise ValueError("cannot look at this")
            result = super().edit(faces, edit, strength, seeds)
            bald = (seeds == 2).nonzero()[:, 0].tolist()
            return replace(result, rejected={i: PhotoRejected("no_hair", "bald") for i in bald})

    plug("brighten", Picky())
    made = {
        p.face_id: (e.status, e.reason, pixels is None)
        for p, e, pixels in EditStage(a_config(), no_embedder).run(
            faces_of(4), [planned(i) for i in range(4)]
        )
    }
    assert made == {
        "face0": ("ok", "", False),
        "face1": ("failed", "editor_error", True),
        "face2": ("rejected", "no_hair", True),
        "face3": ("ok", "", False),
    }


def test_a_streak_of_exceptions_is_an_error_that_names_the_editor(plug) -> None:
    class Broken(Brighten):
        def edit(self, faces, edit, strength, seeds):
            raise RuntimeError("no kernel image")

    plug("brighten", Broken())
    stage = EditStage(a_config(), no_embedder)
    with pytest.raises(FstripletsError, match=r"brighten.*no kernel image"):
        list(stage.run(faces_of(40), [planned(i) for i in range(40)]))


@pytest.mark.parametrize(
    ("images", "mask", "message"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, SIZE, SIZE), r"`images` must be \[1, 3, 32, 32\]"),
        (torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, SIZE, SIZE), r"`mask` must be \[1, 1, 32, 32\]"),
        (torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8), None, "float tensor, got torch.uint8"),
        (None, None, "float tensor, got NoneType"),
    ],
)
def test_wrong_shapes_are_an_error_that_names_the_editor(plug, images, mask, message: str) -> None:
    class Wrong(Brighten):
        def edit(self, faces, edit, strength, seeds):
            return EditResult(images, mask)

    plug("brighten", Wrong())
    with pytest.raises(FstripletsError, match=f"'brighten'.*{message}"):
        list(EditStage(a_config(), no_embedder).run(faces_of(1), [planned(0)]))


def test_nan_is_a_failed_row(plug) -> None:
    class Nan(Brighten):
        def edit(self, faces, edit, strength, seeds):
            result = super().edit(faces, edit, strength, seeds)
            return replace(result, images=result.images * float("nan"))

    plug("brighten", Nan())
    ((_, edit, pixels),) = EditStage(a_config(), no_embedder).run(faces_of(1), [planned(0)])
    assert (edit.status, edit.reason, pixels) == ("failed", "not_finite", None)


def test_editors_get_what_they_need(plug) -> None:
    class Needy(Brighten):
        needs = ("landmarks", "poses")

        def edit(self, faces, edit, strength, seeds, *, landmarks, poses):
            assert landmarks.shape == (2, 68, 2)
            assert poses.tolist() == [[10.0, 0.0, -5.0], [0.0, 0.0, 0.0]]
            return super().edit(faces, edit, strength, seeds)

    plug("brighten", Needy())
    turned, frontal = a_face(0), a_face(1)
    turned = AlignedFace(replace(turned.face, yaw=10.0, pitch=0.0, roll=-5.0), turned.pixels)
    made = EditStage(a_config(), no_embedder).run(
        {"face0": turned, "face1": frontal}, [planned(0), planned(1)]
    )
    assert [edit.status for _, edit, _ in made] == ["ok", "ok"]


def test_five_points_become_sixty_eight(plug) -> None:
    class Needy(Brighten):
        needs = ("landmarks",)

        def edit(self, faces, edit, strength, seeds, *, landmarks):
            assert landmarks.shape == (1, 68, 2)
            return super().edit(faces, edit, strength, seeds)

    plug("brighten", Needy())
    face = a_face(0)
    five = ((10.0, 12.0), (22.0, 12.0), (16.0, 18.0), (11.0, 24.0), (21.0, 24.0))
    few = AlignedFace(replace(face.face, landmarks=five), face.pixels)
    ((_, edit, _),) = EditStage(a_config(), no_embedder).run({"face0": few}, [planned(0)])
    assert edit.status == "ok"


def test_unknown_editors_and_edits_are_config_errors(plug) -> None:
    plug("brighten", Brighten())
    with pytest.raises(ConfigError, match=r"editor 'brihgten'; choose one of: brighten, .*null, .*warp"):
        EditStage(load_config(None, ["editor=brihgten"]), no_embedder)
    with pytest.raises(ConfigError, match=r"'brighten' cannot do grin; it does aging, glasses.*edits\.grin"):
        EditStage(load_config(None, ["editor=brighten", "edits=[grin]"]), no_embedder)
    plug("halfway", type("Halfway", (), {"name": "halfway", "edits": frozenset()})())
    with pytest.raises(ConfigError, match=r"editor 'halfway' .* lacks fingerprint, weights, edit"):
        load_editor("halfway")


def test_weights_and_fingerprints_reach_the_rows(plug) -> None:
    class Weighted(Brighten):
        weights = (type("W", (), {"sha256": "ab", "licence": "MIT"})(),)

    plug("brighten", Weighted())
    stage = EditStage(a_config(), no_embedder)
    ((_, edit, _),) = stage.run(faces_of(1), [planned(0)])
    assert (edit.weights_sha256, edit.weights_licence, edit.fingerprint) == ("ab", "MIT", "brighten-1")
    assert stage.weights == {"brighten:0": "ab"}
    assert stage.fingerprint == "brighten-1"
    assert stage.seconds > 0


def test_measure_separates_inside_from_outside() -> None:
    original = np.full((10, 10, 3), 100, np.uint8)
    edited = original.copy()
    edited[:5] += 30  # inside
    edited[9, 9] += 90  # one leaked pixel of fifty
    mask = np.zeros((10, 10), np.float32)
    mask[:5] = 1
    values = measure(original, edited, mask)
    assert values["inside_change"] == pytest.approx(30)
    assert values["outside_change"] == pytest.approx(90 / 50)
    assert values["changed_area"] == pytest.approx(0.51)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"outside_change": 9.0}, "leaked_outside"),
        ({"changed_area": 0.97}, "area_too_large"),
        ({"inside_change": 0.1}, "no_change"),
    ],
)
def test_pixel_gates(change: dict[str, float], reason: str) -> None:
    values = {"inside_change": 20.0, "outside_change": 0.0, "changed_area": 0.3} | change
    got, message = judge("grin", values, PipelineConfig().accept, PUBLIC)
    assert got == reason
    assert ("accept." in message) == bool(reason)


def test_the_editor_in_the_docs_runs(plug) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "editors.md").read_text(encoding="utf-8")
    source = page.split("```python\n")[1].split("```")[0]
    names: dict[str, type] = {}
    exec(source, names)
    plug("rosy", names["Rosy"]())
    stage = EditStage(load_config(None, ["editor=rosy", "edits=[aging]"]), no_embedder)
    ((_, edit, pixels),) = stage.run(faces_of(1), [planned(0, editor="rosy", strength=1.0)])
    assert (edit.status, edit.values["outside_change"]) == ("ok", 0)
    assert pixels[..., 0].mean() > faces_of(1)["face0"].pixels[..., 0].mean()
