"""One photo of one person: pose, rasterise, shade, hair, camera; and its truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

from fstriplets.synth.backdrop import backdrop
from fstriplets.synth.body import STRAND_WIDTH, Body
from fstriplets.synth.brows import place
from fstriplets.synth.camera import develop
from fstriplets.synth.clothes import garment_mesh
from fstriplets.synth.haircut import CURLED, STYLES, HairStyle
from fstriplets.synth.hairlight import GRID_SHAPE, march, pose_and_shade
from fstriplets.synth.lids import lids_outside
from fstriplets.synth.mesh import BACK, CLOTH, EYE_L, EYE_R, FACE, FRAME, GUMS, TEETH, Mesh, mesh_normals
from fstriplets.synth.pose import PIVOT, Camera, Pose
from fstriplets.synth.raster import FAR, depth_only, draw_strands, interpolate, raster, vertex_normals
from fstriplets.synth.regions import build_regions
from fstriplets.synth.scene import Scene, gaze_axes
from fstriplets.synth.shading import (
    Materials,
    ambient_occlusion,
    compose,
    extent,
    pack_constants,
    scatter,
    shade,
    shadow_map,
    tap_bounds,
)
from fstriplets.synth.truth import (
    Seen,
    Truth,
    attributes,
    brow_points,
    dense_indices,
    five_points,
    label_picture,
    lip_weights,
)
from fstriplets.synth.wear import Glasses, fit_glasses

__all__ = ["Photo", "eyewear_of", "render_photo"]

#: Samples a pixel along each side.
_SUPER = 2
_SHADOW_TAPS = np.random.default_rng(1).normal(size=(12, 2))
#: How far behind a surface hair may lie and still be drawn, units.
_HAIR_BIAS = 0.05
#: How far what is in the mouth gives way to the skin, units.
_MOUTH_BACK = np.float32(0.5)
#: Brightest wet line along a lower lid, share of the light there.
_TEAR = 0.2
#: Strands of longer hair, units, and of curls hide one another: fewer of them are drawn.
_LONG_HAIR = 4.0
_NO_HAIR = np.ones(GRID_SHAPE, np.float32)


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo: pixels uint8 [S, S, 3] RGB, and its truth."""

    pixels: np.ndarray
    truth: Truth


@dataclass(eq=False)
class _Picture:
    """The photo in the making, at `_SUPER` times its size."""

    image: np.ndarray
    depth: np.ndarray
    seen: Seen
    diffuse: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    brow: np.ndarray
    beard: np.ndarray
    lens: np.ndarray
    #: [S, 2] middle of each hair of the brows, pixels of this picture
    brow_middles: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))


def eyewear_of(body: Body, scene: Scene) -> int:
    """Row of wear.FRAMES worn in a photo, -1 for none."""
    if scene.eyewear is not None:
        return scene.eyewear
    return body.person.glasses if scene.wears_own else -1


def render_photo(body: Body, scene: Scene, mesh: Mesh, size: int) -> Photo:
    """A photo and its truth.

    Args:
        size: side of the square picture, pixels.
    """
    big = size * _SUPER
    pose = Pose(scene)
    camera = Camera(scene, pose, big)
    posed = body.vertices + mesh.pose_expression(scene.expression)
    lids_outside(posed, mesh)
    surface = pose(posed, mesh.head)
    style = eyewear_of(body, scene)
    if style >= 0 and scene.eyewear_strength < 1:
        return _seen_through(body, scene, mesh, size)
    glasses = (
        fit_glasses(mesh, body.vertices, style, body.person.glasses_seed, scene.tint) if style >= 0 else None
    )
    shadows = _hair_shadows(body, scene, pose)
    picture = _draw_surfaces(body, scene, mesh, pose, camera, surface, glasses, shadows[0], big)
    screen = camera(surface)
    _lashes(picture, screen, mesh, body.person.lash)
    _face_hair(picture, body, scene, posed, mesh, pose, camera)
    if glasses is not None:
        _lenses(picture, glasses, scene, pose, camera)
    _hair(picture, body, scene, pose, camera, shadows)
    linear = cv2.resize(picture.image, (size, size), interpolation=cv2.INTER_AREA)
    return Photo(develop(linear, scene), _truth(picture, body, scene, mesh, screen, style))


def _seen_through(body: Body, scene: Scene, mesh: Mesh, size: int) -> Photo:
    """Glasses at part strength: the photo with them blended over the photo as it was."""
    worn = render_photo(body, replace(scene, eyewear_strength=1.0), mesh, size)
    bare = render_photo(body, replace(scene, eyewear=None, tint=0.0, eyewear_strength=1.0), mesh, size)
    s = scene.eyewear_strength
    mixed = np.sqrt((1 - s) * bare.pixels.astype(np.float32) ** 2 + s * worn.pixels.astype(np.float32) ** 2)
    return Photo(np.round(mixed).astype(np.uint8), worn.truth if s >= 0.5 else bare.truth)


def _draw_surfaces(
    body: Body,
    scene: Scene,
    mesh: Mesh,
    pose: Pose,
    camera: Camera,
    surface: np.ndarray,
    glasses: Glasses | None,
    reach: np.ndarray,
    big: int,
) -> _Picture:
    """Everything made of triangles, shaded, before the background."""
    light = scene.light
    vertices, normals, uv, canonical, faces, material = _assemble(scene, mesh, pose, surface, glasses)
    screen = camera(vertices)
    # some shapes push the eyeballs through the lids: they give way
    screen[_vertices_of(mesh, EYE_L, EYE_R), 2] += 0.06
    # and what is in the mouth through the cheeks and the chin
    screen[_vertices_of(mesh, TEETH, GUMS), 2] += _MOUTH_BACK
    depth, triangle, weights = raster(screen, faces, big, big)
    shadow, matrix = shadow_map(vertices, faces, scene.light.directions[0])
    smile = 0.55 * float(sum(scene.expression[mesh.index(f"mouthSmile_{s}")] for s in "LR"))
    taps = (_SHADOW_TAPS * scene.light.softness * 8).astype(np.float32)
    albedo, diffuse, specular, position = shade(
        triangle,
        weights,
        faces,
        np.concatenate([vertices, normals, uv, canonical, _openness(body, len(vertices))], 1),
        material,
        body.face,
        body.back,
        pack_constants(_materials(body, scene, mesh, glasses)),
        *(np.asarray(part, np.float32) for part in (light.directions, light.colours, light.sky)),
        shadow,
        tap_bounds(shadow, taps),
        matrix,
        taps,
        np.float32(smile),
        np.float32(scene.distance),
        reach,
        pose.head,
        PIVOT,
    )
    drawn = np.append(material, -1).astype(np.int8)[triangle]  # -1, nothing, takes the last one
    eye, mouth = (drawn == EYE_L) | (drawn == EYE_R), (drawn == TEETH) | (drawn == GUMS)
    depth[mouth] -= _MOUTH_BACK
    far = np.minimum(depth, np.float32(scene.distance + 8))
    occlusion = _cavities(ambient_occlusion(far, big), eye, mouth, position[..., 2], surface, mesh)
    skin = ((drawn == FACE) | (drawn == BACK)).astype(np.float32)
    _tears(specular, diffuse, eye, body.person.finish.tear)
    diffuse *= occlusion[..., None]
    scatter(diffuse, skin, camera.scale)
    behind = np.asarray(backdrop(scene.backdrop, light.colours[0], big, big), np.float32)
    image = compose(albedo, diffuse, specular, occlusion, triangle, behind)
    blank = [np.zeros((big, big), np.float32) for _ in range(4)]
    seen = Seen(triangle, weights, faces, material, uv, canonical)
    return _Picture(image, depth, seen, diffuse, skin, *blank)


@lru_cache(maxsize=8)
def _vertices_of(mesh: Mesh, *materials: int) -> np.ndarray:
    """Indices of the vertices of some materials."""
    return np.unique(mesh.faces[np.isin(mesh.material, materials)])


def _assemble(
    scene: Scene, mesh: Mesh, pose: Pose, surface: np.ndarray, glasses: Glasses | None
) -> tuple[np.ndarray, ...]:
    """Head, clothes and glasses as one mesh in camera axes."""
    garment = garment_mesh(scene.neckline, scene.looseness)
    cloth = pose(garment.vertices, 0.0)
    vertices, normals = [surface, cloth], [mesh_normals(surface, mesh), vertex_normals(cloth, garment.faces)]
    uv, canonical = [mesh.uv, garment.uv], [mesh.neutral, garment.vertices]
    faces, material = (
        [mesh.faces, garment.faces + len(surface)],
        [mesh.material, np.full(len(garment.faces), CLOTH, np.int32)],
    )
    if glasses is not None:
        frame = pose(glasses.vertices, 1.0)
        vertices.append(frame)
        normals.append(vertex_normals(frame, glasses.faces))
        uv.append(np.zeros((len(frame), 2), np.float32))
        canonical.append(glasses.vertices)
        faces.append(glasses.faces + len(surface) + len(cloth))
        material.append(np.full(len(glasses.faces), FRAME, np.int32))
    joined = [np.concatenate(part).astype(np.float32) for part in (vertices, normals, uv, canonical)]
    return (*joined, np.concatenate(faces).astype(np.int32), np.concatenate(material).astype(np.int32))


def _openness(body: Body, count: int) -> np.ndarray:
    """[count, 1] openness of the head's vertices, 1 of what is worn."""
    values = np.ones((count, 1), np.float32)
    values[: len(body.openness), 0] = body.openness
    return values


def _materials(body: Body, scene: Scene, mesh: Mesh, glasses: Glasses | None) -> Materials:
    finish = body.person.finish
    return Materials(
        iris=body.person.iris,
        sclera=finish.sclera(body.person.tone, body.person.age),
        teeth=finish.teeth(body.person.age),
        eye=np.array([finish.iris, finish.ring, finish.pink]),
        cloth=scene.cloth,
        frame=glasses.colour if glasses is not None else np.zeros(3),
        gaze_axes=gaze_axes(mesh, scene.expression),
        eye_centres=mesh.eyes,
        eye_radius=mesh.eye_radius,
        pupil=body.person.pupil,
    )


def _cavities(
    occlusion: np.ndarray,
    eye: np.ndarray,
    mouth: np.ndarray,
    ahead: np.ndarray,
    surface: np.ndarray,
    mesh: Mesh,
) -> np.ndarray:
    """Darkens the depth of the mouth, and the shade of lips on teeth and of lids on eyes, in place."""
    big = eye.shape[0]
    if mouth.any():
        front = surface[_vertices_of(mesh, TEETH)][:, 2].max()
        part, lip = _beside(mouth, int(big * 0.008), big * 0.006)
        inside = mouth[part]
        depth = np.clip(np.exp((ahead[part][inside] - front) / 2.4), 0.06, 1)
        occlusion[part][inside] *= 0.9 * depth * (1 - 0.55 * lip[inside])
    if eye.any():
        part, lid = _beside(eye, int(big * 0.008), big * 0.006)
        occlusion[part][eye[part]] = 0.97 - 0.62 * lid[eye[part]]
    return occlusion


def _beside(mask: np.ndarray, down: int, sigma: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of a picture [H, W] that a mask is in, and there, 0..1, what else than it is near.

    Args:
        down: how far what else there is moves down, pixels; sigma: its blur.
    """
    part = extent(mask, abs(down) + int(4 * sigma) + 2)
    other = np.roll(1 - mask[part].astype(np.float32), down, 0)
    return part, cv2.GaussianBlur(other, (0, 0), sigma)


def _tears(specular: np.ndarray, diffuse: np.ndarray, eye: np.ndarray, bright: float) -> None:
    """The wet line along the lower lids, added to the highlights in place."""
    if not eye.any():
        return
    big = eye.shape[0]
    part, lid = _beside(eye, -1, big * 0.0014)
    above = np.roll(eye[part], max(1, big // 300), 0)  # not where the upper lid is near
    line = (bright * _TEAR) * lid * (eye[part] & above)
    specular[part] += line[..., None] * diffuse[part]


def _lashes(picture: _Picture, screen: np.ndarray, mesh: Mesh, darkness: float) -> None:
    big = picture.image.shape[0]
    sigma = big / 768 * 0.9
    at = screen[np.unique(mesh.lashes)]
    margin = int(4 * sigma) + 2
    left, top = (max(int(at[:, k].min()) - margin, 0) for k in (0, 1))
    right, bottom = (min(int(at[:, k].max()) + margin + 1, big) for k in (0, 1))
    if left >= right or top >= bottom:
        return
    part = (slice(top, bottom), slice(left, right))
    z = depth_only(screen - np.array([left, top, 0], np.float32), mesh.lashes, bottom - top, right - left)
    drawn = (z < FAR) & (z < picture.depth[part] + 0.05)
    cover = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), sigma)
    picture.image[part] *= (1 - np.float32(darkness) * np.clip(cover, 0, 1))[..., None]


def _face_hair(
    picture: _Picture, body: Body, scene: Scene, posed: np.ndarray, mesh: Mesh, pose: Pose, camera: Camera
) -> None:
    """Brows and beard, lit by the light on the skin behind them."""
    person, normals = body.person, mesh_normals(posed, mesh)
    on_skin = picture.skin.astype(np.uint8)
    average = np.array(cv2.mean(picture.diffuse, on_skin)[:3]) if on_skin.any() else scene.light.sky[0]
    grey = np.array([0.26, 0.25, 0.24]) * person.grey * 0.8
    beard_colour = person.hair_colour * (1 - 0.8 * person.grey) + grey
    for strands, colour, width, cover in (
        (body.brows, person.brow_colour, 0.026, picture.brow),
        (body.beard, beard_colour, 0.040, picture.beard),
    ):
        if strands is None:
            continue
        points = camera(pose(place(strands, mesh.faces, posed, normals), 1.0))
        if cover is picture.brow:
            picture.brow_middles = points[:, points.shape[1] // 2, :2].astype(np.float64)
        at = np.clip(points[:, 0, :2].astype(int), 0, picture.image.shape[0] - 1)
        lit = 0.5 * picture.diffuse[at[:, 1], at[:, 0]] + 0.5 * average
        colours = (colour * strands.shade[:, None] * lit)[:, None].repeat(points.shape[1], 1)
        colours = colours.astype(np.float32)
        widths = np.linspace(1, 0.35, points.shape[1], dtype=np.float32) * np.float32(camera.scale * width)
        order = np.argsort(-points[:, 1, 2], kind="stable")
        # `solid` 2: hairs of the face hide nothing, and the depth stays as it is
        draw_strands(points, colours, widths, order, picture.depth, picture.image, cover, 0.15, 2.0)


def _lenses(picture: _Picture, glasses: Glasses, scene: Scene, pose: Pose, camera: Camera) -> None:
    """Glass over what is drawn: a tint, a reflection of the sky and of the first light."""
    big = picture.image.shape[0]
    points = pose(glasses.vertices, 1.0)
    z, triangle, weights = raster(camera(points), glasses.lenses, big, big)
    seen = (triangle >= 0) & (z < picture.depth)
    if not seen.any():
        return
    local = interpolate(triangle, weights, glasses.lenses, glasses.vertices)[seen]
    height = np.clip((local[:, 1] - 1.5) / 4.0, 0, 1)
    through = 1 - glasses.tint * (0.80 + 0.16 * height)
    window = np.exp(-(((local[:, 0] - 0.8 * local[:, 1] + 3 * scene.light.directions[0][0]) / 1.3) ** 2))
    sky = (0.015 + 0.05 * glasses.tint) * scene.light.sky[0] * (0.4 + height[:, None])
    shine = (0.02 + 0.03 * glasses.tint) * window[:, None] * scene.light.colours[0]
    picture.image[seen] = picture.image[seen] * (0.96 * through)[:, None] + sky + shine
    picture.lens[seen] = 1.0 if glasses.tint > 0.3 else 0.0


def _hair_shadows(body: Body, scene: Scene, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Grids of the first light's reach and of openness to the sky through the hair (hairlight.py)."""
    if body.grid is None:
        return _NO_HAIR, _NO_HAIR
    towards = scene.light.directions[0] @ pose.head  # the head turns; the light comes from elsewhere to it
    reach = march(body.grid, towards.astype(np.float32), 12, np.float32(0.5))
    above = np.array([0, 0.8, 0.6], np.float32) @ pose.head
    return reach, march(body.grid, above.astype(np.float32), 4, np.float32(0.35))


def _hair(
    picture: _Picture,
    body: Body,
    scene: Scene,
    pose: Pose,
    camera: Camera,
    shadows: tuple[np.ndarray, np.ndarray],
) -> None:
    """Strands of the head, as many as the picture can show."""
    person, hair = body.person, body.hair
    if hair is None:
        return
    big = picture.image.shape[0]
    crowded = 1.3 if STYLES[person.hair.name] > _LONG_HAIR else 1.0
    stride = int(np.clip(round(1000 * crowded / big), 1, 6))
    light = scene.light
    screen, colours, order = pose_and_shade(
        hair.points,
        hair.head,
        hair.shade,
        np.arange(0, len(hair.points), stride),
        _knots(person.hair, hair.points.shape[1], camera.scale),
        _hair_colour(hair.grey, person.hair_colour, person.grey),
        np.stack([pose.head, pose.body]),
        PIVOT,
        np.array([camera.x, camera.y, camera.focal, camera.distance], np.float32),
        *(np.asarray(part, np.float32) for part in (light.directions, light.colours, light.sky[0])),
        *shadows,
        picture.depth,
        np.float32(_HAIR_BIAS),
    )
    order = order[np.argsort(-screen[order, screen.shape[1] // 2, 2], kind="stable")]
    taper = np.interp(np.linspace(0, 1, screen.shape[1]), [0, 0.65, 1], [1, 1, 0.3])
    widths = (taper * (camera.scale * STRAND_WIDTH * stride**0.75)).astype(np.float32)
    draw_strands(screen, colours, widths, order, picture.depth, picture.image, picture.hair, _HAIR_BIAS, 0.45)


def _knots(style: HairStyle, grown: int, scale: float) -> np.ndarray:
    """Which knots of a strand are drawn: about one every four pixels, first and last among them."""
    finer = 2 if style.name in CURLED else 1
    wanted = int(np.clip(finer * style.full * scale / 4, 8, grown))
    return np.unique(np.round(np.linspace(0, grown - 1, wanted)).astype(int))


def _hair_colour(strand: np.ndarray, colour: np.ndarray, grey: float) -> np.ndarray:
    """[S, 3]: each strand greys in its own time."""
    own = np.clip((grey * 1.5 - strand) * 1.2 + 0.1, 0, 1)[:, None] * min(1.0, grey * 8)
    share = 0.55 * own + 0.45 * grey  # a strand stands for several hairs
    # no two strands are of one colour: some redder, some ashen
    warm = (7.3 * strand[:, None]) % 1 - 0.5
    own_colour = colour * np.exp(warm * np.array([0.30, 0.06, -0.24]))
    return np.asarray(own_colour * (1 - share) + np.array([0.26, 0.25, 0.24]) * share, np.float32)


def _truth(
    picture: _Picture, body: Body, scene: Scene, mesh: Mesh, screen: np.ndarray, eyewear: int
) -> Truth:
    pixels = screen[:, :2] / _SUPER - 0.5
    dense = dense_indices(mesh)
    landmarks = (lip_weights(mesh) @ pixels[mesh.landmarks]).astype(np.float32)
    landmarks[17:27] = brow_points(picture.brow_middles / _SUPER - 0.5)
    at = screen[dense]
    big = picture.depth.shape[0]
    x, y = (np.clip(at[:, k].astype(int), 0, big - 1) for k in (0, 1))
    inside = ((at[:, :2] >= 0) & (at[:, :2] < big)).all(1)
    low, high = pixels[dense].min(0), pixels[dense].max(0)
    labels = label_picture(
        picture.seen,
        build_regions(mesh).label,
        picture.brow,
        picture.beard,
        picture.hair,
        picture.lens,
        _SUPER,
    )
    rows = np.minimum(*(picture.depth[k::_SUPER] for k in range(_SUPER)))
    depth = np.minimum(*(rows[:, k::_SUPER] for k in range(_SUPER)))
    depth[depth > 1e8] = np.inf
    return Truth(
        landmarks68=landmarks,
        landmarks5=five_points(landmarks),
        dense=pixels[dense].astype(np.float32),
        visible=inside & (at[:, 2] < picture.depth[y, x] + 0.5),
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        labels=labels,
        depth=depth,
        pose=(scene.yaw, scene.pitch, scene.roll),
        expression=scene.expression,
        identity=body.person.shape,
        attributes=attributes(body.person, scene, mesh, eyewear),
    )
