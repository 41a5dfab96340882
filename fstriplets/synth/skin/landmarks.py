"""Where the features of a frontal photo are: a detector's box, then 468 points, of which 68 are the
model's own.

YuNet (OpenCV) gives the box, MediaPipe's face landmark network (Kartynnik et al. 2019) the points, in
two passes: the second on a crop centred by the first, which halves the jitter. MediaPipe has no jaw
line in the sense of the 68-point mark-up; its outline points slide along the cheek, so the fit trusts
them least.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.errors import PhotoRejected

__all__ = ["MESH_TO_68", "PhotoLandmarks"]

FloatArray = npt.NDArray[np.floating[Any]]

#: MediaPipe mesh index of each of the 68 Multi-PIE landmarks.
MESH_TO_68 = np.array([
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,  # lips
])  # fmt: skip

_SIDE = 192  # pixels the landmark network sees
_DETECT_SIDE = 640  # the detector works on a copy of this longest side


class PhotoLandmarks:
    """468 landmarks of the largest face of a photo.

    Args:
        detector: YuNet ONNX file.
        mesh: MediaPipe face landmark ONNX file (468 points).
    """

    def __init__(self, detector: Path, mesh: Path) -> None:
        import onnxruntime as ort

        self._detector = cv2.FaceDetectorYN.create(str(detector), "", (320, 320), 0.6)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._mesh = ort.InferenceSession(str(mesh), options, providers=["CPUExecutionProvider"])
        self._input = self._mesh.get_inputs()[0]

    def __call__(self, photo: npt.NDArray[np.uint8]) -> FloatArray:
        """Landmarks of `photo`, uint8 [H, W, 3] RGB → float64 [468, 2] in its pixels.

        Raises:
            PhotoRejected: no face was found.
        """
        centre, half = self._box(photo)
        for _ in range(2):
            points = self._points(photo, centre, half)
            low, high = points.min(0), points.max(0)
            centre, half = (low + high) / 2, 0.75 * float((high - low).max())
        return points

    def _box(self, photo: npt.NDArray[np.uint8]) -> tuple[FloatArray, float]:
        height, width = photo.shape[:2]
        scale = _DETECT_SIDE / max(height, width)
        size = int(width * scale), int(height * scale)
        self._detector.setInputSize(size)
        small = cv2.resize(photo[..., ::-1], size, interpolation=cv2.INTER_AREA)
        faces = self._detector.detect(small)[1]
        if faces is None:
            raise PhotoRejected("no_face", "the detector found no face")
        x, y, w, h = faces[np.argmax(faces[:, 2] * faces[:, 3])][:4] / scale
        return np.array([x + w / 2, y + h / 2]), 0.75 * float(max(w, h))

    def _points(self, photo: npt.NDArray[np.uint8], centre: FloatArray, half: float) -> FloatArray:
        zoom = _SIDE / 2 / half
        to_crop = np.array([[zoom, 0, _SIDE / 2 - centre[0] * zoom], [0, zoom, _SIDE / 2 - centre[1] * zoom]])
        crop = cv2.warpAffine(photo, to_crop, (_SIDE, _SIDE), flags=cv2.INTER_AREA).astype(np.float32) / 255
        batch = crop.transpose(2, 0, 1)[None] if self._input.shape[1] == 3 else crop[None]
        outputs = self._mesh.run(None, {self._input.name: np.ascontiguousarray(batch)})
        points = max(outputs, key=lambda output: output.size).reshape(468, 3)[:, :2]
        return np.asarray((points - _SIDE / 2) / zoom + centre, dtype=np.float64)
