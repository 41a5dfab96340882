"""Reading the training data that `synth pairs` wrote (synth/pairs.py says what is in a file)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.errors import DatasetError

__all__ = ["HELD_OUT", "PairSet"]

#: People whose number is 19 modulo 20 are held out.
HELD_OUT = 20


class PairSet:
    """Pictures and their truth; everything but the pixels is decoded at once.

    Args:
        folder: of `synth pairs`.
        part: `train`, `val` (every 20th person) or `all`.
        people: use the first so many people's numbers only; 0: all.

    Attributes:
        person: [N] number of the person. base: [N] index of the unedited photo, itself for unedited ones.
        edit: [N] name of the edit, "" for none; strength: [N] 0..1.
        landmarks: [N, 68, 2] pixels; pose: [N, 3] yaw, pitch, roll in degrees; box: [N, 4].
        attributes: name -> [N] (synth.pairs.PAIR_ATTRIBUTES).

    Raises:
        DatasetError: no such folder, or nobody in it.
    """

    def __init__(self, folder: str | Path, part: str = "train", people: int = 0) -> None:
        files = sorted(Path(folder).glob("people/p*.npz"))
        if not files:
            raise DatasetError(f"{folder} holds no training pairs: draw some with `fstriplets synth pairs`")
        numbered = [(int(path.stem[1:]), path) for path in files]
        chosen = [(n, p) for n, p in numbered if _in_part(n, part) and (not people or n < people)]
        if not chosen:
            raise DatasetError(f"{folder}: none of the {len(files)} people belongs to part {part!r}")
        self._jpeg: list[npt.NDArray[np.uint8]] = []
        self._png: list[npt.NDArray[np.uint8]] = []
        columns: dict[str, list[np.ndarray]] = {}
        person: list[np.ndarray] = []
        count = 0
        for number, path in chosen:
            with np.load(path) as file:
                arrays = {key: file[key] for key in file.files}
            n = len(arrays["base"])
            self._jpeg += np.split(arrays["jpeg"], arrays["jpeg_ends"][:-1])
            self._png += np.split(arrays["png"], arrays["png_ends"][:-1])
            person.append(np.full(n, number))
            arrays["base"] = arrays["base"] + count
            count += n
            for key in ("base", "edit", "strength", "landmarks", "pose", "box", "attributes"):
                columns.setdefault(key, []).append(arrays[key])
            names = arrays["names"]
        self.person = np.concatenate(person)
        joined = {key: np.concatenate(parts) for key, parts in columns.items()}
        self.base, self.edit, self.strength = joined["base"], joined["edit"], joined["strength"]
        self.landmarks, self.pose, self.box = joined["landmarks"], joined["pose"], joined["box"]
        self.attributes = {str(name): joined["attributes"][:, i] for i, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.base)

    def pixels(self, index: int, half: bool = False) -> npt.NDArray[np.uint8]:
        """The photo: uint8 [S, S, 3] RGB; with `half` [S/2, S/2, 3], in a third of the time."""
        how = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
        picture = _decoded(self._jpeg[index], how)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def labels(self, index: int) -> npt.NDArray[np.uint8]:
        """Part labels: uint8 [S, S], values of synth.regions.LABELS."""
        return _decoded(self._png[index], cv2.IMREAD_GRAYSCALE)


def _decoded(data: npt.NDArray[np.uint8], how: int) -> npt.NDArray[np.uint8]:
    picture = cv2.imdecode(data, how)
    if picture is None:
        raise DatasetError("a picture of the training pairs is damaged: draw the set again")
    return np.asarray(picture, np.uint8)


def _in_part(number: int, part: str) -> bool:
    if part not in ("train", "val", "all"):
        raise ValueError(f"part must be train, val or all, not {part!r}")
    held_out = number % HELD_OUT == HELD_OUT - 1
    return part == "all" or held_out == (part == "val")
