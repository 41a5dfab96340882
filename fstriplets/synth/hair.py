"""Hair: a density over the scalp, guides grown step by step, and strands interpolated between them.

Roots are drawn from a density with a soft hairline (short, thin baby hair at its edge); guides follow a
comb direction and gravity, are pushed off the head, gather in locks and curl; strands blend three guides
and gather round the nearest. haircut.py knows the styles; hairlight.py shades the strands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from fstriplets.synth.haircut import (
    CURLED,
    HABITS,
    LONG,
    STYLES,
    HairStyle,
    comb,
    lengths,
    scalp_density,
)
from fstriplets.synth.jit import compiled
from fstriplets.synth.mesh import BACK, FACE, Mesh

__all__ = ["Strands", "grow_hair", "wave"]

_GUIDES = 1200
#: Knots of a strand, and of one of curls.
_KNOTS, _KNOTS_CURLED = 20, 25
#: The hairline no other is below: roots are drawn within it, and those below a person's own left out, so that
#: people who differ in shape or hairline alone have the same strands.
_LOWEST = HairStyle(line=-1.0, temples=0.0, burn=-0.5)
#: Guides where hair grows less densely than this are left out, unless fewer than the second number were left.
_BARE, _FEWEST = 0.15, 8
#: Below this curl the hair of styles that are not of curls is straight.
_STRAIGHT = 0.12
#: How many turns of a curl the knots can follow.
_KNOTS_A_TURN = 6.0
#: Brightness between two locks, and between two clumps of strands, over that of their middles.
_BETWEEN_LOCKS, _BETWEEN_CLUMPS = 0.72, 0.85
#: Share of strands that keep out of the clumps.
_FLYAWAYS = 0.02


@dataclass(frozen=True, eq=False)
class Strands:
    """Strands on the neutral head.

    Attributes:
        points: [S, K, 3] float32; shade: [S] brightness factor; head: [S, K] how much a point turns
            with the head (long hair rests on the shoulders).
        length: [S] units; grey: [S] in [0, 1], the order in which strands turn grey.
    """

    points: np.ndarray
    shade: np.ndarray
    head: np.ndarray
    length: np.ndarray
    grey: np.ndarray


class _Guides(NamedTuple):
    """Guides: points [G, K, 3], canonical roots [G, 3] and the brightness [G] of each one's lock."""

    points: np.ndarray
    roots: np.ndarray
    shade: np.ndarray


def wave(p: np.ndarray, scale: float, seed: int, terms: int = 12) -> np.ndarray:
    """Smooth noise of unit variance at positions [..., 3], `scale` radians a unit."""
    rng = np.random.default_rng(seed)
    out = np.zeros(p.shape[:-1], np.float32)
    for _ in range(terms):
        d = rng.normal(size=3)
        d *= scale * rng.uniform(0.6, 1.4) / np.linalg.norm(d)
        out += np.sin(p @ d.astype(np.float32) + np.float32(rng.uniform(0, 6.28)))
    return out / np.float32(np.sqrt(terms / 2))


def grow_hair(
    mesh: Mesh, vertices: np.ndarray, normals: np.ndarray, style: HairStyle, count: int
) -> Strands | None:
    """Strands on a person's neutral head, or None when there are none.

    Args:
        vertices, normals: [V, 3] of the person without expression.
        count: strands to make.
    """
    if style.loss >= 1:
        return None
    parts = []
    knots = _KNOTS_CURLED if style.name in CURLED else _KNOTS
    if style.name != "bald":
        parts.append(_grow(mesh, vertices, normals, style, count, knots))
    if style.fringe > 0:
        # a higher hairline is further from the brows
        length = STYLES["fringe"] * (0.25 + 1.10 * style.fringe) + 0.9 * style.fringe * max(0.0, style.line)
        front = replace(style, name="fringe", length=length / STYLES["fringe"], part=0.0, seed=style.seed + 1)
        parts.append(_grow(mesh, vertices, normals, front, count // 4, knots, only_front=True))
    if not parts:
        return None
    joined = parts[0] if len(parts) == 1 else _joined(parts)
    joined = _cut(joined, style.cut) if style.cut > 0 else joined
    if style.loss > 0:
        order = np.random.default_rng([style.seed, 7]).random(len(joined.points))
        joined = _taken(joined, order >= style.loss)
    return joined


def _joined(parts: list[Strands]) -> Strands:
    return Strands(
        *(
            np.concatenate([getattr(p, f) for p in parts])
            for f in ("points", "shade", "head", "length", "grey")
        )
    )


def _taken(strands: Strands, keep: np.ndarray) -> Strands:
    return Strands(
        strands.points[keep],
        strands.shade[keep],
        strands.head[keep],
        strands.length[keep],
        strands.grey[keep],
    )


def _cut(strands: Strands, share: float) -> Strands:
    """The first 1 - share of every strand, resampled to as many knots."""
    knots = strands.points.shape[1]
    at = np.linspace(0, (knots - 1) * (1 - share), knots)
    low = np.minimum(at.astype(int), knots - 2)
    f = (at - low).astype(np.float32)[None, :, None]
    points = np.ascontiguousarray(strands.points[:, low] * (1 - f) + strands.points[:, low + 1] * f)
    head = strands.head[:, low] * (1 - f[..., 0]) + strands.head[:, low + 1] * f[..., 0]
    head = np.ascontiguousarray(head)
    return Strands(points, strands.shade, head, strands.length * np.float32(1 - share), strands.grey)


def _grow(
    mesh: Mesh,
    vertices: np.ndarray,
    normals: np.ndarray,
    style: HairStyle,
    count: int,
    knots: int,
    only_front: bool = False,
) -> Strands:
    rng = np.random.default_rng([style.seed, 5])
    scalp = _Scalp(mesh, vertices, normals)
    guides = _grow_guides(scalp, style, only_front, rng, knots)
    roots = _roots(scalp, count, only_front, rng)
    canonical = roots.at(mesh.neutral)
    density = _density(canonical, style, only_front)
    return _interpolate(guides, roots.at(vertices), canonical, density, style, rng)


class _Scalp(NamedTuple):
    """What hair grows on: a person's vertices and normals [V, 3] of a mesh."""

    mesh: Mesh
    vertices: np.ndarray
    normals: np.ndarray

    @property
    def neutral(self) -> np.ndarray:
        """[V, 3] canonical positions."""
        return self.mesh.neutral

    @property
    def faces(self) -> np.ndarray:
        """[F, 3] triangles of face and back of the head."""
        return _head_faces(self.mesh)


class _Roots(NamedTuple):
    """Roots: corners [N, 3] of their triangles and weights [N, 3] of these."""

    corners: np.ndarray
    weights: np.ndarray

    def at(self, values: np.ndarray) -> np.ndarray:
        """Values [V, 3] of vertices at the roots [N, 3]."""
        return np.asarray(np.einsum("nkd,nk->nd", values[self.corners], self.weights))


def _density(p: np.ndarray, style: HairStyle, only_front: bool) -> np.ndarray:
    """Density at canonical positions [..., 3], 0..1; of the hair over the forehead alone if asked."""
    density = scalp_density(p, style)
    if only_front:
        density = density * (p[..., 1] > 8.2) * (p[..., 2] > 3.5) * (np.abs(p[..., 0]) < 5.5)
    return density


def _roots(scalp: _Scalp, count: int, only_front: bool, rng: np.random.Generator) -> _Roots:
    """Random places wherever hair may grow: the same on all heads, whatever the style."""
    odds = _odds(scalp.mesh, only_front)
    # stratified: even cover without clumps, the same for every machine
    spots = (np.arange(count) + rng.random(count)) / count
    chosen = np.minimum(np.searchsorted(odds, spots), len(odds) - 1)
    return _Roots(scalp.faces[chosen], rng.dirichlet([1, 1, 1], count).astype(np.float32))


@lru_cache(maxsize=4)
def _odds(mesh: Mesh, only_front: bool) -> np.ndarray:
    """[F] running share of the area of the head's triangles in which hair may grow."""
    faces = _head_faces(mesh)
    corners = mesh.neutral[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    odds = np.cumsum(area * (_density(mesh.neutral, _LOWEST, only_front)[faces].max(1) > 0))
    return np.asarray(odds / odds[-1])


@lru_cache(maxsize=2)
def _head_faces(mesh: Mesh) -> np.ndarray:
    """[F, 3] triangles of face and back of the head."""
    return np.asarray(mesh.faces[np.isin(mesh.material, (FACE, BACK))])


def _grow_guides(
    scalp: _Scalp, style: HairStyle, only_front: bool, rng: np.random.Generator, knots: int
) -> _Guides:
    """Guides: root, then steps of comb, gravity and lift, kept off the head; in locks and curls."""
    roots = _roots(scalp, _GUIDES, only_front, rng)
    root, normal = roots.at(scalp.vertices), roots.at(scalp.normals)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    canonical = roots.at(scalp.neutral)
    within = _density(canonical, style, only_front) > _BARE
    if within.sum() < _FEWEST:
        within[:] = True
    used = np.unique(scalp.faces)[::2]
    # hair falls over and behind the ears instead of being pushed off them
    p = scalp.neutral[used]
    used = used[~((np.abs(p[:, 0]) > 7.2) & (p[:, 1] > -2.2) & (p[:, 1] < 5.0) & (p[:, 2] < 4.0))]
    head = _Head(cKDTree(scalp.vertices[used]), scalp.vertices[used], scalp.normals[used])
    lock, valley = _locks(canonical, style, rng)
    lock = np.where(within[lock], lock, np.arange(len(root)))  # no lock is led from outside the hairline
    if style.name == "tied":
        points = _tie(root, normal, head, lock, style, rng, knots)
    else:
        points = _fall(root, normal, head, lock, style, rng, knots)
    points = _curl(_gather(points, lock, style), lock, style, rng)
    tone = 1 + 0.13 * rng.standard_normal(len(root)).clip(-2, 2)[lock]
    return _Guides(points[within].astype(np.float32), canonical[within], (tone * valley)[within])


class _Head(NamedTuple):
    """What hair is pushed off: points [P, 3], their normals and a tree of them."""

    tree: cKDTree
    points: np.ndarray
    normals: np.ndarray

    def push_off(self, p: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points [G, 3] at least `least` [G] outside the head, the normals there, and which were moved."""
        _, i = self.tree.query(p)
        need = least - ((p - self.points[i]) * self.normals[i]).sum(1)
        moved = p + np.clip(need, 0, 1.5)[:, None] * self.normals[i]
        return moved.astype(np.float32), self.normals[i], (need > 0)[:, None]


def _locks(root: np.ndarray, style: HairStyle, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The leader [G] of each guide's lock, itself a guide, and the brightness [G] of its place in it."""
    leaders = np.sort(rng.permutation(len(root))[: HABITS[style.name].locks])
    distance, i = cKDTree(root[leaders]).query(root, k=2)
    return leaders[i[:, 0]], _valley(distance, _BETWEEN_LOCKS)


def _valley(distance: np.ndarray, least: float) -> np.ndarray:
    """Brightness by distances [N, 2] to the nearest two middles: `least` half-way between them, up to 1."""
    middle = (distance[:, 1] - distance[:, 0]) / (distance[:, 1] + distance[:, 0] + 1e-6)
    return np.asarray(least + (1 - least) * np.clip(2 * middle, 0, 1))


def _fall(
    root: np.ndarray,
    normal: np.ndarray,
    head: _Head,
    lock: np.ndarray,
    style: HairStyle,
    rng: np.random.Generator,
    knots: int,
) -> np.ndarray:
    """Guides [G, K, 3] that are combed, lifted and fall."""
    full = style.full
    step = (lengths(root, style, lock, rng) / (knots - 1)).astype(np.float32)[:, None]
    way, gravity, lift = comb(root, style)
    # hair lies closer at the sides and the back than on top
    close = 0.30 if style.name in ("buzz", "crop", "short", "swept", "fringe") else 0.8
    lifts = lift * style.volume * (close + (1 - close) * np.clip((root[:, 1] - 8.0) / 4.5, 0, 1))
    lifts = lifts * (1 + 0.2 * rng.standard_normal(len(root)).clip(-2, 2)[lock])
    ex, ey, ez = np.eye(3, dtype=np.float32)
    way = (
        way
        + 0.18 * wave(root, 0.9, style.seed + 9)[:, None] * ex
        + 0.18 * wave(root, 0.9, style.seed + 10)[:, None] * ez
        + 0.16 * rng.standard_normal((len(root), 3)).clip(-1.5, 1.5).astype(np.float32)[lock]
    )
    side = np.sign(root[:, :1] - style.part * np.clip((root[:, 1:2] - 4) / 6, 0, 1))
    phase = wave(root, 0.35, style.seed + 15)[:, None] + 0.35 * rng.standard_normal(len(root))[lock][:, None]
    early = 0.75 if style.name in LONG else 1.0  # long hair runs aside before it hangs
    direction, p, points = normal + way * 0.6, root, [root]
    for k in range(1, knots):
        t = k / (knots - 1)
        pull = (
            way * np.clip(1 - t * full / 5, 0, 1)
            - gravity * ey * (early + (2.5 - early) * t)
            + normal * lifts[:, None] * (1 - t) * 0.5
        )
        direction = direction * 0.75 + pull * 0.5
        if style.name in LONG:
            bend = (0.18 + 0.9 * style.curl) * t * np.sin(0.8 * k * (1.2 - style.curl) + 1.4 * phase)
            bend = bend * np.clip((8.0 - p[:, 2:3]) / 3, 0, 1)  # not over the forehead
            direction = direction + bend * (ex * 0.84 + ez * 0.48)
            direction = direction + _part_before_face(p, side)
        unit = direction / (np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6)
        p, out, moved = head.push_off(p + unit * step, 0.10 + 0.34 * lifts * np.sqrt(t) * min(1.0, full / 3))
        inward = np.clip((unit * out).sum(1, keepdims=True), -1, 0)
        direction = unit - inward * out * moved
        points.append(p)
    return np.stack(points, 1)


def _part_before_face(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Long hair parts in front of the face instead of hanging over it."""
    ex, ey, ez = np.eye(3, dtype=np.float32)
    inside = (p[:, 1] < 8.0) & (p[:, 2] > 0)
    out = (inside * np.clip((7.8 - np.abs(p[:, 0])) / 2, 0, 1))[:, None]
    outward = np.where(np.abs(p[:, :1]) > 0.6, np.sign(p[:, :1]), side)
    return np.asarray(out * (1.6 * outward * ex - 0.55 * ez + 0.25 * ey))


def _tie(
    root: np.ndarray,
    normal: np.ndarray,
    head: _Head,
    lock: np.ndarray,
    style: HairStyle,
    rng: np.random.Generator,
    knots: int,
) -> np.ndarray:
    """Guides [G, K, 3] combed over the head to a knot behind it, and from there in a tail or a bun."""
    own = np.random.default_rng([style.seed, 33])
    height, bun = own.uniform(1.0, 10.0), own.random() < 0.4
    _, i = head.tree.query(np.array([0.0, height, -9.0 + 0.3 * max(0.0, height - 6.0)]))
    knot = head.points[i] * np.array([0, 1, 1]) + (1.2 if bun else 0.7) * head.normals[i]
    tail = 6.0 if bun else 0.55 * style.full * (0.8 + 0.3 * rng.standard_normal(len(root)).clip(-1, 2)[lock])
    way = np.linalg.norm(knot - root, axis=1)
    step = ((way * (1 + 0.022 * way) + tail) / (knots - 1))[:, None]
    axis = rng.standard_normal((len(root), 3))[lock] + np.array([0, 0, 2.0])
    loose = 0.10 * rng.standard_normal((len(root), 3))[lock]
    lifts = 0.16 * style.volume * (1 + 0.5 * rng.standard_normal(len(root)).clip(-2, 2)[lock])
    direction, p, points = normal * 0.3 + 0.3 * loose, root, [root]
    tied, out = np.zeros((len(root), 1), bool), normal
    for _ in range(1, knots):
        to = knot - p
        far = np.linalg.norm(to, axis=1, keepdims=True)
        tied |= far < 1.1 * step + 0.3
        if bun:
            round_it = np.cross(axis, -to)
            round_it /= np.linalg.norm(round_it, axis=1, keepdims=True) + 1e-6
            free = 1.2 * round_it + (far - 1.3) * to / (far + 1e-6)
        else:
            free = np.array([0, -0.8, -0.15]) + loose + to * np.array([0.6, 0.0, 0.3])
        over = to - (to * out).sum(1, keepdims=True) * out  # along the head, not through it
        over /= np.linalg.norm(over, axis=1, keepdims=True) + 1e-6
        pull = np.where(tied, free, 1.2 * over - 0.35 * out)
        direction = direction * 0.7 + pull * 0.5
        unit = direction / (np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6)
        p, out, moved = head.push_off(p + unit * step, 0.16 + lifts)
        inward = np.clip((unit * out).sum(1, keepdims=True), -1, 0)
        direction = unit - inward * out * moved
        points.append(p)
    return np.stack(points, 1)


def _gather(points: np.ndarray, lock: np.ndarray, style: HairStyle) -> np.ndarray:
    """Guides [G, K, 3] drawn to the leaders of their locks, the more the further from the root."""
    t = np.linspace(0, 1, points.shape[1], dtype=np.float32)
    share = HABITS[style.name].apart * _gathering(t, style)
    return np.asarray(points + (points[lock] - points) * share[None, :, None])


def _gathering(t: np.ndarray, style: HairStyle) -> np.ndarray:
    """How far hair gathers at shares t of its length, 0..1: long hair does not before it hangs."""
    return np.asarray(np.minimum(1.1 * t, 1) ** (1.8 if style.name in LONG else 1.1), np.float32)


def _curl(points: np.ndarray, lock: np.ndarray, style: HairStyle, rng: np.random.Generator) -> np.ndarray:
    """Winds guides [G, K, 3] round their own way, with one phase and pitch a lock."""
    habit = HABITS[style.name]
    radius, pitch = habit.radius, habit.pitch
    if style.name not in CURLED:
        if style.curl <= _STRAIGHT or style.name in ("buzz", "tied"):
            return points
        radius, pitch = 0.09 * np.sqrt(style.full) * style.curl / 0.2, 1.4 * np.sqrt(style.full)
    count, knots = points.shape[:2]
    along = np.gradient(points, axis=1)
    along /= np.linalg.norm(along, axis=2, keepdims=True) + 1e-6
    length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    spread, start = rng.standard_normal((2, count))
    turns = np.minimum(length / (pitch * np.exp(0.18 * spread[lock])), (knots - 1) / _KNOTS_A_TURN)
    t = np.linspace(0, 1, knots)
    angle = 6.28 * turns[:, None] * t + 3.0 * start[lock][:, None] + 0.35 * spread[:, None]
    first = np.cross(along, np.array([0.31, 0.12, 0.94]))
    first /= np.linalg.norm(first, axis=2, keepdims=True) + 1e-6
    second = np.cross(along, first)
    # no wider than the hair is long; long hair curls where it hangs
    from_root = np.clip((t - 0.25 * (style.name in LONG)) * turns[:, None] * 1.5, 0, 1)
    wide = np.minimum(radius, 0.22 * length)[:, None] * from_root
    turn = np.cos(angle)[..., None] * first + np.sin(angle)[..., None] * second
    return np.asarray(points + wide[..., None] * turn)


def _interpolate(
    guides: _Guides,
    root: np.ndarray,
    canonical: np.ndarray,
    density: np.ndarray,
    style: HairStyle,
    rng: np.random.Generator,
) -> Strands:
    """Strands between the guides, gathered in clumps; thin and short where the density [N] is low.

    Args:
        root, canonical: [N, 3] where strands may grow, on the person and on the model's head.
    """
    chance, loose, short, stray, tone, grey = rng.random((6, len(root)), np.float32)
    grown = chance < density**2
    root, density, loose, short = root[grown], density[grown], loose[grown], short[grown]
    way = guides.points
    distance, i = cKDTree(guides.roots).query(canonical[grown], k=3)
    w = 1 / (distance + 0.05) ** 2
    w = (w / w.sum(1, keepdims=True)).astype(np.float32)
    relative = way - way[:, :1]
    t = np.linspace(0, 1, way.shape[1], dtype=np.float32)
    clump = np.clip(0.30 + 0.65 * t, 0, 0.96) if style.name not in CURLED else np.full_like(t, 0.96)
    if style.name == "buzz":
        clump *= 0.2
    flyaway = stray[grown] < _FLYAWAYS
    pull = HABITS[style.name].clump * (1 - 0.75 * loose**2) * ~flyaway
    astray = 0.016 * np.sqrt(min(STYLES[style.name], 10.0)) * (1 + 2 * flyaway)
    baby = np.clip(density * 1.6, 0.2, 1)
    if style.name in LONG or style.name == "tied":
        baby = np.clip(baby**2, 0.10, 1)
    points = _between(
        *(np.ascontiguousarray(part, np.float32) for part in (root, relative, way[:, 0])),
        i,
        *(np.asarray(part, np.float32) for part in (w, clump, _gathering(t, style), pull)),
        *(np.asarray(part, np.float32) for part in ((1 - 0.35 * short**2) * baby, astray)),
        rng.standard_normal((len(root), way.shape[1], 3), np.float32),
    )
    shade = (0.78 + 0.5 * tone[grown]) * guides.shade[i[:, 0]] * _valley(distance, _BETWEEN_CLUMPS)
    shade = shade * (1 + 0.8 * (1 - baby))  # fine hair hides less: lighter
    head = np.clip((points[..., 1] + 12.5) / 6, 0, 1)
    return Strands(points, shade.astype(np.float32), head.astype(np.float32), _measure(points), grey[grown])


@compiled
def _between(root, relative, origin, near, weight, clump, gather, pull, keep, stray, jitter):  # type: ignore[no-untyped-def]
    """Strands [S, K, 3] from guides, written over `jitter`.

    Args:
        root: [S, 3]; relative: [G, K, 3] guides from their roots, origin: [G, 3] those.
        near: [S, 3] the nearest guides, weight: [S, 3] theirs.
        clump: [K] share of the nearest guide's own shape.
        gather: [K] and pull: [S] how far strands gather round it.
        keep: [S] share of the length that is kept; stray: [S] and jitter: [S, K, 3] how far strands stray.
    """
    count, knots = jitter.shape[0], jitter.shape[1]
    last = np.float32(1.0) / np.float32(knots - 1)
    for s in range(count):
        a, b, c = near[s, 0], near[s, 1], near[s, 2]
        for d in range(3):
            away = np.float32(0.0)
            off = (origin[a, d] - root[s, d]) * pull[s]
            for k in range(knots):
                t = np.float32(k) * last
                away += jitter[s, k, d]
                at = np.float32(k) * keep[s]
                low = min(int(at), knots - 2)
                f = at - np.float32(low)
                own = relative[a, low, d] + (relative[a, low + 1, d] - relative[a, low, d]) * f
                second = relative[b, low, d] + (relative[b, low + 1, d] - relative[b, low, d]) * f
                third = relative[c, low, d] + (relative[c, low + 1, d] - relative[c, low, d]) * f
                blend = own * weight[s, 0] + second * weight[s, 1] + third * weight[s, 2]
                shape = blend + (own - blend) * clump[k] + off * gather[k]
                jitter[s, k, d] = root[s, d] + shape + away * stray[s] * t
    return jitter


@compiled
def _measure(points):  # type: ignore[no-untyped-def]
    """Length [S] of strands [S, K, 3]."""
    out = np.zeros(points.shape[0], np.float32)
    for s in range(points.shape[0]):
        for k in range(points.shape[1] - 1):
            x = points[s, k + 1, 0] - points[s, k, 0]
            y = points[s, k + 1, 1] - points[s, k, 1]
            z = points[s, k + 1, 2] - points[s, k, 2]
            out[s] += np.sqrt(x * x + y * y + z * z)
    return out
