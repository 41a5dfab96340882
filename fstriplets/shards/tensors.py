"""Stored samples to tensors.

OpenCV decodes, splits into planes and the planes are scaled where they will stay: one pass each, no
copy of a whole image in another order. A batch is decoded straight into its own memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from fstriplets.errors import DatasetError
from fstriplets.shards.stream import ROLES, StoredSample

__all__ = ["META", "Decoder"]

#: Keys of a sample's `meta`, with what stands for "none"; the same in every sample, so that any
#: collate function works.
META: dict[str, Any] = {
    "kind": "", "identity_id": "", "target_identity_id": "", "source_id": "", "target_id": "",
    "result_id": "", "real": "", "edit": "", "edit_id": "", "strength": 0.0, "editor": "",
    "licence": "", "consent": "", "weights_licence": "",
}  # fmt: skip
_SCALE, _ONE = np.float32(1 / 127.5), np.float32(1)


class Decoder:
    """Decodes samples and batches of them.

    Args:
        image_size: side of the images given out, pixels; None: as stored.
        dtype: torch.float32 ([-1, 1]) or torch.uint8.
    """

    def __init__(self, image_size: int | None, dtype: torch.dtype) -> None:
        if dtype not in (torch.float32, torch.uint8):
            raise ValueError(f"dtype is torch.float32 or torch.uint8, not {dtype}")
        self.image_size = image_size
        self.dtype = dtype
        self._numpy = np.float32 if dtype == torch.float32 else np.uint8

    def pixels(self, sample: StoredSample) -> list[np.ndarray | None]:
        """Source, target and result as uint8 [H, W, 3] BGR; None for a result nobody knows.

        Raises:
            DatasetError: a member cannot be decoded; names it.
        """
        decoded: dict[str, np.ndarray | None] = {}
        ids = [str(sample.meta[f"{role}_id"]) for role in ROLES]
        images: list[np.ndarray | None] = []
        for role, name in zip(ROLES, ids, strict=True):
            data = getattr(sample, role)
            if data is None:
                images.append(None)
                continue
            if name not in decoded:  # two members of a triplet are often one and the same image
                decoded[name] = self._decode(data, f"{sample.key}.{role}")
            images.append(decoded[name])
        return images

    def one(
        self, sample: StoredSample, images: Sequence[np.ndarray | None], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """A sample: `__key__`, [3, H, W] tensors `source`, `target`, `result`, and `meta`."""
        height, width = _size(images)
        out: dict[str, Any] = {"__key__": sample.key}
        for role, image in zip(ROLES, images, strict=True):
            planes = np.empty((3, height, width), self._numpy)
            self._fill(planes, image)
            out[role] = torch.from_numpy(planes)
        return out | {"meta": meta}

    def batch(
        self,
        samples: Sequence[StoredSample],
        images: Sequence[Sequence[np.ndarray | None]],
        metas: Sequence[dict[str, Any]],
    ) -> dict[str, Any]:
        """A batch: [B, 3, H, W] tensors; `meta` holds lists, and tensors for numbers."""
        height, width = _size(images[0])
        out: dict[str, Any] = {"__key__": [sample.key for sample in samples]}
        for i, role in enumerate(ROLES):
            whole = _empty((len(samples), 3, height, width), self.dtype)
            planes = whole.numpy()
            for row, chosen in zip(planes, images, strict=True):
                self._fill(row, chosen[i])
            out[role] = whole
        meta: dict[str, Any] = {name: [m[name] for m in metas] for name in metas[0]}
        for name in ("strength", "has_result", "index"):
            meta[name] = torch.tensor(meta[name])
        return out | {"meta": meta}

    def _decode(self, data: bytes | memoryview, member: str) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if len(data) else None
        if image is None:
            raise DatasetError(f"member {member} is not a readable image")
        size = self.image_size
        if size is not None and image.shape[:2] != (size, size):
            shrink = image.shape[0] > size
            image = cv2.resize(
                image, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
            )
        return np.asarray(image)

    def _fill(self, planes: np.ndarray, image: np.ndarray | None) -> None:
        """Put an image into [3, H, W]; zeros (mid-grey) where there is none."""
        if image is None:
            planes.fill(0 if self.dtype == torch.float32 else 128)
            return
        if image.shape[:2] != planes.shape[1:]:
            raise DatasetError(
                f"images of {image.shape[0]} and {planes.shape[1]} pixels in one batch; give image_size"
            )
        for plane, channel in zip(planes, reversed(cv2.split(image)), strict=True):  # BGR to RGB
            if self.dtype == torch.uint8:
                plane[...] = channel
            else:
                np.multiply(channel, _SCALE, out=plane)
                np.subtract(plane, _ONE, out=plane)


def _size(images: Sequence[np.ndarray | None]) -> tuple[int, int]:
    assert images[0] is not None  # there is always a source
    return images[0].shape[0], images[0].shape[1]


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Memory for a batch; in a DataLoader's worker shared, so that sending it copies nothing."""
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    count = int(np.prod(shape))
    size = count * torch.empty(0, dtype=dtype).element_size()
    # As torch's own default_collate does.
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)  # type: ignore[call-overload, no-any-return]
