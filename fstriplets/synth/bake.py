"""What is painted on the skin once a person: albedo, gloss and height over both textures."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import cv2
import numpy as np

from fstriplets.synth.browshape import paint_brows
from fstriplets.synth.hair import wave
from fstriplets.synth.haircut import scalp_cover, scalp_density
from fstriplets.synth.mesh import Mesh
from fstriplets.synth.person import Person
from fstriplets.synth.regions import Regions
from fstriplets.synth.wrinkles import draw_wrinkles

__all__ = ["bake_skin"]

#: Channels of a baked texture: albedo RGB (linear), specular, roughness, height (units), smile crease.
ALBEDO, SPECULAR, ROUGHNESS, HEIGHT, CREASE = slice(0, 3), 3, 4, 5, 6
#: Gloss and roughness of bare scalp; log change of the colour of the neck, which sees less sun.
_SCALP_GLOSS = (0.42, 0.44)
_NECK = np.array([-0.06, -0.08, -0.09], np.float32)
#: What a blotch of plain skin changes of its RGB.
_BLOTCH = np.array([0.6, 1, 1.1], np.float32)
#: Darkest shadow that shaved hair leaves on the scalp, share of its colour.
_SHAVED = 0.24
#: Bare skins kept (7 MB each): those a swap or an edit starts from.
_KEPT = 4
_BARE: OrderedDict[tuple[object, ...], tuple[tuple[object, ...], np.ndarray, np.ndarray]] = OrderedDict()


def bake_skin(person: Person, mesh: Mesh, regions: Regions) -> tuple[np.ndarray, np.ndarray]:
    """Textures of the face [512, 512, 7] and of the back of the head [256, 256, 7], float32."""
    bare, plain = _bare_skin(person, mesh, regions)
    face = bare.copy()
    face[..., ALBEDO] = _stubble(paint_brows(bare[..., ALBEDO], mesh, person), person, regions)
    _scalp(face, mesh.position, person)
    _shaved(face, mesh.position, person)
    return face, _back_of_head(person, mesh, plain)


def _bare_skin(person: Person, mesh: Mesh, regions: Regions) -> tuple[np.ndarray, np.ndarray]:
    """The face's texture without brows, stubble and scalp, and the plain colour [3] of the skin.

    Edits of hair and beard, and swaps, change neither: the last few people's are kept.
    """
    arrays = (mesh, person.texture, person.base, person.smile_map, person.lip_colour)
    key = (*map(id, arrays), person.seed, person.age, person.tone, person.lipstick, person.finish.oil)
    if key in _BARE:
        _BARE.move_to_end(key)
        return _BARE[key][1:]
    p = mesh.position
    crown = _crown(p)
    albedo = 0.86 * person.texture.astype(np.float32) ** 2.2
    plain = _plain_colour(albedo)
    wrinkles = draw_wrinkles(mesh, person.seed, person.age)
    face = np.zeros((*p.shape[:2], 7), np.float32)
    _gloss(face, p, regions, crown, person.finish.oil)
    face[..., HEIGHT] = _relief(person) + wrinkles.height
    face[..., CREASE] = person.smile_map
    albedo = _join_plain(albedo, plain, person.seed, np.maximum(crown, 0.8 * regions.neck))
    albedo = albedo * np.exp(regions.neck[..., None] * _NECK)
    albedo = _hollows(albedo, mesh, regions, min(1.0, person.tone / 0.3))
    albedo = albedo * np.exp(wrinkles.dark[..., None] * np.array([0.85, 1.05, 1.1], np.float32))
    face[..., ALBEDO] = _lipstick(albedo, person, regions)
    _BARE[key] = (arrays, face, plain)  # the arrays are held, so that their ids stay theirs
    if len(_BARE) > _KEPT:
        _BARE.popitem(last=False)
    return face, plain


def _gloss(face: np.ndarray, p: np.ndarray, regions: Regions, crown: np.ndarray, oil: float) -> None:
    """Oilier down the middle of the face, wetter lips, and the back of the head's gloss at the seam."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    middle = np.exp(-((x / 2.2) ** 2) - ((y - 1) / 6) ** 2)
    forehead = 0.5 * np.exp(-((x / 4) ** 2) - ((y - 7.5) / 2) ** 2)
    oily = (middle + forehead) * np.clip((z - 2.5) / 3, 0, 1)
    face[..., SPECULAR] = 0.40 + (0.40 * oil - 0.10) * oily + 0.22 * regions.lips - 0.12 * regions.neck
    face[..., ROUGHNESS] = 0.43 - 0.06 * regions.lips + 0.04 * regions.neck
    for channel, value in ((SPECULAR, _SCALP_GLOSS[0]), (ROUGHNESS, _SCALP_GLOSS[1])):
        face[..., channel] += crown * (value - face[..., channel])


def _relief(person: Person) -> np.ndarray:
    """Pores and fine lines, units: darker texels lie deeper."""
    luma = person.texture.mean(-1)
    fine = luma - cv2.GaussianBlur(luma, (0, 0), 4)
    return np.asarray(0.12 * np.clip(fine / max(float(person.base.mean()), 0.35), -0.12, 0.12))


def _hollows(albedo: np.ndarray, mesh: Mesh, regions: Regions, fair: float) -> np.ndarray:
    """Shade the photos' light hid (ears, nostrils, corners of the eyes), and redder ears on fair skin."""
    warm = 1 + fair * regions.ears[..., None] * np.array([0.03, -0.07, -0.07], np.float32)
    hollow = np.clip(mesh.cavity, 0, 0.8) * (1 + 1.0 * regions.ears) * (1 - regions.lips)
    return np.asarray(albedo * warm * np.exp(-hollow[..., None] * np.array([0.65, 0.9, 0.95], np.float32)))


def _lipstick(albedo: np.ndarray, person: Person, regions: Regions) -> np.ndarray:
    amount = (regions.lips * person.lipstick)[..., None]
    painted = person.lip_colour * (0.5 + 0.5 * albedo / max(float(albedo.mean()), 0.02))
    return np.asarray(albedo * (1 - amount) + painted * amount)


def _crown(p: np.ndarray) -> np.ndarray:
    """1 over the scalp and behind the ears, where the face's texture meets that of the back of the head."""
    up, behind = np.clip((p[..., 1] - 9.6) / 1.6, 0, 1), np.clip((1.2 - p[..., 2]) / 1.6, 0, 1)
    mask = np.maximum(up, behind)
    return np.asarray(mask * mask * (3 - 2 * mask), np.float32)


def _plain_colour(albedo: np.ndarray) -> np.ndarray:
    """[3] linear colour of the temples, where the texture of the face has faded into plain skin."""
    size = albedo.shape[0]
    rows, left = slice(int(0.06 * size), int(0.22 * size)), slice(int(0.05 * size), int(0.16 * size))
    temples = np.concatenate([albedo[rows, left], albedo[rows, ::-1][:, left]])
    return np.asarray(np.median(temples.reshape(-1, 3), 0), np.float32)


def _mottle(size: int, seed: int) -> np.ndarray:
    """[size, size, 3] factors: blotches and grain of skin that no photo shows."""
    rng = np.random.default_rng([seed, 11])
    coarse = cv2.resize(
        rng.standard_normal((40, 40)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    fine = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), 1.1)
    return np.asarray(1 + 0.018 * coarse[..., None] * _BLOTCH + 0.022 * fine[..., None])


def _join_plain(albedo: np.ndarray, plain: np.ndarray, seed: int, where: np.ndarray) -> np.ndarray:
    """The texture goes over into plain skin on the scalp, as on the back of the head, and on the neck.

    It has the same colour there, but on the neck it is stretched and its grain would make streaks.
    """
    w = cv2.GaussianBlur(where, (0, 0), 7)[..., None]
    return np.asarray(albedo * (1 - w) + plain * _mottle(albedo.shape[0], seed) * w)


def _stubble(albedo: np.ndarray, person: Person, regions: Regions) -> np.ndarray:
    """Shaved or short facial hair darkens and greys the skin."""
    tint = np.maximum(regions.beard * person.beard, regions.moustache * person.moustache)
    rng = np.random.default_rng([person.seed, 12])
    dots = cv2.GaussianBlur(rng.standard_normal(tint.shape).astype(np.float32), (0, 0), 0.7)
    amount = np.clip(tint * (0.42 + 0.5 * dots), 0, 0.85)[..., None]
    return np.asarray(albedo * (1 - amount) + (0.6 * person.hair_colour + 0.10 * albedo) * amount)


def _scalp(texture: np.ndarray, p: np.ndarray, person: Person) -> None:
    """Tints the skin between the hairs and takes its gloss away."""
    if person.hair.name == "bald":
        return
    cover = scalp_cover(p, person.hair)[..., None]
    hair = person.hair_colour * (1 - 0.8 * person.grey) + 0.2 * person.grey
    texture[..., ALBEDO] = (
        texture[..., ALBEDO] * (1 - cover) + (0.5 * hair + 0.03 * texture[..., ALBEDO]) * cover
    )
    texture[..., SPECULAR] *= 1 - 0.8 * cover[..., 0]


def _shaved(texture: np.ndarray, p: np.ndarray, person: Person) -> None:
    """Hair roots show through the skin of a bald head where hair would grow."""
    style = person.hair
    gone = 1.0 if style.name == "bald" else style.loss
    if gone <= 0:
        return
    rng = np.random.default_rng([style.seed, 13])
    # some shave all of it, some have lost the crown
    shade, thin = rng.uniform(0.3, 1.0), rng.choice([style.thin, 0.9], p=[0.6, 0.4])
    roots = scalp_density(p, replace(style, thin=float(thin), line=style.line - 0.4))
    roots = cv2.GaussianBlur(roots, (0, 0), p.shape[0] / 50)  # the shadow has no edge
    amount = (_SHAVED * gone * shade * roots * (1 + 0.10 * wave(p, 9.0, style.seed + 3)))[..., None]
    albedo = texture[..., ALBEDO]
    texture[..., ALBEDO] += amount * (np.minimum(0.7 * person.hair_colour + 0.03, 0.5 * albedo) - albedo)


def _back_of_head(person: Person, mesh: Mesh, plain: np.ndarray) -> np.ndarray:
    p = mesh.position_back
    back = np.zeros((*p.shape[:2], 7), np.float32)
    noise = 0.03 * wave(p, 3.0, person.seed + 1) + 0.02 * wave(p, 11.0, person.seed + 2)
    fine = _mottle(p.shape[0], person.seed)
    low = np.clip((-2.5 - p[..., 1]) / 3, 0, 1)[..., None]
    back[..., ALBEDO] = plain * (1 + noise[..., None]) * fine * np.exp(low * _NECK)
    back[..., SPECULAR], back[..., ROUGHNESS] = _SCALP_GLOSS
    _scalp(back, p, person)
    _shaved(back, p, person)
    return back
