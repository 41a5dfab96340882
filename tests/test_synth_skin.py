"""Skin statistics, the people drawn from them, and how far apart people are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fstriplets.errors import CorpusError, UserError

pytest.importorskip("numba")
pytest.importorskip("scipy")

from fstriplets.synth import calibrate, evaluate, likeness, measures, proportions, traits
from fstriplets.synth.browshape import draw_brow_shape
from fstriplets.synth.facemodel import FaceModel, load_face_model
from fstriplets.synth.skin import load_skin, sample_skin, shipped_skin, smile_folds, without_stubble
from fstriplets.synth.skin.aggregate import MINIMUM_PEOPLE, _principal, _pull_push
from fstriplets.synth.skin.complexion import add_complexion, calm_colours
from fstriplets.synth.skin.delight import Regions, blur, reflectance, studio_light
from fstriplets.synth.skin.detail import LEVELS, learn_detail, pyramid, synthesise_detail
from fstriplets.synth.skin.fit import expression_basis, fit_person, project
from fstriplets.synth.skin.learn import study
from fstriplets.synth.skin.sample import _base_colour
from fstriplets.synth.skin.spots import add_spots
from fstriplets.synth.skin.unwrap import Unwrapped, warp_field


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> FaceModel:
    return load_face_model(request.getfixturevalue("shared_data") / "face_model" / "ict_facekit_light.npz")


# what ships


def test_shipped_file_is_small_credited_and_holds_no_row_a_person() -> None:
    path = Path(likeness.__file__).parent / "data" / "skin.npz"
    skin = shipped_skin()
    assert path.stat().st_size < 4e6
    assert "CC BY 4.0" in skin.credit
    assert skin.people >= 50
    for name, value in vars(skin).items():
        assert skin.people not in np.shape(value), name
    assert np.linalg.eigvalsh(skin.correlation).min() > 0


def test_a_missing_or_foreign_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learn-skin"):
        load_skin(tmp_path / "absent.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(UserError, match="not a skin statistics file"):
        load_skin(tmp_path / "other.npz")


def test_statistics_survive_saving(tmp_path: Path) -> None:
    shipped_skin().save(tmp_path / "again.npz")
    again = load_skin(tmp_path / "again.npz")
    first, second = (sample_skin(s, np.random.default_rng(5)) for s in (shipped_skin(), again))
    assert np.array_equal(first.texture, second.texture)


# people drawn


def test_skin_of_a_seed_is_the_same_and_of_another_differs() -> None:
    one, same, other = (sample_skin(shipped_skin(), np.random.default_rng(s)) for s in (1, 1, 2))
    assert one.texture.shape == (512, 512, 3)
    assert one.texture.dtype == np.float32
    assert one.texture.min() >= 0
    assert one.texture.max() <= 1
    assert np.array_equal(one.texture, same.texture)
    assert np.array_equal(one.identity, same.identity)
    assert np.abs(one.texture - other.texture).mean() > 0.01


def test_skin_is_of_skin_colour_from_dark_to_fair() -> None:
    skin, rng = shipped_skin(), np.random.default_rng(0)
    bases = np.stack([_base_colour(skin, *rng.normal(size=(1,)), rng.normal(size=2)) for _ in range(200)])
    assert np.all(bases[:, 0] > bases[:, 1])
    assert np.all(bases[:, 1] > bases[:, 2])
    light = bases @ [0.299, 0.587, 0.114]
    assert light.min() < 0.42 < 0.62 < light.max()


def test_age_and_freckles_show() -> None:
    fair = next(s for s in range(50) if sample_skin(shipped_skin(), np.random.default_rng(s)).tone > 0.6)
    young, old, spotted = (
        sample_skin(shipped_skin(), np.random.default_rng(fair), age=age, freckles=freckles)
        for age, freckles in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    cheeks = np.s_[190:270, 130:210]

    def roughness(skin: np.ndarray) -> float:
        return float(np.std(skin[cheeks] - blur(skin, 6)[cheeks]))

    assert roughness(old.texture) > 1.05 * roughness(young.texture)
    assert spotted.texture[cheeks].mean() < young.texture[cheeks].mean()


def test_spots_darken_and_take_blue_most() -> None:
    clean = np.ones((512, 512, 3), np.float32)
    spotted = add_spots(clean, np.random.default_rng(0), age=0.8, freckles=0.8)
    assert spotted.max() <= 1
    change = 1 - spotted.reshape(-1, 3).mean(0)
    assert change[2] > change[1] > change[0] > 0


def test_moles_stay_where_they_are_with_age() -> None:
    clean = np.ones((512, 512, 3), np.float32)
    young, old = (
        add_spots(clean, np.random.default_rng(4), age=age, freckles=0.3)[..., 1] for age in (0.2, 0.9)
    )
    assert (old <= young + 1e-6).all()
    assert (old < young - 0.02).any()


def test_identity_of_a_skin_does_not_depend_on_age() -> None:
    young, old = (sample_skin(shipped_skin(), np.random.default_rng(1), age=age) for age in (0.0, 1.0))
    assert np.array_equal(young.identity, old.identity)


def test_smile_darkens_the_folds_beside_the_mouth_and_not_the_forehead() -> None:
    folds = smile_folds(shipped_skin())
    assert folds.shape == (512, 512)
    assert folds.min() < -0.08
    assert np.abs(folds[20:70, 200:310]).mean() < 0.03


# learning


def test_a_component_that_one_person_carries_is_dropped() -> None:
    rng = np.random.default_rng(0)
    pattern = rng.normal(size=(2, 256, 128, 3)).astype(np.float32)
    maps = [rng.normal() * 0.05 * pattern[0] for _ in range(30)]
    maps[4] = maps[4] + pattern[1]  # by far the largest variance, and one person's own
    found = _principal(maps, 4)
    rebuilt = found.parts.reshape(len(found.parts), -1).astype(np.float64)
    own = pattern[1].ravel()
    likeness_to_one = np.abs(rebuilt @ own) / np.linalg.norm(rebuilt, axis=1) / np.linalg.norm(own)
    assert len(found.parts) >= 1
    assert likeness_to_one.max() < 0.2
    assert (1 / ((found.weights / np.sqrt(30)) ** 4).sum(0)).min() >= MINIMUM_PEOPLE


def test_detail_keeps_where_and_how_strong_and_loses_what() -> None:
    rng = np.random.default_rng(1)
    strength = np.where(np.arange(512) < 256, 0.01, 0.03)[:, None, None]  # rough below
    people = [
        (rng.normal(size=(512, 512, 1)) * strength * [1, 1.2, 1.4]).astype(np.float32) for _ in range(4)
    ]
    learned = learn_detail(people, [np.ones((512, 512), np.float32)] * 4)
    made = synthesise_detail(*learned, np.random.default_rng(2))
    top, bottom = made[20:230].std(), made[280:490].std()
    assert bottom / top == pytest.approx(3, rel=0.15)
    assert bottom == pytest.approx(people[0][280:490].std(), rel=0.25)
    assert abs(np.corrcoef(made.ravel(), people[0].ravel())[0, 1]) < 0.02
    assert len(pyramid(made)) == LEVELS


def test_filling_keeps_what_is_known_and_reaches_everywhere() -> None:
    image, weight = np.full((64, 64, 3), 0.5, np.float32), np.zeros((64, 64), np.float32)
    weight[20:30, 20:30] = 1
    image[weight == 0] = 99
    assert np.allclose(_pull_push(image, weight), 0.5, atol=1e-3)


def test_warp_field_carries_points() -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(20, 180, (30, 2))
    end = start + np.array([6, -4])
    field = warp_field(start, end, (200, 200))
    assert np.allclose(field[40:160, 40:160], [6, -4], atol=0.5)


def test_light_is_found_and_divided_out() -> None:
    side = 96
    row, col = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    normal = np.stack([col * 0.7, -row * 0.7, np.sqrt(np.clip(1 - 0.49 * (col**2 + row**2), 0.02, 1))], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = 0.7 + 0.3 * normal[..., 2] + 0.15 * normal[..., 0]
    everywhere, none = np.ones((side, side), bool), np.zeros((side, side), bool)
    blank = np.zeros((side, side), np.float32)
    regions = Regions(everywhere, blank, everywhere, none, none, none, blank + 1)
    skins = [np.array([0.4, 0.28, 0.22]), np.array([0.15, 0.09, 0.06])]
    photos = [Unwrapped((light[..., None] * skin).astype(np.float32), normal) for skin in skins]
    trusted = np.ones((side, side), np.float32)
    found = studio_light(photos, [trusted, trusted], regions)
    for photo, skin in zip(photos, skins, strict=True):
        result = reflectance(photo, trusted, found, regions)
        assert result.ratio.std() < 0.25 * (light ** (1 / 2.2)).std()
        assert result.base[2] / result.base[0] == pytest.approx((skin[2] / skin[0]) ** (1 / 2.2), rel=0.02)


@pytest.mark.real
def test_fit_finds_one_identity_in_two_photos(model: FaceModel) -> None:
    rng = np.random.default_rng(3)
    basis = expression_basis(model)
    shape = model.neutral + np.tensordot(rng.normal(size=60), model.identity[:60], 1)
    smile = basis[0] * 0.8
    poses = [np.array([0.05, 0.1, 0.0, 500, 480, 3.6]), np.array([-0.03, -0.1, 0.05, 510, 470, 3.6])]
    marks = [
        project((shape + extra)[model.landmarks68], pose)[0]
        for extra, pose in zip((0 * smile, smile), poses, strict=True)
    ]
    fit = fit_person(model, marks, basis, resting=(True, False))
    assert max(photo.error.mean() for photo in fit.photos) < 2.0
    assert np.allclose(fit.photos[1].pose[:3], poses[1][:3], atol=0.06)


@pytest.mark.real
def test_too_few_people_are_refused(model: FaceModel, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "somebody").mkdir()
    yunet = next((shared_data / "models").glob("*yunet*.onnx"))
    mesh = shared_data / "models" / "mediapipe_face_landmark_468.onnx"
    with pytest.raises(CorpusError, match=r"neutral\.jpg"):
        study(tmp_path, model=model, detector=yunet, mesh=mesh)


# how far apart people are


def _drawn(seed: int, modes: np.ndarray) -> np.ndarray:
    return likeness.draw_identity(seed, modes, np.random.default_rng(seed).normal(), bool(seed % 2))


def test_identity_weights_of_a_seed() -> None:
    modes = np.random.default_rng(0).normal(size=100)
    one = likeness.draw_identity(4, modes, 0.0, True)
    assert one.shape == (likeness.IDENTITY_SIZE,)
    assert np.array_equal(one, likeness.draw_identity(4, modes, 0.0, True))
    assert np.abs(one).max() <= likeness.LIMIT
    assert not np.array_equal(one[100:], likeness.draw_identity(5, modes, 0.0, True)[100:])


def test_people_have_proportions_that_come_together_as_real_peoples_do() -> None:
    learned, seeds = likeness.shipped_likeness(), range(80)
    modes = [np.random.default_rng(seed).normal(size=likeness.MODES) for seed in seeds]
    people = np.stack([_drawn(seed, m) for seed, m in zip(seeds, modes, strict=True)])
    brows = np.array([draw_brow_shape(seed) for seed in seeds])
    free = np.random.default_rng(0).normal(size=people.shape) * likeness._spread()  # drawn, but not moved

    def seen(weights: np.ndarray) -> np.ndarray:
        return learned.centre + weights @ learned.rows.T + brows @ learned.brows.T

    differ = learned.spread > 0
    odd = np.sqrt((seen(people)[:, differ] ** 2).mean(1))  # 1 is as far from the mean as real people are
    assert 0.7 < np.median(odd) < likeness.PROPORTION_SPREAD * 1.1
    assert odd.max() < likeness.PROPORTION_SPREAD * likeness.FARTHEST * 1.1
    assert np.median(np.sqrt((seen(free)[:, differ] ** 2).mean(1))) > 1.3 * np.median(odd)
    assert (
        np.abs(seen(people)[:, ~differ]).mean() < 0.5 * np.abs(seen(free)[:, ~differ]).mean()
    )  # lips closed


def test_faces_go_with_skin_tone_and_sex() -> None:
    learned, seeds = likeness.shipped_likeness(), range(60)
    modes = [np.random.default_rng(seed).normal(size=likeness.MODES) for seed in seeds]

    def mean(tone: float, masculine: bool) -> np.ndarray:
        people = [likeness.draw_identity(s, m, tone, masculine) for s, m in zip(seeds, modes, strict=True)]
        return np.mean(people, 0) @ learned.rows.T

    by_tone, by_sex = mean(1.5, True) - mean(-1.5, True), mean(0.0, True) - mean(0.0, False)
    for seen, column in ((by_tone, 0), (by_sex, 1)):
        strongest = np.abs(learned.belongs[:, column]).argmax()
        assert np.abs(learned.belongs[strongest, column]) > 0.3
        assert np.sign(seen[strongest]) == np.sign(learned.belongs[strongest, column])
        assert np.abs(seen[strongest]) > 0.4  # deviations of real people


def test_what_goes_with_tone_and_sex_is_found_and_chance_is_not() -> None:
    rng = np.random.default_rng(8)
    tones, masculine = rng.normal(size=70), rng.random(70) < 0.5
    proportions_seen = rng.normal(size=(70, 12))
    proportions_seen[:, 0] += 0.8 * tones
    proportions_seen[:, 1] += np.where(masculine, 0.9, -0.9)
    found = calibrate.belonging(proportions_seen, tones, masculine)
    assert found.shape == (12, 2)
    assert 0.4 < found[0, 0] < 1.1
    assert 0.5 < found[1, 1] < 1.2
    assert np.median(np.abs(found[2:])) == 0
    assert np.abs(found[2:]).max() < 0.25


def test_eyes_and_depth_vary_as_in_the_scans() -> None:
    learned, seeds = likeness.shipped_likeness(), range(80)
    modes = [np.random.default_rng(seed).normal(size=likeness.MODES) for seed in seeds]
    people = np.stack([_drawn(seed, m) for seed, m in zip(seeds, modes, strict=True)])
    seen = people @ learned.measures.T
    assert learned.measures.shape == (len(measures.MEASURES), likeness.IDENTITY_SIZE)
    assert 0.6 < seen.std(0).mean() < likeness.MEASURE_SPREAD
    assert np.abs(seen).max() < likeness.MEASURE_LIMIT * 1.5
    free = np.random.default_rng(0).normal(size=people.shape) * likeness._spread()  # drawn, but not moved
    assert (free @ learned.measures.T).std(0).mean() > 1.3 * seen.std(0).mean()


def test_aligned_faces_keep_shape_alone() -> None:
    rng = np.random.default_rng(0)
    face = rng.normal(size=(468, 2)) * 50 + 200
    turn = np.radians(20)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = 1.7 * face @ spin.T + [30, -12]
    reference = rng.normal(size=(79, 2))
    first, second = proportions.align_faces(np.stack([face, moved]), reference)
    np.testing.assert_allclose(first, second, atol=1e-9)
    wider = face * [1.2, 1.0]
    assert np.abs(proportions.align_faces(wider[None], reference)[0] - first).max() > 0.01
    points = first.reshape(-1, 2)
    np.testing.assert_allclose(points[36], points[45] * [-1, 1], atol=1e-9)  # outer corners of the eyes


def test_proportions_need_people_and_name_nobody() -> None:
    faces = (
        np.random.default_rng(1).normal(size=(60, 468, 2))
        + np.random.default_rng(2).normal(size=(468, 2)) * 9
    )
    learned = proportions.real_proportions(faces)
    assert learned.components.shape == (proportions.COMPONENTS, 158)
    np.testing.assert_allclose(learned.of(faces).std(0, ddof=1), 1, atol=0.05)
    with pytest.raises(ValueError, match="too few"):
        proportions.real_proportions(faces[:30])
    assert all(60 not in value.shape for value in learned)


def test_what_a_weight_does_is_found_again() -> None:
    rng = np.random.default_rng(3)
    factors, slope = rng.normal(0.3, [1.0, 0.1, 0.8], (400, 3)), rng.normal(size=(2, 3))
    found, centre, noise = proportions.explain(
        factors @ slope.T + 0.7 + 0.1 * rng.normal(size=(400, 2)), factors
    )
    np.testing.assert_allclose(found[:, [0, 2]], slope[:, [0, 2]], atol=0.1)
    np.testing.assert_allclose(centre, 0.7, atol=0.15)
    np.testing.assert_allclose(noise, 0.1, atol=0.05)
    mean = np.array([1.0, 0.0, 0.0])
    embeddings = mean + factors[:, 2:] * [-0.1, 0.0, 0.3]
    look = calibrate.common_look(factors, embeddings)
    assert look[2] < 0
    assert np.abs(look[:2]).max() < 0.3 * abs(look[2])


def test_complexion_is_a_persons_own() -> None:
    plain = np.ones((512, 512, 3), np.float32)
    first, again, other = (add_complexion(plain, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.005
    assert first.min() > 0.4
    assert first.max() < 1.3
    assert (first[..., 0] > 0.88 * first[..., 1]).all()  # skin turns red or brown, never plainly green


def test_colours_no_skin_has_are_calmed_and_light_and_detail_stay() -> None:
    rng = np.random.default_rng(0)
    skin = np.exp(0.05 * rng.normal(size=(512, 512, 1))).astype(np.float32).repeat(3, 2)
    patch = skin.copy()
    patch[100:200, 100:200] *= np.exp(np.array([-0.3, 0.35, -0.05], np.float32))  # green
    calm = calm_colours(patch)
    middle = np.log(calm[130:170, 130:170])
    hue = (middle - middle.mean(-1, keepdims=True)).mean((0, 1))
    assert np.linalg.norm(hue) < 0.1
    assert middle.mean() == pytest.approx(np.log(patch[130:170, 130:170]).mean(), abs=1e-3)
    np.testing.assert_allclose(calm[300:, 300:], skin[300:, 300:], rtol=0.01)


def test_a_smooth_face_has_no_shadow_of_a_beard() -> None:
    seeds = range(40)
    skins = [sample_skin(shipped_skin(), np.random.default_rng(seed)) for seed in seeds]
    dark = max(skins, key=lambda skin: skin.stubble)
    smooth = without_stubble(dark)
    chin, cheek = np.s_[330:345, 230:280], np.s_[200:240, 130:170]
    assert smooth.texture[chin].mean() > 1.08 * dark.texture[chin].mean()
    np.testing.assert_allclose(smooth.texture[cheek], dark.texture[cheek], rtol=0.01)


@pytest.mark.real
def test_eyeballs_move_with_their_lids(model: FaceModel) -> None:
    modes = traits.trait_modes(model)
    assert modes.shape == (len(traits.TRAITS), len(model.neutral), 3)
    spacing = modes[traits.TRAITS.index("eye_spacing")]
    ball = np.unique(model.faces[model.material == model.materials.index("M_ScleraRight")])
    for lid in model.landmarks68[[37, 38, 40, 41]]:
        nearest = ball[np.argmin(np.linalg.norm(model.neutral[ball] - model.neutral[lid], axis=1))]
        assert np.abs(spacing[nearest] - spacing[lid]).max() < 0.02
        assert np.abs(spacing[lid, 0]) > 0.15
    back = model.neutral[:, 2] < -1
    assert np.abs(modes[:, back][[traits.TRAITS.index(n) for n in ("eye_size", "nose_width")]]).max() < 1e-3


def test_brows_of_a_seed_have_their_own_line() -> None:
    first, second = draw_brow_shape(1), draw_brow_shape(2)
    t = np.linspace(0, 1, 20)
    assert first == draw_brow_shape(1)
    assert np.abs(first.centre(t) - second.centre(t)).max() > 0.02
    assert (first.half_width(t, 0.5) > 0.02).all()


# evaluation


def test_picture_statistics_tell_sharp_from_soft_and_red_from_grey() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)
    flat = np.full((128, 128, 3), (180, 120, 110), np.uint8)
    noisy, plain = evaluate.picture_statistics(sharp), evaluate.picture_statistics(flat)
    assert noisy["sharpness"] > plain["sharpness"] + 2
    assert noisy["edges %"] > plain["edges %"] == 0
    assert plain["a (red)"] > 10


def test_identity_table_counts_people_and_pairs() -> None:
    survey = evaluate.Survey("x")
    for person, vector in ((0, [1.0, 0.0]), (0, [0.8, 0.6]), (1, [0.0, 1.0])):
        face = SimpleNamespace(face=SimpleNamespace(embedding=vector), pixels=np.zeros((64, 64, 3), np.uint8))
        survey.photos += 1
        survey.add(person, face)  # type: ignore[arg-type]
    same, other = survey.cosines()
    assert same == pytest.approx([0.8])
    assert sorted(other) == pytest.approx([0.0, 0.6])
    assert len(survey.crops) == 2
    assert "0.800" in list(evaluate.identity_table([survey]))[1]
