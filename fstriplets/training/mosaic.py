"""Pictures to learn detection from: synthetic people of all sizes before clutter, and what is no face.

A mosaic has a background (surfaces, shapes, words, magnified cloth or hair), pieces that resemble faces
without being one (a shuffled face, a face upside down, an ear, hair, a blob with two dark dots), and up to
four people, cut out by their part labels or pasted as rectangles with their own background. Boxes follow
YuNet's relation to the landmarks (`face_box`), so that a photo's row does not depend on the detector much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.faces.align import transform_points
from fstriplets.faces.landmarks import five_points
from fstriplets.synth.regions import LABELS
from fstriplets.training import augment
from fstriplets.training.clutter import clutter, dots, skin, surface, window
from fstriplets.training.pairs import PairSet

__all__ = ["Mosaic", "Mosaics", "face_box"]

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Rng = np.random.Generator

_FOREHEAD = 0.34  # of the height of the 68 points: so far above the brows YuNet's boxes end (medians
# over 1,013 photos; their other three sides are those of the points)
_SMALLEST = 9.0  # px: smaller faces are neither wanted nor held against the network
_SEEN = 0.55  # share of a face that must be in the picture and uncovered to be wanted
_KEPT = 3000  # decoded pictures, 0.25 MB each
_MIRROR = [1, 0, 2, 4, 3]


@dataclass(frozen=True)
class Mosaic:
    """A training picture and its truth.

    Attributes:
        pixels: uint8 [S, S, 3] RGB.
        boxes: [N, 4] x0, y0, x1, y1; points: [N, 5, 2], left to right as seen.
        wanted: [N] False where too little of the face is to be seen: neither right nor wrong to find.
    """

    pixels: Pixels
    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    wanted: npt.NDArray[np.bool_]


def face_box(landmarks: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The box YuNet would draw: x0, y0, x1, y1 from [68, 2] points, of a face rolled by any angle."""
    points = np.asarray(landmarks, np.float64)
    right = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    right /= max(float(np.hypot(*right)), 1e-6) * (1 if right[0] >= 0 else -1)  # mirrored points too
    turn = np.array([right, [-right[1], right[0]]])  # to a level face
    level = points @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    low[1] -= _FOREHEAD * (high[1] - low[1])
    # The head is nearer to an ellipse than to a rectangle: bounds of the turned ellipse.
    half = np.sqrt((turn.T**2) @ (((high - low) / 2) ** 2))
    middle = turn.T @ ((low + high) / 2)
    return np.concatenate([middle - half, middle + half])


class Mosaics:
    """Draws mosaics from a set of pairs.

    Args:
        size: of the pictures, pixels.
        sizes: of the faces, square root of the box's area: least and greatest, pixels.
        turn: greatest roll that is added, degrees.
    """

    def __init__(
        self,
        pairs: PairSet,
        size: int = 160,
        sizes: tuple[float, float] = (12.0, 150.0),
        turn: float = 35.0,
    ) -> None:
        self._pairs, self.size, self._sizes, self._turn = pairs, size, sizes, turn
        self._boxes = np.array([face_box(points) for points in pairs.landmarks])
        self._five = np.array([five_points(points.astype(np.float64)) for points in pairs.landmarks])

        self._picture = lru_cache(_KEPT)(self._decode)

    def _decode(self, index: int) -> tuple[Pixels, Pixels]:
        return self._pairs.pixels(index), self._pairs.labels(index)

    def draw(self, rng: Rng) -> Mosaic:
        """A mosaic; a function of the generator's state."""
        canvas = self._background(rng)
        for _ in range(int(rng.choice(5, p=(0.3, 0.25, 0.2, 0.15, 0.1)))):
            canvas = self._decoy(canvas, rng)
        count = int(rng.choice(5, p=(0.12, 0.48, 0.22, 0.12, 0.06)))
        low, high = np.log(self._sizes)
        if rng.random() < 0.45:  # people's own photos mostly show large faces
            low = max(low, high + np.log(0.3))
        sides = np.sort(np.exp(rng.uniform(low, high, count)))[::-1]
        boxes, points = np.zeros((0, 4)), np.zeros((0, 5, 2))
        covered = np.zeros((self.size, self.size), np.float32)
        seen = np.zeros(0)
        for side in sides:
            canvas, box, five, mask = self._person(canvas, float(side), rng)
            seen = seen - [_share(mask, other) for other in boxes]
            boxes, points = np.vstack([boxes, box[None]]), np.concatenate([points, five[None]])
            seen = np.append(seen, 1.0)
        if count and rng.random() < 0.3:
            canvas, hidden = augment.occlude(canvas, rng, area=0.1)
            covered = hidden.astype(np.float32)
        canvas = augment.degrade(canvas, rng)
        inside = np.array([_inside(box, self.size) - _share(covered, box) for box in boxes])
        wanted = (seen + inside - 1 >= _SEEN) if count else np.zeros(0, bool)
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        wanted &= area >= _SMALLEST**2
        return Mosaic(canvas, boxes.astype(np.float32), points.astype(np.float32), wanted)

    # backgrounds

    def _background(self, rng: Rng) -> Pixels:
        size = self.size
        kind = rng.choice(3, p=(0.45, 0.35, 0.2))
        if kind == 0:
            canvas = surface(size, rng)
        elif kind == 1:
            canvas = surface(size, rng)
            for _ in range(int(rng.integers(2, 9))):
                x, y, w, h = window(rng, size, 0.15, 0.7)
                canvas[y : y + h, x : x + w] = augment.texture(h, w, rng)
        else:
            index = int(rng.integers(len(self._pairs)))
            piece = self._piece(index, rng, ("background", "hair", "cloth"), (0.08, 0.3))
            canvas = cv2.resize(piece, (size, size), interpolation=cv2.INTER_CUBIC)
        if rng.random() < 0.7:
            canvas = clutter(np.ascontiguousarray(canvas), rng)
        if rng.random() < 0.3:
            canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 4.0))
        return np.ascontiguousarray(canvas, np.uint8)

    # what is no face

    def _decoy(self, canvas: Pixels, rng: Rng) -> Pixels:
        kinds: list[Callable[[int, Rng], Pixels]] = [self._part, self._shuffled, self._feature, dots, skin]
        piece = kinds[rng.choice(len(kinds), p=(0.3, 0.2, 0.2, 0.12, 0.18))](
            int(rng.integers(len(self._pairs))), rng
        )
        side = float(np.exp(rng.uniform(np.log(12), np.log(0.75 * self.size))))
        height, width = piece.shape[:2]
        scale = side / max(height, width)
        angle = rng.uniform(-40, 40)
        at = rng.uniform(0, self.size, 2)
        matrix = _placed(np.array([width / 2, height / 2]), at, scale, angle)
        alpha = np.ones((height, width), np.float32)
        if rng.random() < 0.5:
            alpha[:] = 0
            axes = (max(1, int(0.48 * width)), max(1, int(0.48 * height)))
            cv2.ellipse(alpha, (width // 2, height // 2), axes, 0, 0, 360, 1.0, -1)
        return _paste(canvas, piece, alpha, matrix)[0]

    def _part(self, index: int, rng: Rng) -> Pixels:
        """Cloth, hair, neck or an ear."""
        wanted = ("cloth", "hair", "neck", "ears")[rng.choice(4, p=(0.35, 0.35, 0.15, 0.15))]
        return self._piece(index, rng, (wanted,), (0.08, 0.35))

    def _piece(self, index: int, rng: Rng, parts: tuple[str, ...], sides: tuple[float, float]) -> Pixels:
        """A window of a photo about a pixel of one of the parts, away from the middle of the face."""
        pixels, labels = self._picture(index)
        size = pixels.shape[0]
        # What makes it a face, brows to mouth, must stay outside.
        x0, y0, x1, y1 = self._boxes[index]
        face = (x0 + 0.18 * (x1 - x0), y0 + 0.3 * (y1 - y0), x1 - 0.18 * (x1 - x0), y1 - 0.12 * (y1 - y0))
        ys, xs = np.nonzero(np.isin(labels, [LABELS.index(part) for part in parts]))
        for _ in range(8):
            side = int(rng.uniform(*sides) * size)
            k = int(rng.integers(len(xs))) if len(xs) else -1
            cx, cy = (int(xs[k]), int(ys[k])) if k >= 0 else (size // 2, size - 1)
            left, top = (int(np.clip(c - side // 2, 0, size - side)) for c in (cx, cy))
            overlap = max(0.0, min(left + side, face[2]) - max(left, face[0])) * max(
                0.0, min(top + side, face[3]) - max(top, face[1])
            )
            if overlap < 0.1 * side * side:
                return pixels[top : top + side, left : left + side]
        return pixels[:32, :32]  # a corner: background

    def _shuffled(self, index: int, rng: Rng) -> Pixels:
        """A face in disorder, or upside down."""
        face = self._face(index)
        if rng.random() < 0.35:
            return np.ascontiguousarray(face[::-1])
        across, down = [(2, 2), (3, 3), (1, 2), (1, 3), (2, 1)][rng.integers(5)]
        height, width = face.shape[0] // down, face.shape[1] // across
        tiles = [
            face[r * height : (r + 1) * height, c * width : (c + 1) * width]
            for r in range(down)
            for c in range(across)
        ]
        order = np.roll(np.arange(len(tiles)), int(rng.integers(1, len(tiles))))
        rows = [np.hstack([tiles[order[r * across + c]] for c in range(across)]) for r in range(down)]
        return np.vstack(rows)

    def _feature(self, index: int, rng: Rng) -> Pixels:
        """An eye, a nose, a mouth or a cheek alone."""
        face = self._face(index)
        height, width = face.shape[:2]
        share = rng.uniform(0.25, 0.42)
        h, w = max(4, int(share * height)), max(4, int(share * width))
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        return face[y : y + h, x : x + w]

    def _face(self, index: int) -> Pixels:
        pixels, _ = self._picture(index)
        size = pixels.shape[0]
        x0, y0, x1, y1 = (int(np.clip(v, 0, size)) for v in self._boxes[index])
        return pixels[y0 : max(y1, y0 + 12), x0 : max(x1, x0 + 12)]

    # people

    def _person(
        self, canvas: Pixels, side: float, rng: Rng
    ) -> tuple[Pixels, npt.NDArray[np.float64], npt.NDArray[np.float64], Mask]:
        """Puts somebody into the picture; returns it, box, points and what the person covers."""
        index = int(rng.integers(len(self._pairs)))
        pixels, labels = self._picture(index)
        landmarks, five = self._pairs.landmarks[index].astype(np.float64), self._five[index]
        if rng.random() < 0.5:
            pixels, labels = cv2.flip(pixels, 1), cv2.flip(labels, 1)
            landmarks, five = landmarks.copy(), five[_MIRROR].copy()
            landmarks[:, 0] = pixels.shape[1] - 1 - landmarks[:, 0]
            five[:, 0] = pixels.shape[1] - 1 - five[:, 0]
        if rng.random() < 0.1:
            pixels, _ = augment.hat(pixels, landmarks, rng)
        whole = rng.random() < 0.35
        alpha = np.ones(labels.shape, np.float32) if whole else (labels > 0).astype(np.float32)
        if not whole:
            alpha = cv2.GaussianBlur(alpha, (0, 0), 0.8)
        box = face_box(landmarks)
        middle = (box[:2] + box[2:]) / 2
        scale = side / float(np.sqrt(np.prod(box[2:] - box[:2])))
        angle = float(np.clip(rng.normal(0, 0.4 * self._turn), -self._turn, self._turn))
        reach = 0.5 * max(0.0, self.size - side)  # large faces stay near the middle
        at = self.size / 2 + rng.uniform(-1, 1, 2) * (reach + 0.2 * side)
        matrix = _placed(middle, at, scale, angle)
        canvas, mask = _paste(canvas, pixels, alpha, matrix)
        box = face_box(transform_points(landmarks, matrix))
        return canvas, box, transform_points(five, matrix), mask


def _placed(middle: Vector, at: Vector, scale: float, angle: float) -> Vector:
    """[2, 3]: turned by degrees and scaled about `middle`, which comes to lie at `at`."""
    turn = np.deg2rad(angle)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.hstack([linear, (at - linear @ middle)[:, None]])


def _paste(
    canvas: Pixels, piece: Pixels, alpha: Mask, matrix: npt.NDArray[np.float64]
) -> tuple[Pixels, Mask]:
    """Warps a piece into the canvas; returns the canvas and how much of each pixel it covers."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    matrix = matrix.copy()
    if scale < 0.7:  # area averages first: small faces are not to alias
        height, width = piece.shape[:2]
        small = (max(2, round(width * scale * 1.3)), max(2, round(height * scale * 1.3)))
        ratio = np.array([width / small[0], height / small[1]])
        piece = cv2.resize(piece, small, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
        matrix[:, 2] += matrix[:, :2] @ (0.5 * ratio - 0.5)
        matrix[:, :2] = matrix[:, :2] * ratio
    mask = np.zeros(canvas.shape[:2], np.float32)
    height, width = piece.shape[:2]
    corners = transform_points([[0, 0], [width, 0], [width, height], [0, height]], matrix)
    (x0, y0), (x1, y1) = np.floor(corners.min(axis=0)) - 1, np.ceil(corners.max(axis=0)) + 2
    x0, x1 = (int(np.clip(v, 0, canvas.shape[1])) for v in (x0, x1))
    y0, y1 = (int(np.clip(v, 0, canvas.shape[0])) for v in (y0, y1))
    if x1 <= x0 or y1 <= y0:
        return canvas, mask
    matrix[:, 2] -= (x0, y0)  # only the window that the piece touches is worked on
    side = (x1 - x0, y1 - y0)
    laid = cv2.warpAffine(piece, matrix, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    soft = np.asarray(cv2.warpAffine(alpha, matrix, side, flags=cv2.INTER_LINEAR), np.float32)
    canvas = canvas.copy()
    under = np.ascontiguousarray(canvas[y0:y1, x0:x1])
    canvas[y0:y1, x0:x1] = cv2.blendLinear(under, laid, 1 - soft, soft)
    mask[y0:y1, x0:x1] = soft
    return canvas, mask


def _share(mask: Mask, box: npt.NDArray[np.float64]) -> float:
    """Share of a box's part inside the picture that a mask covers."""
    size = mask.shape[0]
    x0, y0, x1, y1 = (int(np.clip(v, 0, size)) for v in box)
    inner = mask[y0:y1, x0:x1]
    return float(inner.mean()) if inner.size else 0.0


def _inside(box: npt.NDArray[np.float64], size: int) -> float:
    """Share of a box that lies in the picture."""
    clipped = np.clip(box, 0, size)
    area = float(np.prod(box[2:] - box[:2]))
    return float(np.prod(clipped[2:] - clipped[:2])) / max(area, 1e-6)
