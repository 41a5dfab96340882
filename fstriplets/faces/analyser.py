"""The bundled face analyser at work: one look at a face gives landmarks, parts, attributes and pose.

It looks at an `ffhq` crop of 128 px that it cuts itself, by whatever points are known. Backends for
landmarks, parts, attributes and pose share one instance, and what it saw last: the same crop and points are
looked at once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt
import torch

from fstriplets.faces.align import invert, similarity, transform_points, warp
from fstriplets.faces.landmarks import five_points, template68
from fstriplets.faces.parse import PARTS
from fstriplets.faces.templates import template_points
from fstriplets.models.bundled import bundled_network, one_thread
from fstriplets.models.cache import cached_model
from fstriplets.models.networks.face_analyser import ANALYSER_ATTRIBUTES, FaceAnalyser
from fstriplets.models.weights import entry

__all__ = ["WEIGHTS", "Analyser", "BundledLandmarker", "BundledPose", "Reading", "shared_analyser"]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

#: Name in the table of weights.
WEIGHTS = "face_analyser"
_SIDE = 128
_KEPT = 64  # readings, 0.2 MB each: a person's faces while their edits are made and judged
#: Eye distances: landmarks that far from the points that led to them are of something else.
_LOST = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one look at a face says.

    Attributes:
        matrix: [2, 3], crop pixels to the 128 px the network saw.
        landmarks: [68, 2] crop pixels.
        parts: [13, 64, 64] float32 logits, over what the network saw.
        attributes: name -> score in 0..1, names of ANALYSER_ATTRIBUTES.
        pose: yaw, pitch, roll in degrees, of the head in the crop.
    """

    matrix: npt.NDArray[np.float64]
    landmarks: Points
    parts: npt.NDArray[np.float32]
    attributes: dict[str, float]
    pose: tuple[float, float, float]

    def labels(self, size: int) -> Pixels:
        """Part labels of the whole crop: uint8 [size, size]; background beyond what the network saw."""
        labels = np.zeros((size, size), np.uint8)
        best = np.full((size, size), -np.inf, np.float32)
        for i, part in enumerate(self.parts):
            enlarged = self._enlarged(part, size, size, 0.0 if i == 0 else -1e4)
            higher = cv2.compare(enlarged, best, cv2.CMP_GT)
            cv2.max(enlarged, best, dst=best)
            labels[higher > 0] = i
        return labels

    def probability(self, part: str, height: int, width: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
        """How sure it is of a part: [height, width] in 0..1, 0 beyond what it saw.

        Args:
            part: a name of parse.PARTS. scale: pixels of the answer in one of the crop.
        """
        shares = np.exp(self.parts - self.parts.max(axis=0))
        return self._enlarged(shares[PARTS.index(part)] / shares.sum(axis=0), height, width, 0.0, scale)

    def _enlarged(
        self, part: npt.NDArray[np.float32], height: int, width: int, beyond: float, scale: float = 1.0
    ) -> npt.NDArray[np.float32]:
        from_seen = invert(self.matrix)
        # The network's 64 px map lies over its 128 px: u64 -> 2 u64 + 0.5.
        from_seen[:, 2] += 0.5 * from_seen[:, :2].sum(axis=1)
        from_seen[:, :2] *= 2
        from_seen *= scale
        from_seen[:, 2] += 0.5 * scale - 0.5
        enlarged: npt.NDArray[np.float32] = cv2.warpAffine(
            part, from_seen, (width, height), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(beyond,),
        )  # fmt: skip
        return enlarged


class Analyser:
    """The network and its latest readings.

    Args:
        network: in evaluation mode; None: the bundled one.

    Attributes:
        weights: name -> sha256. fingerprint: code version and weights.

    Raises:
        WeightsError: the weights are not there or damaged.
    """

    def __init__(self, network: FaceAnalyser | None = None) -> None:
        sha256 = "" if network is not None else entry(WEIGHTS).sha256
        self._network = bundled_network(WEIGHTS, FaceAnalyser) if network is None else network
        self.weights = {WEIGHTS: sha256}
        self.fingerprint = f"analyser-1:{sha256[:12]}"
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()
        self._lock = Lock()

    def read(self, crop: Pixels, points: npt.ArrayLike) -> Reading:
        """Look at a face.

        Args:
            crop: uint8 [H, W, 3], any picture. points: [5|68, 2] its pixels, where the face is.
        """
        # In the precision in which records keep points, so that who reads them from there is answered alike.
        points = np.asarray(points, np.float32).astype(np.float64)
        matrix = similarity(five_points(points), template_points("ffhq", _SIDE))
        key = hashlib.blake2b(crop.tobytes(), digest_size=16)
        key.update(repr(crop.shape).encode() + matrix.tobytes())
        with self._lock:
            reading = self._readings.pop(key.digest(), None)
        if reading is None:
            reading = self._look(crop, matrix)
        with self._lock:
            self._readings[key.digest()] = reading
            while len(self._readings) > _KEPT:
                self._readings.popitem(last=False)
        return reading

    def _look(self, crop: Pixels, matrix: npt.NDArray[np.float64]) -> Reading:
        face = warp(crop, matrix, _SIDE)
        with one_thread():
            tensor = torch.from_numpy(face[None]).permute(0, 3, 1, 2).float() / 127.5 - 1
            said = self._network(tensor)
            scores = torch.sigmoid(said.attributes)[0].double().tolist()
            landmarks = said.landmarks[0].double().numpy()
            parts = said.parts[0].numpy()
            yaw, pitch, roll = said.pose[0].double().tolist()
        points = (landmarks + 1) * (_SIDE / 2) - 0.5
        turned = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        return Reading(
            matrix=matrix,
            landmarks=transform_points(points, invert(matrix)),
            parts=parts,
            attributes=dict(zip(ANALYSER_ATTRIBUTES, scores, strict=True)),
            pose=(yaw, pitch, roll - turned),
        )


def shared_analyser() -> Analyser:
    """This process' analyser."""
    return cached_model("analyser", entry(WEIGHTS).sha256, Analyser)


class BundledLandmarker:
    """68 points in two looks: by the points given, then by its own.

    Where they end up far from the points given, it followed something else, and the template answers.
    """

    name = "bundled"

    def __init__(self, config: object = None, analyser: Analyser | None = None) -> None:
        self._analyser = analyser or shared_analyser()
        self.weights = dict(self._analyser.weights)
        self.fingerprint = f"landmarks-1:{self._analyser.fingerprint}"

    def find(self, crop: Pixels, points: Points) -> Points:
        """[68, 2]."""
        found = self._analyser.read(crop, points).landmarks
        if _apart(found, points) > _LOST:
            return template68(points)
        again = self._analyser.read(crop, found).landmarks
        return template68(points) if _apart(again, points) > _LOST else again


def _apart(found: Points, points: Points) -> float:
    """Mean distance of the five points, in distances between the eyes."""
    five, known = five_points(found), five_points(points)
    return float(np.hypot(*(five - known).T).mean() / max(np.hypot(*(known[1] - known[0])), 1e-6))


class BundledPose:
    """Yaw, pitch and roll of the analyser."""

    name = "bundled"

    def __init__(self, config: object = None, analyser: Analyser | None = None) -> None:
        self._analyser = analyser or shared_analyser()
        self.weights = dict(self._analyser.weights)
        self.fingerprint = f"pose-1:{self._analyser.fingerprint}"

    def estimate(self, crop: Pixels, landmarks: Points) -> tuple[float, float, float]:
        """Degrees."""
        return self._analyser.read(crop, landmarks).pose
