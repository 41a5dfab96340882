"""What the face analyser is worth: `python -m fstriplets.evaluation.analyser --data DIR --real DIR`.

Used as the build uses it: five points with a detector's error, two looks, a third one for parts, attributes
and pose. On held-out synthetic people against the truth; on photos of real people, one folder each, against
the public models that are installed (YuNet finds the faces, MediaPipe's mesh and FSA-Net judge). Photos
called neutral and smiling also tell whether the smile is seen. `--sheet` draws what it saw.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.config import PipelineConfig
from fstriplets.corpus import decode_photo, open_corpus
from fstriplets.errors import PhotoRejected
from fstriplets.faces.align import invert, similarity, transform_points, warp
from fstriplets.faces.analyser import Analyser, BundledLandmarker, Reading
from fstriplets.faces.detectors import load_detector
from fstriplets.faces.landmarks import MediaPipeLandmarker, five_points
from fstriplets.faces.pose import FsaNetPose
from fstriplets.faces.templates import template_points
from fstriplets.models.networks.face_analyser import ANALYSER_ATTRIBUTES, FaceAnalyser
from fstriplets.models.weights.load import load_checkpoint
from fstriplets.synth.regions import LABELS
from fstriplets.training.face_crops import RANGES, auc, part_iou, targets
from fstriplets.training.pairs import PairSet

__all__ = ["measure_real", "measure_synthetic"]

#: A detector's error of its five points, in distances between the eyes.
_NOISE = 0.045
_SIDE = 256
_JAW = slice(0, 17)


@dataclass(frozen=True, eq=False)
class Seen:
    """A real photo's crop and what was seen in it."""

    name: str
    crop: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float64]
    reference: npt.NDArray[np.float64]
    reading: Reading
    reference_pose: tuple[float, float, float]


def eye_distance(points: np.ndarray) -> float:
    """Between the centres of the eyes of [68, 2] points."""
    five = five_points(points)
    return float(np.hypot(*(five[1] - five[0])))


def measure_synthetic(analyser: Analyser, data: Path, count: int = 400) -> dict[str, float]:
    """Errors on pictures of held-out people: name -> value."""
    pairs = PairSet(data, "val")
    scores, known = targets(pairs)
    rng = np.random.default_rng(5)
    chosen = np.sort(rng.permutation(len(pairs))[:count])
    landmarker = BundledLandmarker(analyser=analyser)
    errors, poses, said, guessed, wanted, inside = [], [], [], [], [], []
    for index in map(int, chosen):
        photo, truth = pairs.pixels(index), pairs.landmarks[index].astype(float)
        noisy = five_points(truth) + rng.normal(0, _NOISE * eye_distance(truth), (5, 2))
        found = landmarker.find(photo, noisy)
        reading = analyser.read(photo, found)
        # Turned heads have near eyes; the frontal distance of this photo's scale is the fair unit.
        unit = max(eye_distance(truth), 0.35 * float(np.hypot(*(truth[8] - truth[27]))))
        errors.append(np.hypot(*(found - truth).T) / unit)
        poses.append(np.subtract(reading.pose, pairs.pose[index]))
        said.append([reading.attributes[name] for name in ANALYSER_ATTRIBUTES])
        guessed.append(reading.labels(photo.shape[0]))
        wanted.append(pairs.labels(index))
        corners = transform_points([[0, 0], [127, 0], [127, 127], [0, 127]], invert(reading.matrix))
        view = np.zeros(photo.shape[:2], np.uint8)
        cv2.fillConvexPoly(view, np.rint(corners).astype(np.int32), 1)
        inside.append(view > 0)
    error, yaw = np.array(errors), np.abs(pairs.pose[chosen][:, 0])
    values = {
        f"landmarks, yaw < 20 (% of eye distance, {(yaw < 20).sum()} pictures)": 100 * error[yaw < 20].mean()
    }
    values["landmarks, yaw 20 to 60"] = 100 * error[yaw >= 20].mean()
    values["landmarks without the jaw, yaw < 20"] = 100 * error[yaw < 20][:, 17:].mean()
    for name, column in zip(("yaw", "pitch", "roll"), np.abs(np.array(poses)).T, strict=True):
        values[f"{name}, mean error in degrees"] = float(column.mean())
    shares = part_iou(np.array(guessed), np.array(wanted), np.array(inside))
    values["parts, mean IoU within the view"] = float(np.nanmean(shares))
    values |= {f"IoU {name}": float(s) for name, s in zip(LABELS, shares, strict=True)}
    return values | _attribute_figures(np.array(said), scores[chosen], known[chosen] > 0)


def _attribute_figures(said: np.ndarray, truth: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """AUC at half strength, or mean error, of each attribute."""
    values = {}
    for i, name in enumerate(ANALYSER_ATTRIBUTES):
        a, b = said[known[:, i], i], truth[known[:, i], i]
        if name in ("age", "chubbiness", "mouth_open", "hair_length", "hair_r", "hair_g", "hair_b"):
            low, high = RANGES.get(name, (0.0, 1.0))
            values[f"{name}, mean error"] = float(np.abs(a - b).mean() * (high - low))
        else:
            values[f"{name}, AUC ({(b > 0.5).sum()} of {len(b)})"] = auc(a, b > 0.5)
    return values


def look(analyser: Analyser, folder: Path, people: int, photos: int) -> Iterator[Seen]:
    """The largest face of each photo."""
    config = PipelineConfig(corpus=str(folder), detector="yunet", min_images=1)
    detector, mesh, fsanet = load_detector(config), MediaPipeLandmarker(), FsaNetPose()
    landmarker = BundledLandmarker(analyser=analyser)
    target = template_points("ffhq", _SIDE)
    for n, (_, members) in enumerate(open_corpus(str(folder), config).identities()):
        if n >= people:
            return
        for photo in list(members)[:photos]:
            try:
                decoded = decode_photo(open_corpus(str(folder), config).read(photo), config.max_pixels)
                found = detector.detect(photo, decoded.pixels)
            except PhotoRejected:
                continue
            if not found:
                continue
            crop = warp(decoded.pixels, similarity(five_points(found[0].points), target), _SIDE)
            landmarks, reference = landmarker.find(crop, target), mesh.find(crop, target)
            reading = analyser.read(crop, landmarks)
            name = f"{photo.identity_id}/{Path(photo.uri).name}"
            yield Seen(name, crop, landmarks, reference, reading, fsanet.estimate(crop, reference))


def measure_real(seen: list[Seen]) -> dict[str, float]:
    """Differences from the public models, and the smile: name -> value."""
    units = np.array([eye_distance(s.reference) for s in seen])
    moved = np.array([s.landmarks - s.reference for s in seen]) / units[:, None, None]
    error = np.linalg.norm(moved, axis=-1) * 100
    own = np.linalg.norm(moved - moved.mean(axis=0), axis=-1) * 100
    pose = np.array([np.subtract(s.reading.pose, s.reference_pose) for s in seen])
    values = {
        f"68 points (% of eye distance, {len(seen)} photos)": error.mean(),
        "68 points, worst tenth of photos": float(np.percentile(error.mean(axis=1), 90)),
        "51 points without the jaw": error[:, 17:].mean(),
        "jaw": error[:, _JAW].mean(),
        "68 points, less what is the same in all photos": own.mean(),
        "yaw, mean difference in degrees": float(np.abs(pose[:, 0]).mean()),
        "pitch, mean difference": float(np.abs(pose[:, 1] - np.median(pose[:, 1])).mean()),
        "pitch, median offset": float(np.median(pose[:, 1])),
    }
    smiling = np.array(["smiling" in s.name for s in seen])
    if smiling.any() and not smiling.all():
        for name in ("smile", "mouth_open"):
            scores = [s.reading.attributes[name] for s in seen]
            values[f"{name}: neutral from smiling, AUC"] = auc(scores, smiling)
    return values


#: Colours of the parts.
_COLOURS = np.array(
    [[0, 0, 0], [225, 170, 140], [90, 50, 20], [255, 255, 255], [250, 120, 90], [120, 0, 0], [255, 0, 80],
     [130, 90, 0], [0, 0, 255], [70, 50, 30], [180, 140, 200], [0, 255, 0], [0, 130, 130]], np.uint8
)  # fmt: skip


def sheet(seen: list[Seen], columns: int = 6) -> npt.NDArray[np.uint8]:
    """Photos with points (ours green, the reference's red) beside their parts, scores written below."""
    tiles = []
    for s in seen:
        face = s.crop.copy()
        for points, colour in ((s.reference, (255, 40, 40)), (s.landmarks, (0, 255, 0))):
            for x, y in points:
                cv2.circle(face, (round(x * 4), round(y * 4)), 4, colour, -1, cv2.LINE_AA, 2)
        labels = s.reading.labels(_SIDE)
        parts = cv2.addWeighted(s.crop, 0.35, _COLOURS[labels], 0.65, 0)
        parts[labels == 0] = s.crop[labels == 0] // 3
        tile = np.vstack([np.hstack([face, parts]), np.zeros((34, 2 * _SIDE, 3), np.uint8)])
        a = s.reading.attributes
        low, high = RANGES["age"]
        words = f"age {low + a['age'] * (high - low):.0f} chub {a['chubbiness']:.2f} gl {a['glasses']:.2f}"
        words += f" sun {a['sunglasses']:.2f} smile {a['smile']:.2f} open {a['mouth_open']:.2f}"
        more = f"beard {a['beard']:.2f}/{a['moustache']:.2f} bald {a['bald']:.2f} fringe {a['fringe']:.2f}"
        more += f" grey {a['grey_hair']:.2f} pose " + " ".join(f"{v:.0f}" for v in s.reading.pose)
        for line, text in enumerate((words, more)):
            place = (4, _SIDE + 13 + 15 * line)
            cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def _network(file: Path | None) -> FaceAnalyser | None:
    """The network of a training's export/ folder or checkpoint; None: the bundled one."""
    if file is None:
        return None
    network = FaceAnalyser().eval().requires_grad_(False)
    checkpoint = load_checkpoint(file)
    state = checkpoint if file.suffix == ".safetensors" else checkpoint["job"]["averaged"]
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return network


def _print(title: str, values: dict[str, float]) -> None:
    print(f"\n{title}\n\n| | |\n|---|---|")
    for name, value in values.items():
        print(f"| {name} | {value:.3f} |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of `synth pairs`")
    parser.add_argument("--real", type=Path, action="append", default=[], help="a folder for each person")
    parser.add_argument("--weights", type=Path, help="export or checkpoint of a run (default: bundled)")
    parser.add_argument("--pictures", type=int, default=400, help="synthetic pictures (default 400)")
    parser.add_argument("--people", type=int, default=1000, help="real people of each folder (default: all)")
    parser.add_argument("--photos", type=int, default=2, help="photos of each (default 2)")
    parser.add_argument("--sheet", type=Path, help="folder for pictures of what was seen")
    parser.add_argument("--sheet-photos", type=int, default=36, help="photos on a sheet (default 36)")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    analyser = Analyser(_network(chosen.weights))
    if chosen.data:
        _print("Held-out synthetic people", measure_synthetic(analyser, chosen.data, chosen.pictures))
    for folder in chosen.real:
        seen = list(look(analyser, folder, chosen.people, chosen.photos))
        _print(folder.name, measure_real(seen))
        if chosen.sheet:
            chosen.sheet.mkdir(parents=True, exist_ok=True)
            step = max(1, len(seen) // chosen.sheet_photos)
            picture = sheet(seen[::step][: chosen.sheet_photos])
            cv2.imwrite(str(chosen.sheet / f"{folder.name}.png"), np.ascontiguousarray(picture[..., ::-1]))


if __name__ == "__main__":
    main()
