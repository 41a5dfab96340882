"""Heads of hair: what a style does to its strands, and that edits of it keep them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from fstriplets.synth import Studio
from fstriplets.synth.hair import Strands, grow_hair
from fstriplets.synth.haircut import HABITS, STYLES, HairStyle, scalp_cover, scalp_density
from fstriplets.synth.mesh import Mesh, mesh_normals

COUNT = 3000


@pytest.fixture(scope="module")
def mesh(request: pytest.FixtureRequest) -> Mesh:
    folder = request.getfixturevalue("shared_data")
    return Studio(folder / "face_model" / "ict_facekit_light.npz", keep=1).mesh


def grown(mesh: Mesh, **changes: object) -> Strands:
    style = replace(HairStyle(seed=3, curl=0.0), **changes)  # type: ignore[arg-type]
    strands = grow_hair(mesh, mesh.neutral, mesh_normals(mesh.neutral, mesh), style, COUNT)
    assert strands is not None
    return strands


def bends(strands: Strands) -> float:
    """Mean length of the strands over the distance of their ends."""
    chord = np.linalg.norm(strands.points[:, -1] - strands.points[:, 0], axis=1)
    return float(np.median(strands.length / np.maximum(chord, 1e-3)))


def test_skin_shows_between_the_hairs_at_the_edge_and_in_a_fade() -> None:
    style = HairStyle("short", seed=5)
    across = np.stack([np.zeros(60), np.linspace(7, 12, 60), np.full(60, 8.0)], 1)
    density, cover = scalp_density(across, style), scalp_cover(across, style)
    edge = (density > 0.05) & (density < 0.95)
    assert np.ptp(across[edge, 1]) > 0.8  # no line
    assert (cover[edge] < density[edge]).all()
    assert (scalp_cover(across, replace(style, loss=1.0)) == 0).all()
    side = np.array([[7.0, 5.5, -2.0]])
    covers = {seed: float(scalp_cover(side, replace(style, seed=seed))[0]) for seed in range(12)}
    fades = {seed: replace(style, seed=seed).fade for seed in covers}
    assert covers[max(fades, key=fades.__getitem__)] < covers[min(fades, key=fades.__getitem__)]


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(HABITS))
def test_every_style_grows_and_is_cut(mesh: Mesh, name: str) -> None:
    strands = grown(mesh, name=name)
    assert 0.3 * COUNT < len(strands.points) <= COUNT
    assert np.isfinite(strands.points).all()
    assert np.isfinite(strands.shade).all()
    assert strands.shade.min() > 0
    shorter = grown(mesh, name=name, cut=0.5)
    np.testing.assert_allclose(shorter.length, 0.5 * strands.length, rtol=1e-5)
    with_fringe = grown(mesh, name=name, fringe=0.8)
    assert len(with_fringe.points) > len(strands.points)
    np.testing.assert_array_equal(with_fringe.points[: len(strands.points)], strands.points)


@pytest.mark.real
def test_another_shape_or_hairline_keeps_the_strands(mesh: Mesh) -> None:
    style = HairStyle("short", seed=3)
    wide = mesh.neutral * np.array([1.1, 1.0, 1.0], np.float32)
    a, b, c = (
        grow_hair(mesh, vertices, mesh_normals(vertices, mesh), cut, COUNT)
        for vertices, cut in ((mesh.neutral, style), (wide, style), (mesh.neutral, replace(style, line=1.0)))
    )
    assert a is not None
    assert b is not None
    assert c is not None
    np.testing.assert_array_equal(a.shade, b.shade)
    np.testing.assert_allclose(a.points[:, 0] * np.array([1.1, 1, 1]), b.points[:, 0], atol=1e-3)
    kept = np.isin(c.points[:, 0, 0], a.points[:, 0, 0])
    assert 0.7 * len(a.points) < len(c.points) < len(a.points)
    assert kept.mean() > 0.98


@pytest.mark.real
def test_curls_wind_and_straight_hair_does_not(mesh: Mesh) -> None:
    straight, curls = bends(grown(mesh, name="fringe")), bends(grown(mesh, name="curly"))
    assert straight < 1.2 < 1.3 * straight < curls
    assert bends(grown(mesh, name="fringe", curl=0.4)) > 1.03 * straight


@pytest.mark.real
def test_tied_hair_meets_behind_the_head_and_long_hair_hangs(mesh: Mesh) -> None:
    for seed in range(4):
        tied = grown(mesh, name="tied", seed=seed).points
        ends = tied[:, -1][tied[:, 0, 2] > 4]  # those that set out in front
        assert (ends[:, 2] < -2).mean() > 0.6
        assert np.abs(ends[:, 0]).mean() < 3.5
    long = grown(mesh, name="long").points
    assert np.median(long[:, -1, 1]) < np.median(long[:, 0, 1]) - 0.4 * STYLES["long"]


@pytest.mark.real
def test_ends_of_a_fringe_lie_in_no_line(mesh: Mesh) -> None:
    points = grown(mesh, name="bald", fringe=1.0).points
    ends = points[:, -1]
    lowest = [ends[np.abs(ends[:, 0] - x) < 0.25, 1].min() for x in np.arange(-3, 3.1, 0.5)]
    assert np.std(np.diff(lowest)) > 0.2
