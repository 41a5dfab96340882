"""The edit stage: planned edits in, judged edits with pixels out.

Edits are grouped by (editor, edit) and handed to the editor in batches; each is made once. The
tensor an editor gets is overwritten by the next batch: one that keeps faces must clone them. What a face
gets does not depend on the batch it was in: a batch in which one face fails is retried face by face.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from fstriplets.edits.accept import AttributeScorer, attribute_changes, judge, measure
from fstriplets.edits.base import Editor
from fstriplets.edits.registry import load_editor
from fstriplets.errors import ConfigError, FstripletsError, PhotoRejected
from fstriplets.faces.limits import PUBLIC, IdentityLimits
from fstriplets.records import AlignedFace, Edit, PlannedEdit, content_id

if TYPE_CHECKING:
    from fstriplets.config import PipelineConfig

__all__ = ["EditStage", "edit_id_of", "from_tensor", "to_tensor"]

#: So many faces of an editor failing in a row is a broken editor, not bad photos.
_MAX_STREAK = 32
#: Byte -> [-1, 1].
_FLOATS = (np.arange(256) / 127.5 - 1).astype(np.float32)
#: Never turned into rows.
_SYSTEM = (MemoryError, ImportError, FstripletsError)

Embed = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]
Made = tuple[PlannedEdit, Edit, "np.ndarray | None"]


@dataclass(slots=True)
class _Picture:
    """One face's answer from an editor."""

    pixels: np.ndarray  # uint8 [S, S, 3]
    mask: np.ndarray  # float32 [S, S]


class EditStage:
    """Runs planned edits of a bucket.

    Args:
        config: editor, edits, accept and batch_size are read.
        embed: crops uint8 [B, S, S, 3] and landmarks [B, N, 2] → [B, D] L2-normalised, or None when
            there is no embedder: the identity gates are then not applied.
        attribute_scorer: scores attributes of crops; None: no attribute gates.
        limits: the recogniser's own cosines, for those the config leaves empty.

    Attributes:
        fingerprint: the editors of the config, what shapes their pictures, and who scores them.
        weights: "editor:N" -> sha256 of each weights file the editors loaded; the scorer's by name.
        seconds: spent inside editors so far.

    Raises:
        ConfigError: an edit names an editor that does not exist or cannot do it.
    """

    def __init__(
        self,
        config: PipelineConfig,
        embed: Embed,
        *,
        attribute_scorer: AttributeScorer | None = None,
        limits: IdentityLimits = PUBLIC,
    ) -> None:
        self._config = config
        self._limits = limits.settled(config)
        self._embed = embed
        self._scorer = attribute_scorer
        self._streak: dict[str, int] = {}
        editors: dict[str, Editor] = {}
        for name, edit in config.edits.items():
            if edit.ratio > 0:
                editor_name = edit.editor or config.editor
                editors[editor_name] = _able(load_editor(editor_name), editor_name, name)
        judges = [] if attribute_scorer is None else [getattr(attribute_scorer, "fingerprint", "")]
        self.fingerprint = "+".join([*(editors[name].fingerprint for name in sorted(editors)), *judges])
        self.weights = {
            f"{name}:{i}": record.sha256
            for name in sorted(editors)
            for i, record in enumerate(editors[name].weights)
        } | dict(getattr(attribute_scorer, "weights", {}))
        self.seconds = 0.0
        self._buffer: torch.Tensor | None = None

    def run(self, faces: Mapping[str, AlignedFace], planned: Iterable[PlannedEdit]) -> Iterator[Made]:
        """Make every planned edit once.

        Args:
            faces: face_id -> face; all crops of one size.
            planned: edits of those faces; equal records are made once.

        Yields:
            (planned edit, its record, pixels uint8 [S, S, 3] or None unless its status is `ok`).

        Raises:
            FstripletsError: an editor broke its contract (shapes, dtype, a long streak of exceptions).
        """
        waiting: dict[tuple[str, str], list[PlannedEdit]] = {}
        seen: set[PlannedEdit] = set()
        for item in planned:
            if item in seen:
                continue
            seen.add(item)
            group = waiting.setdefault((item.editor, item.edit), [])
            group.append(item)
            if len(group) >= self._config.batch_size:
                yield from self._batch(faces, group)
                group.clear()
        for group in waiting.values():
            if group:
                yield from self._batch(faces, group)

    def _batch(self, faces: Mapping[str, AlignedFace], group: Sequence[PlannedEdit]) -> list[Made]:
        editor = _able(load_editor(group[0].editor), group[0].editor, group[0].edit)
        members = [faces[item.face_id] for item in group]
        answers = self._pictures(editor, group, members)
        values = self._measure(editor, group, members, answers)
        return [
            self._record(editor, item, face, answer, value)
            for item, face, answer, value in zip(group, members, answers, values, strict=True)
        ]

    def _pictures(
        self, editor: Editor, group: Sequence[PlannedEdit], members: Sequence[AlignedFace]
    ) -> list[_Picture | PhotoRejected]:
        """Call the editor; on an exception face by face, so that one bad face costs only itself."""
        start = time.perf_counter()
        try:
            answers = self._call(editor, group, members)
            self._streak[editor.name] = 0
            return answers
        except _SYSTEM:
            raise
        except PhotoRejected as rejected:
            if len(group) == 1:
                return [rejected]
        except Exception as error:
            if len(group) == 1:
                return [self._failed(editor, group[0], error)]
        finally:
            self.seconds += time.perf_counter() - start
        pairs = zip(group, members, strict=True)
        return [self._pictures(editor, [item], [face])[0] for item, face in pairs]

    def _call(
        self, editor: Editor, group: Sequence[PlannedEdit], members: Sequence[AlignedFace]
    ) -> list[_Picture | PhotoRejected]:
        batch = self._tensor([face.pixels for face in members])
        with torch.inference_mode():
            result = editor.edit(
                batch,
                group[0].edit,
                torch.tensor([item.strength for item in group], dtype=torch.float32),
                torch.tensor([item.seed for item in group], dtype=torch.int64),
                **_extras(editor, members),
            )
        _check(editor, group[0].edit, batch, result)
        pictures: list[_Picture | PhotoRejected] = []
        for i in range(len(group)):
            if i in result.rejected:
                pictures.append(result.rejected[i])
                continue
            # the very tensor handed in: nothing was changed, nothing needs converting
            pixels = members[i].pixels if result.images is batch else from_tensor(result.images[i])
            if pixels is None:
                pictures.append(PhotoRejected("not_finite", f"editor {editor.name} gave NaN", "failed"))
            else:
                pictures.append(_Picture(pixels, result.mask[i, 0].float().cpu().numpy()))
        return pictures

    def _tensor(self, crops: Sequence[np.ndarray]) -> torch.Tensor:
        size = max(len(crops), self._config.batch_size)
        if self._buffer is None or self._buffer.shape[1:] != crops[0].shape or len(self._buffer) < size:
            self._buffer = torch.empty(size, *crops[0].shape)
        return to_tensor(crops, self._buffer)

    def _failed(self, editor: Editor, item: PlannedEdit, error: Exception) -> PhotoRejected:
        """An exception for a single face is a row, unless it goes on and on."""
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise error
        self._streak[editor.name] = self._streak.get(editor.name, 0) + 1
        text = f"{type(error).__name__}: {error}"
        if self._streak[editor.name] >= _MAX_STREAK:
            raise FstripletsError(
                f"editor {editor.name!r} failed {_MAX_STREAK} times in a row at {item.edit};"
                f" the last error was {text}"
            ) from error
        return PhotoRejected("editor_error", f"editor {editor.name} raised {text}", "failed")

    def _measure(
        self,
        editor: Editor,
        group: Sequence[PlannedEdit],
        members: Sequence[AlignedFace],
        answers: Sequence[_Picture | PhotoRejected],
    ) -> list[dict[str, float]]:
        """Values for the gates, one dict a face; empty where there is no picture or no gate."""
        values: list[dict[str, float]] = [{} for _ in group]
        made = [(i, a) for i, a in enumerate(answers) if isinstance(a, _Picture)]
        if not made or not getattr(editor, "gated", True):
            return values
        for i, picture in made:
            values[i] = measure(members[i].pixels, picture.pixels, picture.mask)
        crops = np.stack([picture.pixels for _, picture in made])
        landmarks = np.array([members[i].face.landmarks for i, _ in made], np.float32)
        originals = np.stack([members[i].pixels for i, _ in made])
        after = self._embed(crops, landmarks)
        if after is not None:
            before = self._originals([members[i] for i, _ in made], originals, landmarks)
            for (i, _), similarity in zip(made, np.sum(before * after, axis=1), strict=True):
                values[i]["identity_similarity"] = float(similarity)
        if self._scorer is not None:
            scores = self._scorer(originals, landmarks), self._scorer(crops, landmarks)
            for n, (i, _) in enumerate(made):
                values[i] |= attribute_changes(*scores, n)
        return values

    def _originals(
        self, members: Sequence[AlignedFace], crops: np.ndarray, landmarks: np.ndarray
    ) -> np.ndarray:
        """Embeddings of the unedited faces: from their records where all have one."""
        known = [face.face.embedding for face in members]
        if all(known):
            return np.array(known, np.float32)
        embedded = self._embed(crops, landmarks)
        assert embedded is not None, "the embedder answered for the edited faces"
        return embedded

    def _record(
        self,
        editor: Editor,
        item: PlannedEdit,
        face: AlignedFace,
        answer: _Picture | PhotoRejected,
        values: dict[str, float],
    ) -> Made:
        status, reason, message = "ok", "", ""
        if isinstance(answer, PhotoRejected):
            status, reason, message = answer.status, answer.reason, answer.message
        elif values:
            reason, message = judge(item.edit, values, self._config.accept, self._limits)
            status = "rejected" if reason else "ok"
        edit = Edit(
            edit_id=edit_id_of(item, editor),
            face_id=item.face_id,
            identity_id=face.face.identity_id,
            edit=item.edit,
            strength=item.strength,
            editor=item.editor,
            fingerprint=editor.fingerprint,
            seed=item.seed,
            weights_sha256="+".join(record.sha256 for record in editor.weights),
            weights_licence=" + ".join(sorted({record.licence for record in editor.weights})),
            values=values,
            status=status,
            reason=reason,
            message=message,
        )
        kept = answer.pixels if status == "ok" and isinstance(answer, _Picture) else None
        return item, edit, kept


def edit_id_of(item: PlannedEdit, editor: Editor) -> str:
    """content_id(face_id, edit, strength, seed, editor fingerprint)."""
    return content_id(item.face_id, item.edit, f"{item.strength:.4f}", str(item.seed), editor.fingerprint)


def to_tensor(crops: Sequence[np.ndarray], buffer: torch.Tensor | None = None) -> torch.Tensor:
    """uint8 [S, S, 3] each → float32 [B, 3, S, S] in [-1, 1], channels last in memory.

    Args:
        crops: of one size.
        buffer: float32 [N >= B, S, S, 3] to write into: fresh memory costs more than the conversion.
    """
    pixels = torch.empty(len(crops), *crops[0].shape) if buffer is None else buffer[: len(crops)]
    for i, crop in enumerate(crops):  # face by face: stays in the cache
        cv2.LUT(np.ascontiguousarray(crop), _FLOATS, dst=pixels[i].numpy())
    return pixels.permute(0, 3, 1, 2)


def from_tensor(image: torch.Tensor) -> np.ndarray | None:
    """float [3, S, S] in [-1, 1] → uint8 [S, S, 3] (rounded, clamped); None when it is not finite."""
    pixels = image.permute(1, 2, 0)
    low, high = torch.aminmax(pixels)
    if not np.isfinite(float(low) + float(high)):
        return None
    array = pixels.float().cpu().contiguous().numpy()
    if low < -1.0:  # what follows takes absolute values
        array = np.maximum(array, -1.0)
    bytes_: np.ndarray = cv2.convertScaleAbs(array, alpha=127.5, beta=127.5)
    return bytes_


def _able(editor: Editor, name: str, edit: str) -> Editor:
    if edit not in editor.edits:
        raise ConfigError(
            f"editor {name!r} cannot do {edit}; it does {', '.join(sorted(editor.edits))}:"
            f" set edits.{edit}.editor to another one, or edits.{edit}.ratio to 0"
        )
    return editor


def _extras(editor: Editor, members: Sequence[AlignedFace]) -> dict[str, Any]:
    """The keyword arguments the editor declares in `needs`."""
    extras: dict[str, Any] = {}
    for need in getattr(editor, "needs", ()):
        if need == "landmarks":
            points = np.stack([landmarks68(face) for face in members])
            extras[need] = torch.from_numpy(points)
        elif need == "poses":
            poses = [(f.face.yaw or 0.0, f.face.pitch or 0.0, f.face.roll or 0.0) for f in members]
            extras[need] = torch.tensor(poses, dtype=torch.float32)
        else:
            raise FstripletsError(f"editor {editor.name!r} needs {need!r}; it can have landmarks and poses")
    return extras


def _check(editor: Editor, edit: str, batch: torch.Tensor, result: Any) -> None:
    """A third-party editor that breaks its contract is told so by name."""
    count, _, height, width = batch.shape
    for field, shape in (("images", (count, 3, height, width)), ("mask", (count, 1, height, width))):
        tensor = getattr(result, field, None)
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise FstripletsError(
                f"editor {editor.name!r} at {edit}: `{field}` must be a float tensor, got {_what(tensor)}"
            )
        if tuple(tensor.shape) != shape:
            raise FstripletsError(
                f"editor {editor.name!r} at {edit}: `{field}` must be {list(shape)}, got {list(tensor.shape)}"
            )


def _what(value: Any) -> str:
    return f"{value.dtype} tensor" if isinstance(value, torch.Tensor) else type(value).__name__


def landmarks68(face: AlignedFace) -> np.ndarray:
    """[68, 2] float32 crop pixels: the face's own, or a template fitted to its 5 points."""
    points = np.array(face.face.landmarks, np.float32)
    if len(points) == 68:
        return points
    from fstriplets.faces.landmarks import template68

    return np.asarray(template68(points), np.float32)
