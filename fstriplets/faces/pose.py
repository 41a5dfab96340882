"""Head pose of a crop in degrees: yaw, pitch, roll, with the signs of records.py.

`fsanet` averages the two FSA-Net heads (Yang et al. 2019); it sees the whole `ffhq` crop in BGR, where it
answers to mirroring most exactly. `bundled` is the face analyser (faces/analyser.py). `landmarks` reads
yaw and pitch off the nose tip's place between eyes and mouth: the tip stands out by about half the eye
distance, so it wanders with the tangent of the angle; docs/faces.md says how far that is from FSA-Net.
Angles are those of the head in the crop: roll is near 0, alignment has levelled the eyes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.faces.align import similarity, warp
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.templates import template_points
from fstriplets.models.cache import onnx_session
from fstriplets.models.weights import entry, installed, require
from fstriplets.registry import Registry

__all__ = ["POSE_ESTIMATORS", "FsaNetPose", "LandmarkPose", "PoseEstimator", "load_pose_estimator"]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Pose = tuple[float, float, float]


class PoseEstimator(Protocol):
    """A pose backend.

    Attributes:
        name, fingerprint, weights: as of detectors.
    """

    name: str
    fingerprint: str
    weights: dict[str, str]

    def estimate(self, crop: Pixels, landmarks: Points) -> Pose:
        """(yaw, pitch, roll) in degrees of the face in crop uint8 [S, S, 3] with [5|68, 2] landmarks."""
        ...


POSE_ESTIMATORS: Registry[Callable[[PipelineConfig], PoseEstimator]] = Registry(
    "pose estimator",
    {
        "bundled": "fstriplets.faces.analyser:BundledPose",
        "fsanet": "fstriplets.faces.pose:FsaNetPose",
        "landmarks": "fstriplets.faces.pose:LandmarkPose",
    },
    group="fstriplets.pose_estimators",
)


def load_pose_estimator(config: PipelineConfig) -> PoseEstimator:
    """The estimator of `config.pose_estimator`; `auto`: fsanet, bundled or landmarks, the first there is."""
    name = config.pose_estimator
    if name == "auto":
        name = "bundled" if installed("face_analyser") else "landmarks"
        if installed("fsanet_1x1") and installed("fsanet_var"):
            name = "fsanet"
    return POSE_ESTIMATORS.get(name)(config)


class LandmarkPose:
    """Pose from the five points by ratios."""

    name = "landmarks"
    # Fitted to FSA-Net on 124 photos: how far the tip stands out, and where it is at pitch 0.
    _DEPTH = (0.53, 0.60)
    _LEVEL = -0.044
    fingerprint = "landmarks-1"

    def __init__(self, config: PipelineConfig | None = None) -> None:
        self.weights: dict[str, str] = {}

    def estimate(self, crop: Pixels, landmarks: Points) -> Pose:
        """Looks at the landmarks only."""
        left, right, nose, mouth_left, mouth_right = five_points(landmarks)
        eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
        across, down = right - left, mouth - eyes
        width, height = float(np.hypot(*across)), float(np.hypot(*down))
        if width < 1e-6 or height < 1e-6:
            return 0.0, 0.0, 0.0
        tip = nose - (eyes + mouth) / 2
        side = float(tip @ across) / (width * height)
        up = float(tip @ down) / (height * height)
        yaw = float(np.degrees(np.arctan2(side, self._DEPTH[0])))
        pitch = float(np.degrees(np.arctan2(self._LEVEL - up, self._DEPTH[1])))
        roll = float(np.degrees(np.arctan2(across[1], across[0])))
        return yaw, pitch, roll


class FsaNetPose:
    """FSA-Net, two heads averaged."""

    name = "fsanet"
    _SIDE = 64

    def __init__(self, config: PipelineConfig | None = None) -> None:
        names = ("fsanet_1x1", "fsanet_var")
        self.weights = {name: entry(name).sha256 for name in names}
        self._sessions = [onnx_session(require(name), self.weights[name]) for name in names]
        self.fingerprint = "fsanet-1:" + ",".join(sha[:12] for sha in self.weights.values())

    def estimate(self, crop: Pixels, landmarks: Points) -> Pose:
        """Cuts an `ffhq` crop out of the crop, whatever template that has, and looks at it."""
        matrix = similarity(five_points(landmarks), template_points("ffhq", self._SIDE))
        face = warp(crop, matrix, self._SIDE)[..., ::-1]
        blob = ((face.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        blob = np.ascontiguousarray(blob)
        runs = [s.run(None, {s.get_inputs()[0].name: blob})[0][0] for s in self._sessions]
        yaw, pitch, roll = (float(v) for v in np.mean(runs, axis=0))
        turned = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        return -yaw, pitch, roll - turned  # FSA-Net counts yaw the other way
