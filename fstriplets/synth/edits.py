"""Edits whose truth is known: the same photo of the same person, changed at any strength.

An edit is a function of (person, scene): everything it does not name stays as it was, down to the noise of
the sensor, so that the edited photo is the exact ground truth of an editor's output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fstriplets.synth.haircut import HairStyle
from fstriplets.synth.mesh import Mesh
from fstriplets.synth.person import Person, skin_at
from fstriplets.synth.scene import GRIN, Scene

__all__ = ["SYNTH_EDITS", "apply_edit"]

_Edited = tuple[Person, Scene]
#: Full edits: sagging beyond the years (of an 80-year-old's), weight (`Person.chubby`).
_EARLY, _WEIGHT = 0.6, 2.0
_HAIR_COLOURS = np.array(
    [
        [0.012, 0.010, 0.009],
        [0.060, 0.033, 0.018],
        [0.24, 0.16, 0.085],
        [0.14, 0.045, 0.018],
        [0.30, 0.29, 0.28],
    ]
)


def apply_edit(
    person: Person, scene: Scene, mesh: Mesh, edit: str, strength: float, seed: int = 0
) -> _Edited:
    """The person and the scene after an edit.

    Args:
        edit: a key of SYNTH_EDITS.
        strength: 0 changes nothing, 1 is the full edit.
        seed: which glasses, which hair colour.

    Raises:
        ValueError: unknown edit, or a strength outside 0..1.
    """
    if edit not in SYNTH_EDITS:
        raise ValueError(f"unknown edit {edit!r}; choose one of: {', '.join(sorted(SYNTH_EDITS))}")
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength {strength} lies outside 0..1")
    if strength == 0.0:
        return person, scene
    rng = np.random.default_rng([seed, 41])
    return SYNTH_EDITS[edit](person, scene, mesh, strength, rng)


def _aging(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    """Up to 45 years of a face that ages early: folds, sagging, spots, grey and receding hair."""
    age = min(person.age + 45 * s, 90.0)
    later = float(np.clip((age - person.age) / 45, 0, 1))
    hair = replace(
        person.hair, line=person.hair.line + 0.7 * later, temples=person.hair.temples + 0.7 * later
    )
    grey = max(person.grey, float(np.clip((age - 40) / 38, 0, 1)))
    skin = skin_at(person.skin_seed, age)
    aged = replace(
        person,
        age=age,
        sagging=person.sagging + _EARLY * later,
        texture=skin.texture,
        hair=hair,
        grey=grey,
        brow_colour=(person.brow_colour * (1 - 0.5 * grey) + 0.12 * grey).astype(np.float32),
    )
    return aged, scene


def _chubbiness(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    return replace(person, chubby=person.chubby + _WEIGHT * s), scene


def _beard(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    """From stubble to a full beard."""
    density = max(person.beard, min(1.0, 0.35 + 0.8 * s) if s > 0.25 else 1.4 * s)
    length = max(person.beard_length if person.beard > 0.05 else 0.0, 0.10 + 0.75 * s**1.5)
    return replace(
        person, beard=density, moustache=max(person.moustache, density), beard_length=length
    ), scene


def _glasses(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    return person, replace(scene, eyewear=int(rng.integers(4)), tint=0.0, eyewear_strength=s)


def _sunglasses(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    return person, replace(scene, eyewear=int(rng.integers(1, 4)), tint=1.0, eyewear_strength=s)


def _grin(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    weights = scene.expression.copy()
    for i, name in enumerate(mesh.names):
        action = name[:-2] if name.endswith(("_L", "_R")) else name
        if action in GRIN:
            weights[i] = weights[i] + (max(GRIN[action], weights[i]) - weights[i]) * s
        elif action.startswith("mouth") or action in ("jawForward", "cheekPuff"):
            weights[i] *= 1 - 0.85 * s
        elif action == "browDown":
            weights[i] *= 1 - 0.6 * s
    return person, replace(scene, expression=weights)


def _hair_colour(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    """Towards the table's colour that is furthest from the person's, or one of the next two."""
    own = np.log(person.hair_colour.mean() * (1 - person.grey) + 0.25 * person.grey)
    order = np.argsort(-np.abs(np.log(_HAIR_COLOURS.mean(1)) - own))
    target = _HAIR_COLOURS[order[rng.integers(3)]]
    colour = np.exp((1 - s) * np.log(person.hair_colour) + s * np.log(target)).astype(np.float32)
    return replace(person, hair_colour=colour, grey=person.grey * (1 - s)), scene


def _with_hair(person: Person, **changes: object) -> Person:
    hair: HairStyle = replace(person.hair, **changes)  # type: ignore[arg-type]
    return replace(person, hair=hair)


def _fringe(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    return _with_hair(person, fringe=max(person.hair.fringe, s)), scene


def _bald(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    return _with_hair(person, loss=max(person.hair.loss, s)), scene


def _cut(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    return _with_hair(person, cut=max(person.hair.cut, 0.88 * s)), scene


def _hair(person: Person, scene: Scene, mesh: Mesh, s: float, rng: np.random.Generator) -> _Edited:
    """One of the hair edits, by seed."""
    chosen = (_hair_colour, _fringe, _bald, _cut)[rng.integers(4)]
    return chosen(person, scene, mesh, s, rng)


#: Edit -> function. `hair` picks one of the four hair edits by seed; the rest are the edits of edits/base.py.
SYNTH_EDITS: dict[str, Callable[[Person, Scene, Mesh, float, np.random.Generator], _Edited]] = {
    "aging": _aging,
    "chubbiness": _chubbiness,
    "beard": _beard,
    "glasses": _glasses,
    "sunglasses": _sunglasses,
    "grin": _grin,
    "hair": _hair,
    "hair_colour": _hair_colour,
    "hair_fringe": _fringe,
    "hair_bald": _bald,
    "hair_cut": _cut,
}
