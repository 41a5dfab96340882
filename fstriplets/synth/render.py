"""One photo of one person: pose, rasterise, shade, hair, camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fstriplets.synth.bake import bake_skin
from fstriplets.synth.brows import FaceHair, grow_beard, grow_brows, place
from fstriplets.synth.camera import backdrop, develop
from fstriplets.synth.clothes import garment_mesh
from fstriplets.synth.hair import Strands, grow_hair, shade_strands
from fstriplets.synth.mesh import CLOTH, EYE_L, EYE_R, GUMS, TEETH, Mesh, mesh_normals
from fstriplets.synth.person import Person
from fstriplets.synth.raster import draw_strands, interpolate, raster
from fstriplets.synth.regions import build_regions
from fstriplets.synth.scene import Scene
from fstriplets.synth.shading import Materials, ambient_occlusion, pack_constants, scatter, shade, shadow_map

__all__ = ["Body", "Photo", "build_body", "render_photo", "rotation"]

_SUPER = 2
_PIVOT = np.array([0, -7.0, -1.5], np.float32)
_SHADOW_TAPS = np.random.default_rng(1).normal(size=(12, 2))


@dataclass(frozen=True, eq=False)
class Body:
    """What is made once a person and drawn in every photo."""

    person: Person
    vertices: np.ndarray
    face: np.ndarray
    back: np.ndarray
    hair: Strands | None
    brows: FaceHair
    beard: FaceHair | None


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and where things are in it."""

    pixels: np.ndarray
    landmarks: np.ndarray


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """[3, 3] turn of the head, degrees: yaw about y, then pitch about x outermost, roll innermost."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (about_x @ about_y @ about_z).astype(np.float32)


def build_body(person: Person, mesh: Mesh, strands: int = 26000) -> Body:
    """The parts of a person that every photo shares."""
    regions = build_regions(mesh)
    vertices = mesh.shape(person.shape)
    normals = mesh_normals(vertices, mesh)
    face, back = bake_skin(person, mesh, regions)
    hair = grow_hair(mesh, vertices, normals, person.hair, strands)
    return Body(person, vertices, face, back, hair, grow_brows(mesh, person), grow_beard(mesh, regions, person, 7000))


class _Camera:
    """Perspective camera: model units in camera axes to pixels."""

    def __init__(self, scene: Scene, size: int, centre: np.ndarray) -> None:
        self.scale = 0.0305 * scene.zoom * size
        self.distance = scene.distance
        self.focal = self.scale * scene.distance
        self.x = size * (0.5 + scene.shift[0]) - self.scale * centre[0]
        self.y = size * (0.52 + scene.shift[1]) + self.scale * centre[1]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        z = self.distance - points[..., 2]
        return np.stack(
            [self.x + self.focal * points[..., 0] / z, self.y - self.focal * points[..., 1] / z, z], -1
        ).astype(np.float32)


class _Pose:
    """Head and shoulders turn apart, blended along the neck."""

    def __init__(self, scene: Scene) -> None:
        self.head = rotation(scene.yaw, scene.pitch, scene.roll)
        self.body = rotation(scene.body_yaw, 0.25 * scene.pitch, 0.2 * scene.roll)

    def __call__(self, points: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
        local = points - _PIVOT
        head, body = local @ self.head.T, local @ self.body.T
        w = np.asarray(weight, np.float32)[..., None]
        return np.asarray(body + (head - body) * w + _PIVOT, np.float32)


def render_photo(body: Body, scene: Scene, mesh: Mesh, size: int) -> Photo:
    """A photo.

    Args:
        size: side of the square picture, pixels.
    """
    person, big = body.person, size * _SUPER
    posed = body.vertices + mesh.pose_expression(scene.expression)
    pose = _Pose(scene)
    surface = pose(posed, mesh.head)
    garment = garment_mesh(scene.neckline, scene.looseness)
    cloth = pose(garment.vertices, 0.0)
    count = len(surface)
    vertices = np.concatenate([surface, cloth])
    faces = np.concatenate([mesh.faces, garment.faces + count]).astype(np.int32)
    material = np.concatenate([mesh.material, np.full(len(garment.faces), CLOTH, np.int32)])
    normals = np.concatenate([mesh_normals(surface, mesh), _normals(cloth, garment.faces)])
    camera = _Camera(scene, big, 0.8 * pose(np.array([[0, 1.5, 0]], np.float32), 1.0)[0])
    screen = camera(vertices)
    depth, triangle, weights = raster(screen, faces, big, big)
    canonical = np.concatenate([mesh.neutral, garment.vertices])
    uv = np.concatenate([mesh.uv, garment.uv])
    values = interpolate(triangle, weights, faces, np.concatenate([vertices, normals, uv, canonical], 1).astype(np.float32))
    shadow, matrix = shadow_map(vertices, faces, scene.light.directions[0])
    smile = float(scene.expression[mesh.index("mouthSmile_L")] + scene.expression[mesh.index("mouthSmile_R")]) * 0.55
    albedo, diffuse, specular, _ = shade(
        triangle, values, material, body.face, body.back, pack_constants(_materials(body, scene, mesh)),
        scene.light.directions, scene.light.colours, scene.light.sky, shadow, matrix,
        (_SHADOW_TAPS * scene.light.softness * 8).astype(np.float32), np.float32(smile), np.float32(scene.distance),
    )
    drawn = np.where(triangle >= 0, material[triangle], -1)
    occlusion = ambient_occlusion(np.where(triangle >= 0, depth, scene.distance + 8).astype(np.float32), big)
    occlusion = _cavities(occlusion, drawn, values, surface, mesh, big)
    diffuse *= occlusion[..., None]
    skin = ((drawn == 0) | (drawn == 1)).astype(np.float32)
    diffuse = scatter(diffuse, skin, camera.scale)
    image = albedo * diffuse + specular * np.clip(occlusion, 0.2, 1)[..., None]
    empty = drawn < 0
    image[empty] = backdrop(scene, big, big)[empty]
    _lashes(image, depth, screen, mesh, person, big)
    light = _Light(scene)
    _face_hair(image, depth, body, posed, mesh, pose, camera, light, diffuse, skin)
    hair_cover = _hair(image, depth, body, scene, pose, camera, light, skin)
    del hair_cover
    linear = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    landmarks = camera(surface[mesh.landmarks])[:, :2] / _SUPER - 0.5
    return Photo(develop(linear, scene), landmarks)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    from fstriplets.synth.raster import vertex_normals

    return np.asarray(vertex_normals(np.ascontiguousarray(vertices), faces))


def _materials(body: Body, scene: Scene, mesh: Mesh) -> Materials:
    person = body.person
    axes = np.array([[0.04, -0.01, 1], [-0.04, -0.01, 1]], np.float32)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return Materials(
        face=body.face, back=body.back, iris=person.iris, sclera=np.array([0.50, 0.47, 0.45]),
        teeth=np.array([0.62, 0.56, 0.46]), cloth=scene.cloth, frame=np.array([0.02, 0.02, 0.02]),
        gaze_axes=axes, eye_centres=mesh.eyes, eye_radius=mesh.eye_radius, pupil=person.pupil, smile=0.0,
    )


def _cavities(occlusion: np.ndarray, drawn: np.ndarray, values: np.ndarray, surface: np.ndarray, mesh: Mesh, big: int) -> np.ndarray:
    """Darkens the depth of the mouth and the shade of the lids on the eyes."""
    mouth = (drawn == TEETH) | (drawn == GUMS)
    if mouth.any():
        front = surface[np.unique(mesh.faces[mesh.material == TEETH])][:, 2].max()
        deep = np.clip((values[..., 2] - front + 2.6) / 2.6, 0.08, 1)
        occlusion = np.where(mouth, occlusion * deep * 0.8, occlusion)
    eye = ((drawn == EYE_L) | (drawn == EYE_R)).astype(np.float32)
    lid = cv2.GaussianBlur(np.roll(1 - eye, int(big * 0.007), 0), (0, 0), big * 0.0045)
    return np.asarray(np.where(eye > 0, 0.97 - 0.72 * lid, occlusion), np.float32)


def _lashes(image: np.ndarray, depth: np.ndarray, screen: np.ndarray, mesh: Mesh, person: Person, big: int) -> None:
    z, triangle, _ = raster(screen, mesh.lashes, big, big)
    cover = cv2.GaussianBlur(((triangle >= 0) & (z < depth + 0.05)).astype(np.float32), (0, 0), big / 768 * 0.9)
    image *= (1 - person.lash * np.clip(cover, 0, 1))[..., None]


class _Light:
    def __init__(self, scene: Scene) -> None:
        self.directions, self.colours = scene.light.directions, scene.light.colours
        self.ambient = scene.light.sky[0]


def _face_hair(image: np.ndarray, depth: np.ndarray, body: Body, posed: np.ndarray, mesh: Mesh, pose: _Pose, camera: _Camera, light: _Light, diffuse: np.ndarray, skin: np.ndarray) -> None:
    """Brows and beard, lit by the light on the skin behind them."""
    normals = mesh_normals(posed, mesh)
    average = diffuse[skin > 0].mean(0) if (skin > 0).any() else light.ambient
    for strands, colour, width in ((body.brows, body.person.brow_colour, 0.034), (body.beard, body.person.hair_colour, 0.040)):
        if strands is None:
            continue
        points = camera(pose(place(strands, mesh.faces, posed, normals), 1.0))
        at = np.clip(points[:, 0, :2].astype(int), 0, image.shape[0] - 1)
        lit = 0.5 * diffuse[at[:, 1], at[:, 0]] + 0.5 * average
        colours = (colour * strands.shade[:, None] * lit)[:, None].repeat(points.shape[1], 1).astype(np.float32)
        taper = np.linspace(1, 0.35, points.shape[1], dtype=np.float32)
        widths = np.broadcast_to(taper * camera.scale * width, points.shape[:2]).astype(np.float32)
        cover = np.zeros(depth.shape, np.float32)
        order = np.argsort(-points[:, 1, 2], kind="stable")
        draw_strands(points[order], colours[order], widths[order], depth.copy(), image, cover, 0.15, 2.0)


def _hair(image: np.ndarray, depth: np.ndarray, body: Body, scene: Scene, pose: _Pose, camera: _Camera, light: _Light, skin: np.ndarray) -> np.ndarray:
    cover = np.zeros(depth.shape, np.float32)
    if body.hair is None:
        return cover
    person, hair = body.person, body.hair
    points = pose(hair.points, hair.head)
    grey = np.clip((person.grey * 1.5 - hair.grey) * 1.2 + 0.1, 0, 1)[:, None] if person.grey else np.zeros((len(hair.grey), 1))
    colour = (person.hair_colour * (1 - grey) + np.array([0.26, 0.25, 0.24]) * grey).astype(np.float32)
    centre = pose(np.array([[0, 2.5, -0.5]], np.float32), 1.0)[0]
    colours = shade_strands(points, hair.shade, colour, light.directions, light.colours, light.ambient, centre)
    screen = camera(points)
    order = np.argsort(-screen[:, screen.shape[1] // 2, 2], kind="stable")
    taper = np.interp(np.linspace(0, 1, points.shape[1]), [0, 0.65, 1], [1, 1, 0.3]).astype(np.float32)
    widths = np.broadcast_to(taper * camera.scale * 0.045, points.shape[:2]).astype(np.float32)
    draw_strands(screen[order], colours[order], widths[order], depth, image, cover, 0.05, 0.45)
    shade_ = cv2.GaussianBlur(cover, (0, 0), image.shape[0] * 0.012) * (1 - cover) * skin
    image *= (1 - 0.45 * np.clip(shade_, 0, 1))[..., None]
    return cover
