"""`insightface`: detector and recogniser of the insightface package, on ONNX files that lie here.

Nothing is downloaded. A model pack in ~/.insightface/models (buffalo_l, antelopev2, …; the folder is
$INSIGHTFACE_HOME/models where that is set) is taken first; the detector also works with the
registered SCRFD file alone. insightface's pretrained models are for non-commercial research.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.errors import MissingDependency, WeightsError
from fstriplets.faces.detectors import Detection
from fstriplets.faces.embed import arcface_crops, normalised
from fstriplets.models.cache import cached_model, onnx_session
from fstriplets.models.weights import file_sha256, installed, require
from fstriplets.records import Photo

__all__ = ["InsightFaceDetector", "InsightFaceEmbedder", "pack_file"]

Pixels = npt.NDArray[np.uint8]

#: Packs in order of preference; any other one comes after them, by name.
_PACKS = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc")
_DETECTORS = ("det_*.onnx", "scrfd*.onnx")
_RECOGNISERS = ("glintr*.onnx", "w600k*.onnx", "*mbf*.onnx", "*arcface*.onnx", "*mobilefacenet*.onnx")
_SIDE = 640
_MARGIN = 0.25  # of the second try: a face that fills the picture


def pack_file(patterns: tuple[str, ...]) -> Path | None:
    """The first file of an installed model pack that fits one of the patterns."""
    folder = Path(os.environ.get("INSIGHTFACE_HOME", "~/.insightface")).expanduser() / "models"
    packs = [path for path in folder.glob("*") if path.is_dir()] if folder.is_dir() else []
    packs.sort(key=lambda path: (_PACKS.index(path.name) if path.name in _PACKS else len(_PACKS), path.name))
    for pack in packs:
        for pattern in patterns:
            if files := sorted(pack.glob(pattern)):
                return files[0]
    return None


class InsightFaceDetector:
    """SCRFD (Guo et al. 2021) or another detector of the package, on the CPU."""

    name = "insightface"

    def __init__(self, config: PipelineConfig) -> None:
        model = _package("detector `insightface`")
        path = pack_file(_DETECTORS)
        if path is None and installed("scrfd_500m") is None:
            raise WeightsError(
                "detector `insightface` finds no model: fstriplets weights import FILE (scrfd_500m_kps.onnx),"
                " or put a model pack into ~/.insightface/models/"
            )
        path = path or require("scrfd_500m")
        sha256 = file_sha256(path)
        self.weights = {path.stem: sha256}
        self.fingerprint = f"insightface-1:{sha256[:12]}"
        self._network = cached_model("insightface", sha256, lambda: _detector(model, path, sha256))
        # Found below the gate too, so that the row says `low_score` rather than `no_face`.
        self._threshold = min(config.quality.min_score, 0.3)

    def detect(self, photo: Photo, pixels: Pixels) -> list[Detection]:
        """Faces of a photo, the largest first."""
        return self._run(pixels, 0) or self._run(pixels, round(_MARGIN * max(pixels.shape[:2])))

    def _run(self, pixels: Pixels, margin: int) -> list[Detection]:
        image = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if margin:
            image = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
        scale = min(1.0, _SIDE / max(image.shape[:2]))
        if scale < 1:  # insightface shrinks without averaging: fine patterns would alias
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            ratio = np.array([image.shape[1] / size[0], image.shape[0] / size[1]])
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        else:
            ratio = np.ones(2)
        self._network.det_thresh = self._threshold
        boxes, points = self._network.detect(image, input_size=(_SIDE, _SIDE))
        if points is None:
            points = [None] * len(boxes)
        found = [_detection(box, five, ratio, margin) for box, five in zip(boxes, points, strict=True)]
        return sorted(found, key=lambda d: (d.box[0] - d.box[2]) * (d.box[3] - d.box[1]))


def _detection(box: Any, five: Any, ratio: npt.NDArray[np.float64], margin: int) -> Detection:
    from fstriplets.faces.detectors import points_from_box

    x0, y0, x1, y1 = (float(v) for v in (box[:4].reshape(2, 2) * ratio - margin).ravel())
    corners = (x0, y0, x1, y1)
    if five is None:
        return Detection(corners, points_from_box(corners), float(box[4]))
    points = (np.asarray(five, np.float64) + 0.5) * ratio - 0.5 - margin
    return Detection(corners, points, float(box[4]))


class InsightFaceEmbedder:
    """The recogniser of an installed model pack, with the package's own preprocessing."""

    name = "insightface"

    def __init__(self, config: PipelineConfig) -> None:
        model = _package("embedder `insightface`")
        path = pack_file(_RECOGNISERS)
        if path is None:
            raise WeightsError(
                "embedder `insightface` finds no recogniser: put a model pack (buffalo_l, antelopev2, …) into"
                " ~/.insightface/models/, or name an .onnx file: embedder: path/to/recogniser.onnx"
            )
        sha256 = file_sha256(path)
        self.weights = {path.stem: sha256}
        self.fingerprint = f"insightface-1:{sha256[:12]}"
        session = onnx_session(path, sha256)
        self._network = cached_model(
            "insightface",
            sha256,
            lambda: model.arcface_onnx.ArcFaceONNX(model_file=str(path), session=session),
        )

    def embed(self, crops: Pixels, landmarks: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """crops uint8 [B, S, S, 3], landmarks [B, 5|68, 2] -> [B, D] float32, L2-normalised."""
        faces = arcface_crops(crops, landmarks, int(self._network.input_size[0]))
        return normalised([self._network.get_feat([cv2.cvtColor(face, cv2.COLOR_RGB2BGR)]) for face in faces])


def _package(purpose: str) -> Any:
    try:
        import insightface.model_zoo.arcface_onnx
        import insightface.model_zoo.retinaface
    except ImportError as error:
        raise MissingDependency("insightface", "insightface", purpose) from error
    return insightface.model_zoo


def _detector(model_zoo: Any, path: Path, sha256: str) -> Any:
    """The package's detector class around our own session (its own would take all cores)."""
    module = getattr(model_zoo, "scrfd", None)
    kind = getattr(module, "SCRFD", None) or model_zoo.retinaface.RetinaFace
    return kind(model_file=str(path), session=onnx_session(path, sha256))
