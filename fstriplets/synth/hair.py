"""Hair: a density over the scalp, guides grown step by step, and strands interpolated between them.

Roots are drawn from a density with a soft hairline (short, thin baby hair at its edge); guides follow a
comb direction and gravity and are pushed off the head; strands blend three guides and gather in clumps.
hairlight.py shades them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from fstriplets.synth.jit import compiled
from fstriplets.synth.mesh import BACK, FACE, Mesh

__all__ = ["STYLES", "HairStyle", "Strands", "grow_hair", "scalp_density"]

#: Style -> length at the crown, units.
STYLES: dict[str, float] = {
    "bald": 0.0,
    "buzz": 0.45,
    "crop": 1.3,
    "short": 2.2,
    "swept": 3.4,
    "fringe": 3.0,
    "curly": 4.2,
    "afro": 3.2,
    "tied": 6.0,
    "bob": 9.5,
    "long": 17.0,
}
_LONG = ("bob", "long")
_KNOTS = 20
_GUIDES = 1200


@dataclass(frozen=True)
class HairStyle:
    """How a person's hair is cut and grows.

    Attributes:
        name: key of STYLES; length: factor on its length.
        line: how high the hairline is, units above the usual; temples: how far it recedes at the
            sides, units; part: where it is parted, units from the middle (right is positive).
        forward: combed forward (> 0) or back, -1..1; curl: 0 straight, 1 curls.
        volume: lift at the root, about 1; burn: how low the sideburns reach, canonical height.
        thin: thinning of the crown, 0..1; loss: share of all hair that is gone, 0..1.
        fringe: extra hair over the forehead, 0 none .. 1 down to the brows.
        cut: share of every strand cut off, 0..1.
    """

    name: str = "short"
    length: float = 1.0
    line: float = 0.0
    temples: float = 0.4
    part: float = 1.5
    forward: float = 0.2
    curl: float = 0.1
    volume: float = 1.0
    burn: float = 1.5
    thin: float = 0.0
    loss: float = 0.0
    fringe: float = 0.0
    cut: float = 0.0
    seed: int = 0


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


def wave(p: np.ndarray, scale: float, seed: int, terms: int = 12) -> np.ndarray:
    """Smooth noise of unit variance at positions [..., 3], `scale` radians a unit."""
    rng = np.random.default_rng(seed)
    out = np.zeros(p.shape[:-1], np.float32)
    for _ in range(terms):
        d = rng.normal(size=3)
        d *= scale * rng.uniform(0.6, 1.4) / np.linalg.norm(d)
        out += np.sin(p @ d.astype(np.float32) + np.float32(rng.uniform(0, 6.28)))
    return out / np.float32(np.sqrt(terms / 2))


def scalp_density(p: np.ndarray, style: HairStyle) -> np.ndarray:
    """How densely hair grows at canonical positions [..., 3], 0..1; the edge is soft."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    ragged = 0.16 * np.sin(p[..., 0] * 2.1 + style.seed) + 0.10 * np.sin(p[..., 0] * 5.3 + 2.3 * style.seed)
    # over the forehead the line runs across, dips back at the temples, then down to the sideburns
    top = 9.0 + style.line + ragged - 0.02 * x * x + style.temples * np.exp(-(((x - 4.4) / 1.5) ** 2)) * 1.6
    front = np.clip((y - top) / 1.1 + 0.5, 0, 1)
    side_z = np.interp(
        y, [-2.5, 1.0, 4.0, 6.5, 9.0, 11.0], [-0.6, 1.6, 3.3, 4.6 - style.temples, 5.6 - style.temples, 8.0]
    )
    side = np.clip((side_z + 0.6 * ragged - z) / 0.9 + 0.5, 0, 1)
    low = np.interp(z, [-9, -4, -2.6, -1.8, 0, 4], [-5.2, -4.9, -3.4, style.burn, style.burn, style.burn])
    above = np.clip((y - low - ragged) / 1.3 + 0.3, 0, 1)
    ear = (x > 6.9) & (y < 4.6) & (z > -2.4) & (z < 1.9)
    crown = np.exp(-((x / 4.5) ** 2) - ((z + 1.0) / 6.0) ** 2) * (y > 9)
    density = np.maximum(front, side * (x > 4.6)) * above * ~ear * (1 - style.thin * crown)
    return np.asarray(density * (z < 10.5), np.float32)


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
    if style.name != "bald":
        parts.append(_grow(mesh, vertices, normals, style, count))
    if style.fringe > 0:
        # a higher hairline is further from the brows
        length = STYLES["fringe"] * (0.25 + 0.95 * style.fringe) + 0.9 * style.fringe * max(0.0, style.line)
        front = replace(style, name="fringe", length=length / STYLES["fringe"], part=0.0, seed=style.seed + 1)
        parts.append(_grow(mesh, vertices, normals, front, count // 4, only_front=True))
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
    only_front: bool = False,
) -> Strands:
    rng = np.random.default_rng([style.seed, 5])
    faces = mesh.faces[(mesh.material == FACE) | (mesh.material == BACK)]
    centre = mesh.neutral[faces].mean(1)
    density = scalp_density(centre, style)
    if only_front:
        density = density * (centre[:, 1] > 8.2) * (centre[:, 2] > 3.5) * (np.abs(centre[:, 0]) < 5.5)
    edge = vertices[faces]
    area = np.linalg.norm(np.cross(edge[:, 1] - edge[:, 0], edge[:, 2] - edge[:, 0]), axis=1)
    odds = area * density
    odds = odds / odds.sum()
    guides = _grow_guides(mesh, vertices, normals, faces, odds, style, rng)
    return _interpolate(mesh, vertices, normals, faces, odds, density, guides, style, rng, count)


def _roots(
    vertices: np.ndarray, faces: np.ndarray, odds: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random points on the scalp: triangle, barycentric weights and position."""
    # stratified: even cover without clumps, the same for every machine
    spots = (np.arange(count) + rng.random(count)) / count
    chosen = np.minimum(np.searchsorted(np.cumsum(odds), spots), len(odds) - 1)
    b = rng.dirichlet([1, 1, 1], count).astype(np.float32)
    return chosen, b, (vertices[faces[chosen]] * b[..., None]).sum(1)


def _lengths(root: np.ndarray, style: HairStyle, rng: np.random.Generator) -> np.ndarray:
    full = STYLES[style.name] * style.length
    n = len(root)
    if style.name in _LONG:
        return full * (0.72 + 0.33 * rng.random(n))
    length = full * (0.8 + 0.35 * rng.random(n)) * (1 + 0.18 * wave(root, 0.7, style.seed + 12))
    if style.name in ("crop", "short", "swept", "fringe", "curly"):
        # tapered towards the neck and over the ears
        length = length * np.clip(0.28 + 0.72 * (root[:, 1] - 2.5) / 5.0, 0.22, 1)
    return length


def _comb(root: np.ndarray, style: HairStyle) -> tuple[np.ndarray, float, float]:
    """Comb direction a guide [G, 3], gravity and lift of a style."""
    x, y, z = root[:, :1], root[:, 1:2], root[:, 2:3]
    ex, ey, ez = np.eye(3, dtype=np.float32)
    side = np.sign(x - style.part * np.clip((y - 4) / 6, 0, 1))
    on_top, backward = np.clip((y - 8.5) / 3, 0, 1), np.clip((z + 2.5) / 4, 0, 1)
    name = style.name
    if name in ("buzz", "crop", "short"):
        comb = (
            style.forward * ez * on_top
            + 0.35 * side * ex * on_top
            - (0.5 * ey + 0.35 * ez * backward) * (1 - on_top)
        )
        return comb, 0.10, 0.55
    if name == "swept":
        away = -np.sign(style.part) if style.part else 1.0
        comb = (-0.55 * ez + 0.75 * ex * away) * on_top - (0.75 * ey + 0.45 * ez * backward) * (1 - on_top)
        return comb, 0.22, 0.55
    if name == "fringe":
        return 1.0 * ez * on_top - 0.55 * ey + 0.25 * side * ex * on_top, 0.35, 0.30
    if name == "tied":
        return np.broadcast_to(-1.0 * ez + 0.12 * ey, root.shape), 0.06, 0.05
    if name == "afro":
        return 0 * root, 0.0, 1.4
    if name == "curly":
        return 0.2 * side * ex * on_top - 0.1 * ey, 0.16, 1.0
    comb = 1.1 * side * ex * np.clip((y - 3) / 6, 0, 1) - 0.55 * ez * (z > 2)
    return comb, 0.95, 0.22


def _grow_guides(
    mesh: Mesh,
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    odds: np.ndarray,
    style: HairStyle,
    rng: np.random.Generator,
) -> np.ndarray:
    """Guides [G, K, 3]: root, then steps of comb, gravity and lift, kept off the head."""
    chosen, b, root = _roots(vertices, faces, odds, _GUIDES, rng)
    normal = (normals[faces[chosen]] * b[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    used = np.unique(faces)[::2]
    # hair falls over and behind the ears instead of being pushed off them
    p = mesh.neutral[used]
    used = used[~((np.abs(p[:, 0]) > 7.2) & (p[:, 1] > -2.2) & (p[:, 1] < 5.0) & (p[:, 2] < 4.0))]
    tree, near, near_normal = cKDTree(vertices[used]), vertices[used], normals[used]
    length = _lengths(root, style, rng)
    full = STYLES[style.name] * style.length
    step = (length / (_KNOTS - 1)).astype(np.float32)[:, None]
    comb, gravity, lift = _comb(root, style)
    # hair lies closer at the sides and the back than on top
    close = 0.30 if style.name in ("buzz", "crop", "short", "swept", "fringe") else 0.8
    lifts = lift * style.volume * (close + (1 - close) * np.clip((root[:, 1] - 6.5) / 4.5, 0, 1))
    ex, ey, ez = np.eye(3, dtype=np.float32)
    comb = (
        comb
        + 0.18 * wave(root, 0.9, style.seed + 9)[:, None] * ex
        + 0.18 * wave(root, 0.9, style.seed + 10)[:, None] * ez
    )
    side = np.sign(root[:, :1] - style.part * np.clip((root[:, 1:2] - 4) / 6, 0, 1))
    phase = rng.random((_GUIDES, 1)) * 6.28
    wave_root = wave(root, 0.35, style.seed + 15)[:, None]
    direction, p, points = normal + comb * 0.6, root, [root]
    for k in range(1, _KNOTS):
        t = k / (_KNOTS - 1)
        pull = (
            comb * np.clip(1 - t * full / 5, 0, 1)
            - gravity * ey * (1 + 1.5 * t)
            + normal * lifts[:, None] * (1 - t) * 0.5
        )
        direction = direction * 0.75 + pull * 0.5
        if style.name in _LONG:
            bend = (0.10 + 0.9 * style.curl) * t * np.sin(0.8 * k * (1.2 - style.curl) + 1.4 * wave_root)
            direction = direction + bend * (ex * 0.84 + ez * 0.48)
            direction = direction + _part_before_face(p, side)
        elif style.name in ("curly", "afro") or style.curl > 0.12:
            amount = (0.9 if style.name in ("curly", "afro") else style.curl * 1.3) * 0.6
            turn = phase + k * 0.9
            direction = direction + amount * np.concatenate(
                [np.cos(turn), 0.4 * np.sin(turn), np.sin(turn)], 1
            )
        unit = direction / (np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6)
        p = p + unit * step
        _, i = tree.query(p)
        off = ((p - near[i]) * near_normal[i]).sum(1)
        need = (0.10 + 0.34 * lifts * np.sqrt(t) * min(1.0, full / 3)) - off
        p = (p + np.clip(need, 0, 1.5)[:, None] * near_normal[i]).astype(np.float32)
        inward = np.clip((unit * near_normal[i]).sum(1, keepdims=True), -1, 0)
        direction = unit - inward * near_normal[i] * (need > 0)[:, None]
        points.append(p)
    return np.stack(points, 1).astype(np.float32)


def _part_before_face(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Long hair parts in front of the face instead of hanging over it."""
    ex, ey, ez = np.eye(3, dtype=np.float32)
    inside = (p[:, 1] < 8.0) & (p[:, 2] > 0)
    out = (inside * np.clip((7.8 - np.abs(p[:, 0])) / 2, 0, 1))[:, None]
    outward = np.where(np.abs(p[:, :1]) > 0.6, np.sign(p[:, :1]), side)
    return np.asarray(out * (1.6 * outward * ex - 0.55 * ez + 0.25 * ey))


def _interpolate(
    mesh: Mesh,
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    odds: np.ndarray,
    density: np.ndarray,
    guides: np.ndarray,
    style: HairStyle,
    rng: np.random.Generator,
    count: int,
) -> Strands:
    """Strands between the guides, gathered in clumps; thin and short where the density is low."""
    chosen, _, root = _roots(vertices, faces, odds, count, rng)
    distance, i = cKDTree(guides[:, 0]).query(root, k=3)
    w = 1 / (distance + 0.05) ** 2
    w = (w / w.sum(1, keepdims=True)).astype(np.float32)
    relative = guides - guides[:, :1]
    t = np.linspace(0, 1, guides.shape[1], dtype=np.float32)
    clump = np.clip(0.35 + 0.5 * t, 0, 0.85) * (0.75 if style.name != "buzz" else 0.2)
    pull = min(1.0, STYLES[style.name] / 9 + 0.12) * rng.random(count, np.float32) * 1.4
    jitter = rng.standard_normal((count, guides.shape[1], 3), np.float32)
    stray = np.full(count, 0.016 * np.sqrt(STYLES[style.name]), np.float32)
    baby = np.clip(density[chosen] * 1.6, 0.25, 1).astype(np.float32)
    keep = (1 - 0.28 * rng.random(count).astype(np.float32) ** 2) * baby
    stray[rng.random(count) < 0.015] *= 3.0
    points = _between(
        *(np.ascontiguousarray(part, np.float32) for part in (root, relative, guides[:, 0])),
        i,
        *(np.asarray(part, np.float32) for part in (w, clump, pull, keep, stray)),
        jitter,
    )
    tone = rng.standard_normal(len(guides)).clip(-2, 2).astype(np.float32)[i[:, 0]]
    shade = (0.72 + 0.5 * rng.random(count).astype(np.float32)) * (1 + 0.12 * tone)
    head = np.clip((points[..., 1] + 12.5) / 6, 0, 1)
    length = _measure(points)
    grey = rng.random(count).astype(np.float32)
    return Strands(points, shade, head.astype(np.float32), length, grey)


@compiled
def _between(root, relative, origin, near, weight, clump, pull, keep, stray, jitter):  # type: ignore[no-untyped-def]
    """Strands [S, K, 3] from guides, written over `jitter`.

    Args:
        root: [S, 3]; relative: [G, K, 3] guides from their roots, origin: [G, 3] those.
        near: [S, 3] the nearest guides, weight: [S, 3] theirs.
        clump: [K] share of the nearest guide's own shape; pull: [S] how far strands gather round it.
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
                own = relative[a, k, d]
                blend = (
                    own * weight[s, 0] + relative[b, k, d] * weight[s, 1] + relative[c, k, d] * weight[s, 2]
                )
                shape = blend + (own - blend) * clump[k] + off * min(t * np.float32(1.1), np.float32(0.55))
                jitter[s, k, d] = root[s, d] + shape * keep[s] + away * stray[s] * t
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
