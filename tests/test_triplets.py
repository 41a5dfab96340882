"""The plan keeps its ratios and its promises; assembly keeps ids, licences and reasons."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dataset import make_face

from fstriplets.config import PipelineConfig, load_config
from fstriplets.edits.base import EDIT_GROUPS
from fstriplets.records import Edit, Photo, content_id
from fstriplets.resources import resource
from fstriplets.triplets import (
    KINDS,
    expected_triplets,
    form_triplet,
    plan_triplets,
    possible_edits,
    split_of,
)
from fstriplets.triplets.pairing import Pairing


def people(count: int, low: int = 5, high: int = 20):
    rng = random.Random(7)
    for i in range(count):
        yield f"p{i}", [make_face(f"p{i}", k) for k in range(rng.randint(low, high))]


def test_ratios_hold_over_a_thousand_people():
    config = load_config(resource("pipelines", "fstriplets-paper.yaml"))
    kinds, edits, total = Counter(), {group: Counter() for group in ("identity", "attribute")}, 0
    for identity_id, faces in people(1000):
        for planned in plan_triplets(identity_id, faces, config):
            kinds[planned.kind] += 1
            edits[EDIT_GROUPS[planned.edit.edit]][planned.edit.edit] += 1
            total += 1
    wanted = config.active_kinds()
    for kind, ratio in wanted.items():
        assert kinds[kind] / total == pytest.approx(ratio / sum(wanted.values()), abs=0.01)
    for group, counts in edits.items():
        ratios = {name: e.ratio for name, e in config.edits.items() if EDIT_GROUPS[name] == group}
        for name, ratio in ratios.items():
            share = counts[name] / sum(counts.values())
            assert share == pytest.approx(ratio / sum(ratios.values()), abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 12),
    per_photo=st.floats(0.1, 40),
    strengths=st.integers(1, 4),
    cap=st.integers(0, 30),
    seed=st.integers(0, 2**62),
    order=st.randoms(use_true_random=False),
)
def test_plan_is_unique_capped_and_blind_to_order(count, per_photo, strengths, cap, seed, order):
    config = PipelineConfig(
        seed=seed,
        triplets_per_photo=per_photo,
        strengths_per_edit=strengths,
        max_triplets_per_identity=cap,
    )
    faces = [make_face("p", k) for k in range(count)]
    planned = plan_triplets("p", faces, config)
    assert len(set(planned)) == len(planned)
    assert len(planned) <= round(per_photo * count)
    assert not cap or len(planned) <= cap
    known = {face.face_id for face in faces}
    for triplet in planned:
        kind = KINDS[triplet.kind]
        assert {triplet.first, triplet.second} <= known
        assert triplet.edit.face_id == triplet.second
        assert EDIT_GROUPS[triplet.edit.edit] == kind.group
        assert (triplet.first == triplet.second) == (kind.photos == 1)
        low, high = config.edits[triplet.edit.edit].strength
        assert low <= triplet.edit.strength <= high
    order.shuffle(faces)
    assert plan_triplets("p", [*faces, faces[0]], config) == planned


@pytest.mark.parametrize("photos", [5, 10, 19])
def test_number_of_triplets_is_as_asked_and_as_expected(photos):
    config = PipelineConfig(triplets_per_photo=3.3)
    faces = [make_face("p", k) for k in range(photos)]
    assert len(plan_triplets("p", faces, config)) == round(3.3 * photos) == expected_triplets(photos, config)


def test_faces_are_used_evenly():
    faces = [make_face("p", k) for k in range(8)]
    uses = Counter(p.second for p in plan_triplets("p", faces, PipelineConfig()))
    assert len(uses) == 8
    assert max(uses.values()) - min(uses.values()) <= 1


def test_equal_edits_are_shared():
    config = PipelineConfig(triplets_per_photo=40)
    faces = [make_face("p", k) for k in range(6)]
    planned = plan_triplets("p", faces, config)
    made = {p.edit for p in planned}
    assert len(made) == len({(e.face_id, e.edit) for e in made}) == 6 * 5
    assert made == {edit for face in faces for edit in possible_edits(face, config)}


def test_several_strengths_differ_and_stay_fixed():
    config = PipelineConfig(triplets_per_photo=60, strengths_per_edit=3)
    faces = [make_face("p", k) for k in range(5)]
    strengths: dict[tuple[str, str], set[float]] = {}
    for planned in plan_triplets("p", faces, config):
        strengths.setdefault((planned.edit.face_id, planned.edit.edit), set()).add(planned.edit.strength)
    assert {len(found) for found in strengths.values()} == {3}


def test_combinations_run_out_and_fewer_come():
    config = PipelineConfig(
        triplets_per_photo=100, kinds={"identity_target": 1.0}, edits={"aging": {"strength": 0.7}}
    )
    faces = [make_face("p", k) for k in range(5)]
    planned = plan_triplets("p", faces, config)
    assert len(planned) == 5 == expected_triplets(5, config)
    assert {p.edit.strength for p in planned} == {0.7}


def test_one_photo_gives_no_pairs():
    planned = plan_triplets("p", [make_face("p", 0)], PipelineConfig(min_images=1, triplets_per_photo=20))
    assert planned
    assert "pair_identity" not in {p.kind for p in planned}
    assert plan_triplets("p", [], PipelineConfig()) == []


@pytest.mark.parametrize(
    "measure",
    [
        lambda k: {"yaw": 30.0 * k, "pitch": 0.0},
        lambda k: {"attributes": {"smile": float(k)}},
    ],
)
def test_pairs_are_of_different_moments(measure):
    # Three alike and three alike: every partner must come from the other half.
    faces = [make_face("p", k, **measure(k % 2)) for k in range(6)]
    pairing = Pairing(faces)
    for second in range(6):
        assert (pairing.partner(second, set()) - second) % 2 == 1


def test_pairs_use_every_photo_as_source():
    faces = [make_face("p", k, yaw=float(k)) for k in range(10)]
    pairing = Pairing(faces)
    uses = Counter(pairing.partner(i % 10, set()) for i in range(40))
    assert len(uses) == 10
    assert max(uses.values()) <= 8


def test_pairing_of_many_photos_never_repeats():
    faces = [make_face("p", k) for k in range(200)]
    pairing, met = Pairing(faces), set()
    for _ in range(199):
        partner = pairing.partner(3, met)
        assert partner != 3
        assert partner not in met
        met.add(partner)


def test_landmarks_tell_expressions_apart():
    import dataclasses

    calm = [(float(x), float(y)) for x, y in zip(range(68), range(68), strict=True)]
    wide = list(calm)
    wide[66] = (calm[66][0], calm[66][1] + 40.0)  # open mouth
    faces = [
        dataclasses.replace(make_face("p", k), landmarks=tuple(wide if k == 4 else calm)) for k in range(6)
    ]
    assert Pairing(faces).partner(0, set()) == 4


def test_splits_follow_shares_and_stay_put():
    config = PipelineConfig()
    splits = Counter(split_of(f"person {i}", config) for i in range(4000))
    assert splits["train"] / 4000 == pytest.approx(0.9, abs=0.02)
    assert splits["val"] / 4000 == pytest.approx(0.05, abs=0.02)
    turned = PipelineConfig(splits={"test": 0.05, "train": 0.9, "val": 0.05}, seed=99)
    assert all(split_of(f"person {i}", turned) == split_of(f"person {i}", config) for i in range(200))
    assert {split_of(str(i), PipelineConfig(splits={"all": 3.0, "none": 0.0})) for i in range(50)} == {"all"}


def _edit(planned, **changes) -> Edit:
    values = {
        "edit_id": "e" * 20, "face_id": planned.edit.face_id, "identity_id": "p",
        "edit": planned.edit.edit, "strength": planned.edit.strength, "editor": "warp",
        "fingerprint": "f", "seed": planned.edit.seed, "weights_licence": "research only",
        "values": {"identity_similarity": 0.4},
    }  # fmt: skip
    return Edit(**{**values, **changes})


@pytest.mark.parametrize("kind", list(KINDS))
def test_triplets_have_the_members_of_their_kind(kind):
    config = PipelineConfig(kinds={kind: 1.0})
    planned = plan_triplets("p", [make_face("p", k) for k in range(5)], config)[0]
    triplet = form_triplet(planned, _edit(planned), Photo("a", "p", "a"), Photo("b", "p", "b"))
    source, target, result = triplet.source_id, triplet.target_id, triplet.result_id
    expected = {
        "pair_identity": (planned.first, "e" * 20, planned.second),
        "identity_target": (planned.first, "e" * 20, planned.first),
        "identity_source": ("e" * 20, planned.first, "e" * 20),
        "attribute_target": (planned.first, "e" * 20, "e" * 20),
        "attribute_source": ("e" * 20, planned.first, planned.first),
    }[kind]
    assert (source, target, result) == expected
    assert getattr(triplet, f"{triplet.real}_id") in (planned.first, planned.second)
    assert triplet.triplet_id == content_id("p", kind, source, target, result)
    assert (triplet.identity_similarity, triplet.weights_licence) == (0.4, "research only")


def test_licences_and_consent_of_both_photos_are_kept():
    planned = plan_triplets("p", [make_face("p", k) for k in range(5)], PipelineConfig())[0]

    def merged(a: str, b: str) -> str:
        return form_triplet(
            planned, _edit(planned), Photo("a", "p", "a", a, a), Photo("b", "p", "b", b, b)
        ).licence

    assert merged("CC0", "CC0") == "CC0"
    assert merged("CC0", "CC BY 4.0") == "CC0 + CC BY 4.0"
    assert merged("CC0", "") == "CC0 + unknown"
    assert merged("", "") == ""


def test_a_rejected_edit_rejects_its_triplet_with_its_reason():
    planned = plan_triplets("p", [make_face("p", k) for k in range(5)], PipelineConfig())[0]
    edit = _edit(planned, status="rejected", reason="identity_max", message="too alike")
    triplet = form_triplet(planned, edit, Photo("a", "p", "a"), Photo("b", "p", "b"))
    assert (triplet.status, triplet.reason, triplet.message) == ("rejected", "identity_max", "too alike")


def test_paper_recipe_states_the_released_ratios():
    config = load_config(resource("pipelines", "fstriplets-paper.yaml"))
    kinds = config.active_kinds()
    assert kinds["pair_identity"] == 0.06
    assert kinds["identity_target"] + kinds["identity_source"] == pytest.approx(0.024 + 0.054)
    assert kinds["attribute_target"] + kinds["attribute_source"] == pytest.approx(
        0.012 + 0.012 + 0.03 + 0.03 + 0.042 + 0.024
    )
    assert (config.min_images, config.image_size) == (5, 256)
