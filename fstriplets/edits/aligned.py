"""A face in the frame a foreign generator was trained in, and the way back onto the photo."""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.faces.align import invert, similarity, transform_points, warp

__all__ = ["CELEBA", "CELEBA_HQ", "AlignedCrop"]

#: Eyes, nose tip and mouth corners in CelebA's centre crop of 178 (mean of the aligned 178x218 pictures,
#: 20 rows less at the top), as shares of its side.
CELEBA = np.array([[69.0, 91.0], [108.0, 91.0], [88.0, 115.0], [73.0, 132.0], [104.0, 132.0]]) / 178
#: The same in CelebA-HQ and CelebAMask-HQ.
CELEBA_HQ = np.array([[193.0, 240.0], [319.0, 240.0], [256.6, 314.0], [201.3, 371.4], [313.1, 371.2]]) / 512


class AlignedCrop:
    """A photo's face in another frame.

    Args:
        photo: float32 [H, W, 3] RGB in [-1, 1].
        landmarks: [68, 2] pixels of the photo.
        frame: five points as shares of the crop's side.
        size: side of the crop.

    Attributes:
        pixels: uint8 [size, size, 3] RGB.
        landmarks: [68, 2] pixels of the crop.
    """

    def __init__(self, photo: np.ndarray, landmarks: np.ndarray, frame: np.ndarray, size: int) -> None:
        eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
        five = np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])
        self._matrix = similarity(five, frame * size)
        self._shape = photo.shape[:2]
        whole = np.clip(np.round(photo * 127.5 + 127.5), 0, 255).astype(np.uint8)
        self.pixels = warp(whole, self._matrix, size)
        self.landmarks = transform_points(landmarks, self._matrix).astype(np.float32)

    def lay_back(self, picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A picture [size, size, 3] and its mask [size, size] in the photo's pixels, 0 beyond the crop.

        Masks below 1/255 become 0: such pixels are the photo's own.
        """
        height, width = self._shape
        layers = np.dstack([picture, mask]).astype(np.float32)
        back = np.asarray(invert(self._matrix), np.float64)
        layers = cv2.warpAffine(layers, back, (width, height), flags=cv2.INTER_LINEAR)
        layers[layers[..., 3] < 1 / 255] = 0
        return layers[..., :3], layers[..., 3]
