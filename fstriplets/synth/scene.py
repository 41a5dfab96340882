"""A photo's circumstances from one seed: pose, expression, gaze, light, background, camera, clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fstriplets.synth.clothes import NECKLINES
from fstriplets.synth.mesh import Mesh
from fstriplets.synth.shading import Lighting

__all__ = ["GRIN", "Scene", "gaze_axes", "make_scene"]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that may differ between two photos of one person.

    Attributes:
        seed: the photo's seed.
        yaw, pitch, roll: of the head, degrees (see docs/synthetic-faces.md for the signs).
        body_yaw: of the shoulders, degrees.
        expression: [53] weights in [0, 1].
        light: in camera axes.
        backdrop: seed of the background; backdrop_kind: its name.
        distance: camera to head, units; zoom: face size factor; shift: [2] of the face, picture widths.
        exposure: factor on linear light; warmth: [3] white balance gains.
        blur: defocus, share of the picture's width; saturation: of the camera's colours, 1 as they are.
        noise: sensor noise; quality: JPEG quality 60..97.
        neckline, looseness, cloth: clothes ([8]: two colours, pattern, scale).
        wears_own: wears their glasses, if they have any; eyewear: row of wear.FRAMES worn instead, -1
            for none, None for their own; tint: of the lenses, 0 clear .. 1 sunglasses;
            eyewear_strength: below 1 the glasses are seen through.
    """

    seed: int
    yaw: float
    pitch: float
    roll: float
    body_yaw: float
    expression: np.ndarray
    light: Lighting
    backdrop: int
    distance: float
    zoom: float
    shift: np.ndarray
    exposure: float
    warmth: np.ndarray
    blur: float
    saturation: float
    noise: float
    quality: int
    neckline: str
    looseness: float
    cloth: np.ndarray
    wears_own: bool
    eyewear: int | None = None
    tint: float = 0.0
    eyewear_strength: float = 1.0


def make_scene(mesh: Mesh, seed: int, max_yaw: float = 60.0) -> Scene:
    """The circumstances of a photo's seed.

    Args:
        max_yaw: limit of the head's yaw, degrees; its spread is 0.4 of it.
    """
    rng = np.random.default_rng([seed, 3])
    yaw = float(np.clip(rng.normal(0, 0.42 * max_yaw), -max_yaw, max_yaw))
    pitch = float(np.clip(rng.normal(0, 7), -22, 22))
    return Scene(
        seed=seed,
        yaw=yaw,
        pitch=pitch,
        roll=float(np.clip(rng.normal(0, 5.5), -16, 16)),
        body_yaw=float(yaw * rng.uniform(0.1, 0.8)),
        expression=random_expression(mesh, rng, turned=(yaw, pitch)),
        light=random_light(rng),
        backdrop=int(rng.integers(2**31)),
        distance=float(np.exp(rng.uniform(np.log(62), np.log(160)))),
        zoom=float(rng.uniform(0.88, 1.06)),
        shift=rng.normal(0, 0.012, 2).astype(np.float32),
        exposure=float(np.exp(np.clip(rng.normal(0.0, 0.17), -0.4, 0.35))),
        warmth=_white_balance(rng),
        blur=float(min(0.0065, rng.exponential(0.0016))),
        saturation=float(np.exp(np.clip(rng.normal(0.06, 0.19), -0.35, 0.42))),
        noise=float(rng.uniform(0.002, 0.012)),
        quality=int(rng.integers(72, 96)),
        neckline=str(rng.choice(list(NECKLINES), p=[0.5, 0.14, 0.22, 0.14])),
        looseness=float(rng.random()),
        cloth=random_cloth(rng),
        wears_own=bool(rng.random() < 0.75),
    )


def _white_balance(rng: np.random.Generator) -> np.ndarray:
    """[3] gains: off by warm or cold, and a little by green or magenta."""
    warm, green = rng.normal(0, 1, 2)
    off = warm * np.array([0.055, 0.0, -0.07]) + green * np.array([0.0, 0.018, 0.0])
    return np.asarray(np.exp(np.clip(off, -0.14, 0.14)), np.float32)


def random_cloth(rng: np.random.Generator) -> np.ndarray:
    """[8] two linear colours, pattern number and scale."""
    palette = np.array(
        [
            [0.55, 0.55, 0.54],
            [0.30, 0.30, 0.31],
            [0.03, 0.035, 0.05],
            [0.018, 0.018, 0.02],
            [0.22, 0.03, 0.035],
            [0.05, 0.09, 0.22],
            [0.06, 0.12, 0.07],
            [0.33, 0.25, 0.17],
            [0.12, 0.17, 0.26],
            [0.28, 0.12, 0.15],
            [0.35, 0.30, 0.08],
        ]
    )
    a, b = palette[rng.integers(len(palette), size=2)] * rng.uniform(0.75, 1.2, (2, 1))
    pattern = int(rng.choice(4, p=[0.58, 0.14, 0.18, 0.10]))
    return np.concatenate([a, b, [pattern, rng.random()]]).astype(np.float32)


def random_light(rng: np.random.Generator) -> Lighting:
    """Key, fill and rim light and a sky whose colour goes with the key."""
    warm, day, cool = np.array([1, 0.92, 0.82]), np.ones(3), np.array([0.86, 0.94, 1.0])
    tint = [warm, day, cool]
    key, fill = tint[rng.integers(3)], tint[rng.integers(3)]
    turn = rng.uniform(-1.25, 1.25)
    directions = np.array(
        [
            [np.sin(turn), rng.uniform(0.3, 0.95), np.cos(turn)],
            [-np.sin(turn) * 1.3 - 0.2, rng.uniform(-0.1, 0.3), 0.6],
            [rng.uniform(-0.9, 0.9), 0.5, -0.9],
        ]
    )
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strength = rng.uniform(0.25, 1.3)
    ambient = rng.uniform(0.20, 0.42) * (1.25 - 0.5 * strength)
    colours = np.stack([key * strength, fill * rng.uniform(0.10, 0.42), day * rng.uniform(0.05, 0.5)])
    sky = np.zeros((9, 3))
    tone = (key * 0.5 + 0.5) * ambient
    sky[0] = tone
    sky[1] = tone * rng.uniform(0.2, 0.6) * np.array([0.95, 1, 1.06])
    sky[2] = tone * rng.uniform(0.0, 0.35)
    sky[3] = tone * rng.normal(0, 0.25)
    sky[8] = tone * rng.normal(0, 0.06)
    # the camera meters the light, though not all of it
    metered = float((colours[0] + 0.6 * colours[1]).mean() * 0.6 + tone.mean())
    gain = (0.78 / metered) ** 0.55
    # and takes most of the colour of all light together for its own, as white balance does
    seen = colours[0] + 0.6 * colours[1] + tone
    white = gain * (seen.mean() / seen) ** 0.7
    colours, sky = colours * white, sky * white
    return Lighting(
        directions.astype(np.float32),
        colours.astype(np.float32),
        sky.astype(np.float32),
        float(rng.uniform(0.15, 0.8)),
    )


#: Actions of a full grin.
GRIN: dict[str, float] = {
    "mouthSmile": 0.85,
    "cheekSquint": 0.6,
    "eyeSquint": 0.25,
    "jawOpen": 0.10,
    "mouthUpperUp": 0.35,
    "mouthDimple": 0.25,
    "mouthLowerDown": 0.15,
}
_MOODS: dict[str, dict[str, float]] = {
    "rest": {},
    "soft": {"mouthSmile": 0.28, "cheekSquint": 0.15, "eyeSquint": 0.1},
    "smile": {"mouthSmile": 0.6, "cheekSquint": 0.35, "eyeSquint": 0.2, "mouthDimple": 0.15},
    "grin": GRIN,
    "laugh": {
        "mouthSmile": 0.8,
        "cheekSquint": 0.5,
        "eyeSquint": 0.3,
        "jawOpen": 0.28,
        "mouthUpperUp": 0.3,
        "mouthLowerDown": 0.2,
    },
    "talk": {"jawOpen": 0.16, "mouthFunnel": 0.22, "browInnerUp": 0.15},
    "frown": {"browDown": 0.45, "mouthFrown": 0.2, "eyeSquint": 0.2},
    "surprise": {"browInnerUp": 0.45, "browOuterUp": 0.45, "eyeWide": 0.3, "jawOpen": 0.15},
    "press": {"mouthPress": 0.45, "mouthDimple": 0.2, "browInnerUp": 0.1},
    "smirk": {"mouthSmile_L": 0.4, "mouthSmile_R": 0.12, "cheekSquint_L": 0.2, "mouthDimple_L": 0.2},
}
#: Share of photos with each mood, in their order: people in photos rest or smile.
_HOW_OFTEN = (0.25, 0.28, 0.22, 0.13, 0.03, 0.04, 0.01, 0.01, 0.015, 0.015)
#: Degrees an eye turns by at weight 1 of a gaze action; how far the two axes are spread when they look ahead.
_EYE_TURN, _EYES_APART = 32.0, 2.3
#: Actions a resting face is never quite without.
_RESTING = ("browDown", "browInnerUp", "browOuterUp", "mouthPress", "mouthDimple", "eyeSquint", "noseSneer")


def random_expression(
    mesh: Mesh, rng: np.random.Generator, mood: str | None = None, turned: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """[53] weights: a mood at some strength over a little resting asymmetry, a blink and a gaze.

    Args:
        turned: yaw and pitch of the head, degrees; most people look into the camera all the same.
    """
    names = mesh.names
    weights = np.zeros(len(names), np.float32)
    for stem in _RESTING:
        both = rng.random()
        for i, name in enumerate(names):
            if name.startswith(stem):  # hardly more on one side than on the other
                weights[i] = 0.10 * (0.8 * both + 0.2 * rng.random())
    for name in ("mouthLeft", "jawLeft", "mouthRight", "jawRight"):
        weights[names.index(name)] = 0.03 * rng.random()
    chosen = mood or str(rng.choice(list(_MOODS), p=list(_HOW_OFTEN)))
    strength = rng.uniform(0.7, 1.15)
    for action, value in _MOODS[chosen].items():
        both = 1 + 0.10 * rng.normal()
        for i, name in enumerate(names):
            if name == action or name[:-2] == action:
                weights[i] += value * strength * (both + 0.05 * rng.normal())
    _look(weights, names, rng, turned)
    return np.clip(weights, 0, 1)


def gaze_axes(mesh: Mesh, expression: np.ndarray) -> np.ndarray:
    """Optical axes of the left and right eye in the head's axes, unit vectors [2, 3].

    The face model's gaze actions move lids only; the eyes turn with them here.
    """
    axes = []
    for eye, sign in (("L", 1), ("R", -1)):
        out, inwards, up, down = (
            float(expression[mesh.index(f"eyeLook{way}_{eye}")]) for way in ("Out", "In", "Up", "Down")
        )
        side = np.radians(sign * (_EYE_TURN * (out - inwards) + _EYES_APART))
        height = np.radians(_EYE_TURN * (up - down) - 0.5)
        axes.append([np.sin(side) * np.cos(height), np.sin(height), np.cos(side) * np.cos(height)])
    return np.array(axes, np.float32)


def _look(
    weights: np.ndarray, names: tuple[str, ...], rng: np.random.Generator, turned: tuple[float, float]
) -> None:
    """Sets blink and gaze: into or near the camera as far as eyes turn, sometimes elsewhere."""
    blink = np.clip(0.10 + 0.05 * rng.normal(), 0.0, 0.25)
    side, height = rng.normal(0, 0.06), rng.normal(0, 0.04)
    if rng.random() < 0.75:
        side -= np.clip(turned[0] / _EYE_TURN, -0.8, 0.8)
        height -= np.clip(turned[1] / _EYE_TURN, -0.4, 0.4)
    else:
        side, height = side + rng.normal(0, 0.2), height + rng.normal(0, 0.1)
    for eye, sign in (("L", 1), ("R", -1)):
        weights[names.index(f"eyeBlink_{eye}")] = blink + 0.01 * rng.normal()
        weights[names.index(f"eyeLookOut_{eye}")] = max(0, sign * side)
        weights[names.index(f"eyeLookIn_{eye}")] = max(0, -sign * side)
        weights[names.index(f"eyeLookUp_{eye}")] = max(0, height)
        weights[names.index(f"eyeLookDown_{eye}")] = max(0, -height)
