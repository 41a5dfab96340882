"""What makes faces differ beyond the face model's modes: eyes, brows, nose, mouth and jaw, each on its own.

A recogniser tells people apart by the proportions of single features, above all around the eyes; the
face model's modes are global and, drawn independently, leave everybody near the average there. A trait
is one more linear mode: a displacement of all vertices that moves, scales or turns one feature within a
smooth window. The eyeballs lie inside the window's flat top and move with their lids. Unit weight is
about one standard deviation among adults (widths and heights after Farkas 1994, the rest set by eye).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fstriplets.synth.facemodel import FaceModel

__all__ = ["TRAITS", "trait_modes"]

#: Names of the traits, in the order of their weights behind the face model's own in an identity vector.
TRAITS = (
    "eye_spacing",
    "eye_size",
    "eye_tilt",
    "eye_height",
    "eye_depth",
    "lid_open",
    "lid_squint",
    "lid_fold",
    "eye_bag",
    "brow_height",
    "brow_tilt",
    "brow_ridge",
    "nose_width",
    "nose_length",
    "nose_projection",
    "bridge_height",
    "bridge_width",
    "mouth_width",
    "mouth_height",
    "lip_thickness",
    "chin_length",
    "chin_projection",
    "jaw_width",
    "cheekbone_width",
    "cheek_fullness",
    "forehead_height",
    "face_width",
    "eye_skew",
    "nose_skew",
    "mouth_skew",
    "inner_canthus",
    "outer_canthus",
    "lid_peak",
    "socket_depth",
    "brow_inner",
    "brow_outer",
    "nasal_root",
    "bridge_hump",
    "tip_turn",
    "tip_size",
    "wing_flare",
    "wing_height",
    "upper_lip",
    "lower_lip",
    "mouth_tilt",
    "mouth_projection",
    "chin_width",
    "jaw_angle",
    "temple_width",
    "ear_out",
    "ear_size",
)

_EYE, _BROW = np.array([3.15, 3.55, 8.0]), np.array([3.6, 5.9, 9.5])


def trait_modes(model: FaceModel) -> np.ndarray:
    """Displacement of each vertex at unit weight, float32 [len(TRAITS), V, 3], model units."""
    face = _Face(model)
    modes = {**_eyes(face), **_brows(face), **_nose(face), **_mouth(face), **_outline(face), **_skews(face)}
    modes |= {**_fine_eyes(face), **_fine_nose(face), **_fine_mouth(face), **_sides(face)}
    return np.stack([modes[name] for name in TRAITS]).astype(np.float32)


class _Face:
    """Positions, windows and elementary displacements."""

    def __init__(self, model: FaceModel) -> None:
        self.model = model
        self.p = model.neutral.astype(np.float64)
        self.x, self.y, self.z = self.p.T
        self.side = np.sign(self.x)
        depth = np.clip(self.z / 4, 0, 1)
        self.front = depth * depth * (3 - 2 * depth)

    def window(self, x: float, y: float, width: float, height: float) -> np.ndarray:
        """Flat-topped window about (|x|, y) on the front of the head, [V]."""
        across = (np.abs(self.x) - x) / width if x else self.x / width
        return np.asarray(np.exp(-((across**2 + ((self.y - y) / height) ** 2) ** 2)) * self.front)

    def move(self, w: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
        """Shift by (x outwards, y, z)."""
        return np.asarray(w[:, None] * np.stack([x * self.side, np.full_like(w, y), np.full_like(w, z)], 1))

    def scale(self, w: np.ndarray, centre: np.ndarray, factor: tuple[float, float, float]) -> np.ndarray:
        """Grow about `centre` (mirrored on the other side)."""
        middle = centre * np.stack([self.side, np.ones_like(w), np.ones_like(w)], 1)
        return np.asarray(w[:, None] * (self.p - middle) * np.array(factor))

    def turn(self, w: np.ndarray, centre: np.ndarray, angle: float) -> np.ndarray:
        """Raise the outer end by turning in the face's plane."""
        dx, dy = np.abs(self.x) - centre[0], self.y - centre[1]
        return np.asarray(w[:, None] * np.stack([-dy * angle * self.side, dx * angle, np.zeros_like(w)], 1))

    def action(self, name: str) -> np.ndarray:
        """Both sides of an expression of the face model."""
        rows = [i for i, n in enumerate(self.model.expression_names) if n in (f"{name}_L", f"{name}_R")]
        return np.asarray(self.model.expression[rows].sum(0))


def _eyes(f: _Face) -> dict[str, np.ndarray]:
    w = f.window(3.15, 3.55, 2.5, 1.75)
    return {
        "eye_spacing": f.move(w, x=0.20),
        "eye_size": f.scale(w, _EYE, (0.085, 0.085, 0.085)),
        "eye_tilt": f.turn(w, _EYE, 0.075),
        "eye_height": f.move(w, y=0.20),
        "eye_depth": f.move(w, z=0.25),
        "lid_open": -0.13 * f.action("eyeBlink"),
        "lid_squint": 0.22 * f.action("eyeSquint"),
        "lid_fold": f.move(f.window(3.3, 4.75, 2.2, 0.65), y=-0.13, z=0.17),
        "eye_bag": f.move(f.window(3.1, 2.1, 1.7, 0.6), z=0.13),
    }


def _brows(f: _Face) -> dict[str, np.ndarray]:
    w = f.window(3.5, 6.1, 3.0, 1.2)
    return {
        "brow_height": f.move(w, y=0.28),
        "brow_tilt": f.turn(w, _BROW, 0.09),
        "brow_ridge": f.move(w, z=0.28),
    }


def _nose(f: _Face) -> dict[str, np.ndarray]:
    wings, tip = f.window(0, -0.4, 2.2, 1.8), f.window(0, -0.7, 2.0, 2.0)
    bridge = f.window(0, 2.8, 1.3, 2.0)
    return {
        "nose_width": f.scale(wings, np.array([0, -0.4, 11.0]), (0.13, 0.03, 0.0)),
        "nose_length": f.move(tip, y=-0.30),
        "nose_projection": f.move(f.window(0, 0.3, 1.6, 2.4), z=0.38),
        "bridge_height": f.move(bridge, z=0.30),
        "bridge_width": f.scale(bridge, np.array([0, 2.8, 10.0]), (0.18, 0.0, 0.0)),
    }


def _mouth(f: _Face) -> dict[str, np.ndarray]:
    w = f.window(0, -3.6, 3.2, 1.7)
    lips = f.window(0, -3.4, 2.6, 1.25)
    return {
        "mouth_width": f.scale(w, np.array([0, -3.6, 10.0]), (0.10, 0.0, 0.0)),
        "mouth_height": f.move(w, y=0.24),
        "lip_thickness": f.scale(lips, np.array([0, -3.4, 10.5]), (0.0, 0.20, 0.08)),
    }


def _outline(f: _Face) -> dict[str, np.ndarray]:
    low = np.clip((-4.6 - f.y) / 3.0, 0, 1) ** 1.5 * f.front * np.clip((f.y + 13) / 4, 0, 1)
    jaw = np.exp(-(((f.y + 5.0) / 3.2) ** 2)) * np.clip((f.z + 2) / 5, 0, 1)
    cheekbone = np.exp(-(((f.y - 1.2) / 2.4) ** 2)) * f.front * np.clip((np.abs(f.x) - 3.5) / 3, 0, 1)
    cheek = f.window(4.6, -1.6, 2.2, 2.6)
    high = np.clip((f.y - 6.5) / 4, 0, 2) * np.clip((f.z + 6) / 6, 0, 1)
    whole = np.clip((f.y + 13) / 5, 0, 1)
    return {
        "chin_length": f.move(low, y=-0.34),
        "chin_projection": f.move(f.window(0, -7.0, 2.6, 1.9), z=0.42),
        "jaw_width": f.scale(jaw, np.zeros(3), (0.05, 0.0, 0.0)),
        "cheekbone_width": f.move(cheekbone, x=0.30),
        "cheek_fullness": f.move(cheek, x=0.17, z=0.22),
        "forehead_height": f.move(high, y=0.40),
        "face_width": f.scale(whole, np.zeros(3), (0.045, -0.02, 0.0)),
    }


def _skews(f: _Face) -> dict[str, np.ndarray]:
    """Left and right are never the same: these move one against the other."""
    eyes, nose, mouth = (
        f.window(3.15, 4.2, 2.6, 2.4),
        f.window(0, -0.2, 1.8, 2.6),
        f.window(0, -3.6, 3.2, 1.7),
    )
    tilt = np.zeros_like(f.p)
    tilt[:, 1] = eyes * f.side * 0.07
    shift, lift = np.zeros_like(f.p), np.zeros_like(f.p)
    shift[:, 0] = nose * 0.11
    lift[:, 1], lift[:, 0] = mouth * f.x * 0.035, mouth * 0.07
    return {"eye_skew": tilt, "nose_skew": shift, "mouth_skew": lift}


def _fine_eyes(f: _Face) -> dict[str, np.ndarray]:
    """Corners of the eyes, the lids' bend and what surrounds them: small windows within the eye's own."""
    near, far = f.window(2.5, 4.05, 0.9, 0.55), f.window(3.9, 4.05, 0.9, 0.55)
    return {
        "inner_canthus": f.move(f.window(1.75, 3.3, 0.9, 0.8), x=0.15, y=-0.06),
        "outer_canthus": f.move(f.window(4.55, 3.5, 0.9, 0.8), x=0.05, y=0.16),
        "lid_peak": f.move(near, y=0.08) - f.move(far, y=0.08),
        "socket_depth": f.move(f.window(2.1, 4.7, 1.2, 0.8), z=-0.22),
        "brow_inner": f.move(f.window(1.5, 5.7, 1.3, 1.0), y=0.18),
        "brow_outer": f.move(f.window(5.2, 5.8, 1.3, 1.1), y=0.20),
    }


def _fine_nose(f: _Face) -> dict[str, np.ndarray]:
    tip, wing = f.window(0, -0.1, 1.2, 1.0), f.window(1.35, -0.6, 0.8, 0.9)
    return {
        "nasal_root": f.move(f.window(0, 3.6, 1.0, 1.0), z=0.22),
        "bridge_hump": f.move(f.window(0, 1.9, 0.9, 1.0), z=0.20),
        "tip_turn": f.move(tip, y=0.18, z=0.04),
        "tip_size": f.scale(tip, np.array([0, -0.1, 11.0]), (0.12, 0.09, 0.05)),
        "wing_flare": f.move(wing, x=0.13),
        "wing_height": f.move(wing, y=0.15),
    }


def _fine_mouth(f: _Face) -> dict[str, np.ndarray]:
    return {
        "upper_lip": f.move(f.window(0, -2.75, 1.9, 0.55), y=0.11, z=0.03),
        "lower_lip": f.move(f.window(0, -4.35, 1.9, 0.6), y=-0.12, z=0.05),
        "mouth_tilt": f.move(f.window(2.5, -3.5, 0.9, 0.8), y=0.13),
        "mouth_projection": f.move(f.window(0, -3.5, 2.4, 1.6), z=0.24),
    }


def _sides(f: _Face) -> dict[str, np.ndarray]:
    """Width of chin, jaw and temples, and the ears, which lie behind the front of the head."""
    out = np.abs(f.x)
    angle = np.exp(-(((f.y + 4.0) / 2.4) ** 2) - ((out - 6.2) / 2.2) ** 2) * np.clip((f.z + 3) / 4, 0, 1)
    temple = np.exp(-(((f.y - 6.0) / 2.4) ** 2) - ((out - 6.5) / 2.2) ** 2) * np.clip((f.z + 5) / 4, 0, 1)
    ear = np.clip((out - 7.0) / 0.9, 0, 1) * np.exp(-((((f.y - 1.2) / 4.4) ** 2) ** 2))
    return {
        "chin_width": f.move(f.window(1.9, -6.9, 1.4, 1.6), x=0.20),
        "jaw_angle": f.move(angle, x=0.28),
        "temple_width": f.move(temple, x=0.22),
        "ear_out": f.move(ear * np.clip((out - 7.0) / 1.6, 0, 1.5), x=0.30),
        "ear_size": f.scale(ear, np.array([7.2, 1.2, 0.0]), (0.05, 0.09, 0.09)),
    }
