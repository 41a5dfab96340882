"""Swapping the faces of one picture: find → choose → swap → match → paste. The main path of swapping/.

Everything that costs is done once: models are loaded here, and the source's id_embedding is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig, QualityConfig
from fstriplets.corpus.base import DecodedPhoto, Terms
from fstriplets.errors import ConfigError, PhotoRejected
from fstriplets.faces.parse import Parser, load_parser
from fstriplets.faces.stage import FaceStage
from fstriplets.records import AlignedFace
from fstriplets.swapping.model import MAX_STRENGTH, Embeddings, Model, swap_faces
from fstriplets.swapping.paste import face_mask, match_colour, paste
from fstriplets.swapping.picture import Picture

__all__ = ["Choice", "Found", "Swapper"]

Pixels = npt.NDArray[np.uint8]

#: Faces of a picture that are looked at.
MAX_FACES = 64
_MIN_SIDE = 20  # photo pixels: below, a swap is not seen


@dataclass(frozen=True)
class Choice:
    """Which faces of a picture are swapped.

    Attributes:
        faces: `largest`, `all`, or how many of the largest.
        like: id_embedding [D] of the person whose face is meant; None: whoever.
        like_min: cosine below which nobody in the picture is that person.
    """

    faces: str | int = "largest"
    like: Embeddings | None = None
    like_min: float = 0.25

    @classmethod
    def parse(cls, faces: str | int) -> Choice:
        """A choice from `largest`, `all` or a number.

        Raises:
            ConfigError: anything else.
        """
        text = str(faces).strip().lower()
        if text in ("largest", "all"):
            return cls(text)
        if text.isdigit() and int(text) >= 1:
            return cls(int(text))
        raise ConfigError(f"--faces {faces}: choose largest, all, or how many of the largest (1, 2, …)")


@dataclass(frozen=True, eq=False)
class Found:
    """A face in a picture."""

    box: tuple[float, float, float, float]  #: photo pixels
    matrix: npt.NDArray[np.float64]  #: [2, 3], photo pixels to crop pixels
    crop: Pixels  #: [S, S, 3]
    landmarks: npt.NDArray[np.float64]  #: [5|68, 2] crop pixels
    cosine: float | None = None  #: to the person of Choice.like


class Swapper:
    """Finds and swaps faces.

    Args:
        model: what swaps; see model.load_model.
        detector, landmarker: as in a pipeline.
        parser: name of faces.parse.PARSERS, or `auto`.
        colour: match the swapped face's colours to the target's.
        strength: of the identity; see model.swap_faces.

    Attributes:
        tools: what it works with, for summaries.

    Raises:
        ConfigError, WeightsError, MissingDependency: a backend is unknown or not installed.
    """

    def __init__(
        self,
        model: Model,
        *,
        detector: str = "auto",
        landmarker: str = "auto",
        parser: str | Parser = "auto",
        colour: bool = True,
        strength: float = 1.0,
    ) -> None:
        if detector == "aligned":
            raise ConfigError("--detector aligned: photos are searched for faces; choose another")
        if not 0 <= strength <= MAX_STRENGTH:
            raise ConfigError(f"--identity-strength {strength:g}: 0 (the target's) to {MAX_STRENGTH:g}")
        self.model, self.colour, self.strength = model, colour, strength
        quality = QualityConfig(
            min_face=_MIN_SIDE,
            min_sharpness=0,
            brightness=(0, 255),
            max_outside=1,
            max_yaw=180,
            max_pitch=180,
        )
        config = PipelineConfig(
            crop=model.crop, image_size=model.size, detector=detector, landmarker=landmarker,
            pose_estimator="landmarks", embedder="none", quality=quality,
        )  # fmt: skip
        self._stage = FaceStage(config)
        self._parser = load_parser(parser) if isinstance(parser, str) else parser
        self.tools = f"{self._stage.fingerprint}|{self._parser.fingerprint}"

    def find(self, seen: Pixels, name: str = "") -> list[Found]:
        """Faces of an upright picture uint8 [H, W, 3] sRGB, the largest first.

        Raises:
            PhotoRejected: no face, or none that is sure and large enough, with its reason.
        """
        photo = Terms().photo("swap", name)
        faces = self._stage.candidates(photo, DecodedPhoto(seen, ""), most=MAX_FACES)
        good = [_found(item) for item in faces if item.face.status == "ok"]
        if not good:
            first = faces[0].face
            raise PhotoRejected(first.reason, first.message)
        return sorted(good, key=_area, reverse=True)

    def embed(self, seen: Pixels, name: str = "") -> Embeddings:
        """id_embedding [D] of the largest face of a picture.

        Raises:
            PhotoRejected: as `find`.
        """
        vector: Embeddings = self.model.embed(self.find(seen, name)[0].crop[None])[0]
        return vector

    def choose(self, found: Sequence[Found], choice: Choice) -> list[Found]:
        """The faces that are meant.

        Raises:
            PhotoRejected: `not_like`: nobody is like the person who is meant.
        """
        if choice.like is not None:
            cosines = self.model.embed(np.stack([face.crop for face in found])) @ choice.like
            best = int(np.argmax(cosines))
            if cosines[best] < choice.like_min:
                raise PhotoRejected(
                    "not_like",
                    f"the most similar of {len(found)} faces has cosine {cosines[best]:.2f} to the person of"
                    f" --like; --like-min is {choice.like_min:g}",
                )
            return [replace(found[best], cosine=float(cosines[best]))]
        if choice.faces == "all":
            return list(found)
        return list(found[: 1 if choice.faces == "largest" else int(choice.faces)])

    def swap(self, picture: Picture, faces: Sequence[Found], embedding: Embeddings) -> Picture:
        """The picture with the source's face on those faces.

        Args:
            faces: of `find` and `choose`.
            embedding: id_embedding [D] of the source.
        """
        pixels = picture.pixels.copy()
        crops = np.stack([face.crop for face in faces])
        sources = np.repeat(embedding[None], len(faces), axis=0)
        made = swap_faces(self.model, crops, sources, self.strength)
        for face, swapped in zip(faces, made, strict=True):
            mask = face_mask(face.crop, self._parser.labels(face.crop, face.landmarks), face.landmarks)
            laid = match_colour(swapped, face.crop, mask) if self.colour else swapped
            paste(picture, pixels, laid, mask, face.matrix)
        return picture.with_pixels(pixels)


def _found(item: AlignedFace) -> Found:
    face = item.face
    matrix = np.array(face.transform).reshape(2, 3)
    return Found(face.box, matrix, item.pixels, np.array(face.landmarks))


def _area(face: Found) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)
