"""FaceStage: a decoded photo in, aligned and judged faces out. The main path of faces/.

    candidates(photo)   detect → align → look → landmarks → pose → embed       (one photo)
    choose(candidates)  one face a photo → gates → identity → near duplicates  (one person)

Every face keeps its measurements, whether it passes or not: the gates only set status and reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.errors import PhotoRejected
from fstriplets.faces import aligned
from fstriplets.faces.align import invert, outside_share, similarity, transform_points, warp
from fstriplets.faces.detectors import Box, Detection, Detector, load_detector
from fstriplets.faces.embed import load_embedder
from fstriplets.faces.gates import gate
from fstriplets.faces.identity import check_identity, choose_faces, near_duplicates
from fstriplets.faces.landmarks import five_points, load_landmarker
from fstriplets.faces.limits import limits_of
from fstriplets.faces.pose import load_pose_estimator
from fstriplets.faces.quality import look_at, perceptual_hash, registered_correlation
from fstriplets.faces.templates import face_window, template_points
from fstriplets.records import AlignedFace, Face, Photo, content_id

if TYPE_CHECKING:
    from fstriplets.corpus import DecodedPhoto

__all__ = ["FaceStage"]

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

#: Faces of one photo that are looked at, the largest ones: a stadium is not worth an hour.
MAX_FACES = 8
_LOOK = 256  # px of the crop in which the landmarker looks for better points
_LOST = 0.4  # eye distances: landmarks that far from the detector's are of something else
_VERSION = "faces-1"


class FaceStage:
    """Finds, aligns and judges faces.

    Args:
        config: what to use; models are loaded now, from the per-process cache.

    Attributes:
        fingerprint: names, code versions and weights of everything that shapes a face.
        weights: weights name -> sha256, for run.json.
        recogniser: name of the embedder, empty without one.
        limits: the cosines that count: the config's, else the recogniser's own.

    Raises:
        ConfigError: unknown crop, detector, landmarker, pose estimator or embedder.
        WeightsError: a named backend's weights are not installed.
        MissingDependency: a named backend's package is not installed.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self._target = template_points(config.crop, config.image_size)
        self._window = face_window(config.crop)
        self._detector: Detector | None = None
        if config.detector != "aligned":
            self._detector = load_detector(config)
        self._landmarker = load_landmarker(config)
        self._pose = load_pose_estimator(config)
        self._embedder = load_embedder(config)
        self.recogniser = "" if self._embedder is None else self._embedder.name
        self.limits = limits_of(self._embedder).settled(config)
        parts = [self._detector, self._landmarker, self._pose, self._embedder]
        names = [aligned.FINGERPRINT if self._detector is None else ""]
        names += [part.fingerprint for part in parts if part is not None]
        names.append("" if self._embedder is None else str(self.limits))
        self.fingerprint = "|".join([_VERSION, config.crop, *filter(None, names)])
        self.weights = {name: sha for part in parts if part for name, sha in sorted(part.weights.items())}

    # one photo

    def candidates(self, photo: Photo, decoded: DecodedPhoto, most: int = MAX_FACES) -> list[AlignedFace]:
        """Every face of a photo, the largest first; of more than `most` the largest only.

        Faces that a gate of `quality` turns down are among them, with status and reason.

        Raises:
            PhotoRejected: `no_face`, or `no_landmarks` where they should have been given.
        """
        if self._detector is None:
            return [self._take(photo, decoded.pixels)]
        found = self._detector.detect(photo, decoded.pixels)
        found = [detection for detection in found if _sane(detection)]
        if not found:
            raise PhotoRejected("no_face", f"detector {self._detector.name} finds no face")
        return [self._align(photo, decoded.pixels, detection) for detection in found[:most]]

    def _take(self, photo: Photo, pixels: Pixels) -> AlignedFace:
        """A photo that is a crop already."""
        size = self.config.image_size
        crop, matrix = aligned.as_crop(pixels, size)
        mean = aligned.canonical(self.config.crop, size)
        width, height = pixels.shape[1], pixels.shape[0]
        x0, y0, x1, y1 = mean.box
        box = photo.box or (x0 * width, y0 * height, x1 * width, y1 * height)
        face = self._describe(photo, crop, box, 1.0, matrix)
        if photo.landmarks is not None:
            points = transform_points(photo.landmarks, matrix)
        elif self._landmarker.name == "template":
            face = gate(replace(face, landmarks=mean.landmarks), self.config.quality)
            return AlignedFace(self._measure(face, crop, mean.points, guessed=True), crop)
        else:
            points = self._landmarker.find(crop, self._target)
        return AlignedFace(self._measure(gate(face, self.config.quality), crop, points), crop)

    def _align(self, photo: Photo, pixels: Pixels, detection: Detection) -> AlignedFace:
        """A face that was found in a photo."""
        size = self.config.image_size
        points = detection.points
        if not detection.given and self._landmarker.name != "template":
            points = self._refine(pixels, points)
        matrix = similarity(five_points(points), self._target)
        crop = warp(pixels, matrix, size)
        face = self._describe(photo, crop, detection.box, detection.score, matrix)
        outside = outside_share(matrix, pixels.shape[1], pixels.shape[0], size)
        if outside:
            face = replace(face, attributes=dict(photo.attributes) | {"outside": round(outside, 4)})
        points = transform_points(points, matrix)
        return AlignedFace(self._measure(gate(face, self.config.quality), crop, points), crop)

    def _refine(self, pixels: Pixels, points: Points) -> Points:
        """68 points in the photo instead of a detector's five.

        Detectors put their points a few degrees elsewhere from one scale to the next; the landmarker,
        looking at a levelled crop, is ten times as steady (docs/faces.md).
        """
        ideal = template_points("ffhq", _LOOK)
        rough = similarity(points, ideal)
        found = self._landmarker.find(warp(pixels, rough, _LOOK), ideal)
        moved = np.hypot(*(five_points(found) - ideal).T).mean()
        if moved > _LOST * (ideal[1, 0] - ideal[0, 0]):
            return points  # it followed something else: a hand, another face
        return transform_points(found, invert(rough))

    def _describe(
        self, photo: Photo, crop: Pixels, box: Box, score: float, matrix: npt.NDArray[np.float64]
    ) -> Face:
        """The face's row as far as pixels and box tell."""
        look = look_at(crop, self._window)
        return Face(
            face_id=content_id(photo.identity_id, crop.tobytes()),
            photo_id=photo.photo_id,
            identity_id=photo.identity_id,
            box=box,
            landmarks=(),
            transform=tuple(matrix.ravel().tolist()),
            score=score,
            sharpness=look.sharpness,
            brightness=look.brightness,
            attributes=dict(photo.attributes),
        )

    def _measure(self, face: Face, crop: Pixels, points: Points, guessed: bool = False) -> Face:
        """Landmarks, and for a face that passed the cheap gates pose and embedding.

        Args:
            points: [5|68, 2] crop pixels.
            guessed: the points are the template's own and say nothing about this face's pose.
        """
        if face.status != "ok":
            return face if face.landmarks else replace(face, landmarks=_tuples(points))
        points = points if len(points) == 68 else self._landmarker.find(crop, points)
        vectors = self.embed(crop[None], points[None])
        face = replace(
            face,
            landmarks=face.landmarks or _tuples(points),
            embedding=None if vectors is None else tuple(vectors[0].tolist()),
        )
        if guessed and self._pose.name == "landmarks":
            return face
        yaw, pitch, roll = self._pose.estimate(crop, points)
        return gate(replace(face, yaw=yaw, pitch=pitch, roll=roll), self.config.quality)

    def embed(self, crops: npt.NDArray[Any], landmarks: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
        """Identity embeddings of aligned crops.

        Args:
            crops: uint8 [B, S, S, 3].
            landmarks: [B, 5|68, 2] crop pixels.

        Returns:
            [B, D] float32, L2-normalised; None without an embedder.
        """
        return None if self._embedder is None else self._embedder.embed(crops, landmarks)

    # one person

    def choose(self, candidates: Sequence[Sequence[AlignedFace]]) -> list[AlignedFace]:
        """One face a photo, judged against the person's others.

        Args:
            candidates: what `candidates` gave for each photo of one identity, in corpus order.

        Returns:
            One face a photo, in order, with status, reason, message and similarity set.
        """
        faces = self._pick([_preferred(photo) for photo in candidates])
        faces = self._check(faces)
        return self._unique(faces)

    def _pick(self, photos: Sequence[Sequence[AlignedFace]]) -> list[AlignedFace]:
        areas = [[_area(item.face) for item in photo] for photo in photos]
        embedded = all(item.face.embedding is not None for photo in photos for item in photo if _ok(item))
        usable = [i for i, photo in enumerate(photos) if _ok(photo[0])]
        chosen = [int(np.argmax(photo)) for photo in areas]
        if self.config.identity_check.choose == "identity" and embedded and usable:
            vectors = [np.array([f.face.embedding for f in photos[i]], np.float32) for i in usable]
            best = choose_faces(vectors, [areas[i] for i in usable])
            for i, index in zip(usable, best, strict=True):
                chosen[i] = index
        return [photo[index] for photo, index in zip(photos, chosen, strict=True)]

    def _check(self, faces: list[AlignedFace]) -> list[AlignedFace]:
        """The identity check, over faces that passed so far."""
        good = [i for i, item in enumerate(faces) if _ok(item) and item.face.embedding is not None]
        if not good:
            return faces
        limit = self.limits.min_similarity
        vectors = np.array([faces[i].face.embedding for i in good], np.float32)
        similarities, belongs = check_identity(vectors, limit)
        for i, cosine, member in zip(good, similarities, belongs, strict=True):
            change: dict[str, Any] = {"similarity": float(cosine)}
            if not member:
                why = f"cosine {cosine:.2f} to the person's other faces, min_similarity is {limit:g}"
                change |= {"status": "rejected", "reason": "not_the_person", "message": why}
            faces[i] = replace(faces[i], face=replace(faces[i].face, **change))
        return faces

    def _unique(self, faces: list[AlignedFace]) -> list[AlignedFace]:
        """Turn down copies of an earlier accepted face.

        The same pixels always: they would have the same face id, and triplets of the same key.
        """
        limits = self.config.duplicates

        def same(i: int, j: int) -> bool:
            if faces[i].face.face_id == faces[j].face.face_id:
                return True
            correlation = registered_correlation(faces[i].pixels, faces[j].pixels) if limits.near else -1.0
            return correlation >= limits.min_correlation

        hashes = [perceptual_hash(item.pixels) if _ok(item) else None for item in faces]
        for i, match in enumerate(near_duplicates(hashes, limits.max_distance, same)):
            if match is not None:
                why = f"duplicate_of {faces[match].face.photo_id}: nearly the same picture"
                row = replace(faces[i].face, status="rejected", reason="near_duplicate", message=why)
                faces[i] = replace(faces[i], face=row)
        return faces


def _preferred(photo: Sequence[AlignedFace]) -> list[AlignedFace]:
    """The faces of a photo that passed; if none did, the largest, for the reason it carries."""
    return [item for item in photo if _ok(item)] or [max(photo, key=lambda item: _area(item.face))]


def _ok(item: AlignedFace) -> bool:
    return item.face.status == "ok"


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return max(0.0, x1 - x0) * max(0.0, y1 - y0)


def _sane(detection: Detection) -> bool:
    points = five_points(detection.points)
    spread = np.ptp(points, axis=0).max()
    return bool(np.isfinite(points).all() and np.isfinite(detection.box).all() and spread > 1)


def _tuples(points: Points) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)
