"""Fit the 3D face model to the landmarks of one person's photos.

The identity is shared by all photos of the person; each photo has its own pose and expression.
Expressions are tied left to right, kept in [0, 1] and pulled to zero, and those that imitate identity
(pucker, funnel, jaw forward) are left out: with them the fit explains a person's mouth by an
expression. Robust least squares: a landmark that stays far from the model loses its weight in a second
round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fstriplets.synth.facemodel import FaceModel

__all__ = ["PersonFit", "PhotoFit", "fit_person", "project"]

FloatArray = npt.NDArray[np.floating[Any]]

#: Camera distance in model units (about 1.3 m); the focal length is the fitted scale.
CAMERA_DISTANCE = 150.0
IDENTITY_MODES = 60
EXPRESSIONS = (
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "mouthLowerDown",
    "mouthPress",
    "mouthFrown",
    "mouthDimple",
    "mouthRollUpper",
    "mouthRollLower",
    "mouthClose",
    "jawOpen",
    "cheekSquint",
    "eyeSquint",
    "eyeBlink",
    "eyeWide",
    "browDown",
    "browOuterUp",
    "browInnerUp",
)
_POSE = 6  # rotation vector (3), translation x and y in pixels, log of pixels per unit
_LANDMARK_WEIGHT = np.repeat([0.4, 0.7, 1.0], [17, 10, 41])  # the jaw line slides, brows are painted


@dataclass(frozen=True)
class PhotoFit:
    """One photo's pose and shape."""

    pose: FloatArray  #: [6] rotation vector, translation (pixels), log scale (pixels per unit)
    vertices: FloatArray  #: [V, 3] model units, before the pose
    error: FloatArray  #: [68] pixels between landmark and model


@dataclass(frozen=True)
class PersonFit:
    """One person's identity and the fits of their photos."""

    identity: FloatArray  #: [IDENTITY_MODES] unit-variance coefficients
    photos: tuple[PhotoFit, ...]


def project(vertices: FloatArray, pose: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Perspective projection: [V, 3] model units → pixels [V, 2] and posed vertices [V, 3]."""
    from scipy.spatial.transform import Rotation

    posed = vertices @ Rotation.from_rotvec(pose[:3]).as_matrix().T
    scale = np.exp(pose[5]) * CAMERA_DISTANCE / (CAMERA_DISTANCE - posed[:, 2])
    return np.stack([pose[3] + scale * posed[:, 0], pose[4] - scale * posed[:, 1]], 1), posed


def expression_basis(model: FaceModel, names: Sequence[str] = EXPRESSIONS) -> FloatArray:
    """Expression modes with left and right tied, [len(names), V, 3]."""
    basis = [
        sum(
            model.expression[i]
            for i, n in enumerate(model.expression_names)
            if n in (name, f"{name}_L", f"{name}_R")
        )
        for name in names
    ]
    return np.asarray(basis, dtype=np.float32)


def fit_person(
    model: FaceModel,
    landmarks: Sequence[FloatArray],
    basis: FloatArray,
    *,
    resting: Sequence[bool],
    sigma: float = 3.0,
) -> PersonFit:
    """Fit one identity to several photos.

    Args:
        model: the face model.
        landmarks: [68, 2] pixels, one array a photo.
        basis: `expression_basis(model)`.
        resting: photos known to have a neutral expression; theirs is pulled to zero harder.
        sigma: pixels a landmark is off by (for a face about 350 px wide).
    """
    problem = _Problem(model, landmarks, basis, resting, sigma)
    x = problem.start()
    for _ in range(2):
        x = problem.solve(x)
        problem.reweigh(x)
    identity, photos = problem.split(x)
    shape = model.neutral + np.tensordot(identity, model.identity[:IDENTITY_MODES], 1)
    fits = []
    for marks, (pose, weights) in zip(landmarks, photos, strict=True):
        vertices = shape + np.tensordot(weights, basis, 1)
        error = np.linalg.norm(project(vertices[model.landmarks68], pose)[0] - marks, axis=1)
        fits.append(PhotoFit(pose, vertices.astype(np.float32), error))
    return PersonFit(identity, tuple(fits))


class _Problem:
    """The least squares problem of one person: x = identity, then pose and expression of each photo."""

    def __init__(
        self,
        model: FaceModel,
        landmarks: Sequence[FloatArray],
        basis: FloatArray,
        resting: Sequence[bool],
        sigma: float,
    ) -> None:
        index = model.landmarks68
        self.neutral = model.neutral[index].astype(np.float64)
        self.identity = model.identity[:IDENTITY_MODES, index].astype(np.float64)
        self.basis = basis[:, index].astype(np.float64)
        self.landmarks = landmarks
        self.prior = [4.0 if calm else 1.5 for calm in resting]
        self.sigma = sigma
        self.weight = [_LANDMARK_WEIGHT.copy() for _ in landmarks]

    def split(self, x: FloatArray) -> tuple[FloatArray, list[tuple[FloatArray, FloatArray]]]:
        photos = x[IDENTITY_MODES:].reshape(len(self.landmarks), -1)
        return x[:IDENTITY_MODES], [(photo[:_POSE], photo[_POSE:]) for photo in photos]

    def start(self) -> FloatArray:
        parts = [np.zeros(IDENTITY_MODES)]
        for marks in self.landmarks:
            eyes = np.linalg.norm(self.neutral[36] - self.neutral[45])
            scale = np.linalg.norm(marks[36] - marks[45]) / eyes
            shift = marks[27:48].mean(0) + np.array([0, self.neutral[27:48, 1].mean() * scale])
            parts.append(np.r_[0, 0, 0, shift, np.log(scale), np.full(len(self.basis), 0.02)])
        return np.concatenate(parts)

    def errors(self, x: FloatArray) -> list[FloatArray]:
        identity, photos = self.split(x)
        shape = self.neutral + np.tensordot(identity, self.identity, 1)
        return [
            project(shape + np.tensordot(weights, self.basis, 1), pose)[0] - marks
            for marks, (pose, weights) in zip(self.landmarks, photos, strict=True)
        ]

    def residuals(self, x: FloatArray) -> FloatArray:
        identity, photos = self.split(x)
        data = [
            (e / self.sigma * w[:, None]).ravel() for e, w in zip(self.errors(x), self.weight, strict=True)
        ]
        prior = [k * weights for k, (_, weights) in zip(self.prior, photos, strict=True)]
        return np.concatenate([*data, identity, *prior])

    def solve(self, x: FloatArray) -> FloatArray:
        from scipy.optimize import least_squares

        low = np.full(len(x), -np.inf)
        high = np.full(len(x), np.inf)
        step = len(self.basis) + _POSE
        scale = np.ones(len(x))
        for i in range(len(self.landmarks)):
            start = IDENTITY_MODES + i * step
            low[start + _POSE : start + step], high[start + _POSE : start + step] = 0, 1
            scale[start : start + step] = np.r_[0.1, 0.1, 0.1, 5, 5, 0.05, np.full(len(self.basis), 0.3)]
        fit = least_squares(self.residuals, x, bounds=(low, high), max_nfev=10, x_scale=scale)
        return np.asarray(fit.x)

    def reweigh(self, x: FloatArray) -> None:
        """Cauchy weights: a landmark 3 sigma off counts half."""
        for i, error in enumerate(self.errors(x)):
            far = np.linalg.norm(error, axis=1) / (3 * self.sigma)
            self.weight[i] = _LANDMARK_WEIGHT / np.sqrt(1 + far**2)
