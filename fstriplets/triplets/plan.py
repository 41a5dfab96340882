"""Plan: which triplets a person gives. Pure, seeded, and no pixels are touched.

The draw is systematic: the recipe's cells (kind x edit) are laid out on a line with lengths by
ratio, and N equally spaced points with one seeded offset are dropped on it. Every person then gets
each cell within one triplet of its share, and over many people the ratios are exact, although each
person has few triplets. Everything is seeded by content ids, never by order of arrival, so the plan
is the same whatever the order of the faces or the number of workers.

The released MobileFSGAN loader draws its kinds independently per sample at training time; here
they are drawn when the dataset is built, by the same ratios (pipelines/fstriplets-paper.yaml).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fstriplets.config import PipelineConfig
from fstriplets.edits.base import EDIT_GROUPS
from fstriplets.records import Face, PlannedEdit, PlannedTriplet, seed_of
from fstriplets.triplets.kinds import KINDS
from fstriplets.triplets.pairing import Pairing

__all__ = ["expected_triplets", "plan_triplets", "possible_edits", "split_of"]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A kind with an edit, and its share of a person's triplets."""

    kind: str
    edit: str
    share: float
    pairs: bool  #: takes two photos


def split_of(identity_id: str, config: PipelineConfig) -> str:
    """The split a person belongs to: by hash of the id alone, so a growing corpus moves nobody."""
    digest = hashlib.sha256(b"split\0" + identity_id.encode()).digest()
    point = int.from_bytes(digest[:7], "little") / 2**56 * sum(config.splits.values())
    # Sorted, because a config's hash does not tell the order in which its YAML lists the splits.
    names = [name for name in sorted(config.splits) if config.splits[name] > 0]
    for name in names:
        point -= config.splits[name]
        if point < 0:
            return name
    return names[-1]


def expected_triplets(photos: int, config: PipelineConfig) -> int:
    """How many triplets a person with `photos` usable photos gives, before edits are judged."""
    cells = _cells(config)
    counts = _systematic(_total(photos, config), cells, 0.5)
    return sum(min(n, _room(cell, photos, config)) for cell, n in zip(cells, counts, strict=True))


def plan_triplets(identity_id: str, faces: Sequence[Face], config: PipelineConfig) -> list[PlannedTriplet]:
    """Choose kinds, members, edits and strengths for one person.

    Args:
        identity_id: seeds every draw, with `config.seed`.
        faces: the person's usable faces (status ok), in any order; equal face ids count once.
        config: `kinds`, `edits`, `triplets_per_photo`, `max_triplets_per_identity` and
            `strengths_per_edit` are used.

    Returns:
        round(triplets_per_photo x faces) triplets, capped, all different; fewer when the
        combinations of faces, edits and strengths run out. Faces are used evenly.
    """
    unique = {face.face_id: face for face in faces}
    ordered = [unique[face_id] for face_id in sorted(unique)]
    if not ordered:
        return []
    rng = random.Random(seed_of(config.seed, "plan", identity_id))
    cells = _cells(config)
    counts = _systematic(_total(len(ordered), config), cells, rng.random())
    rng.shuffle(ordered)
    edits = _EditTable(config)
    pairs = len(ordered) > 1 and any(cell.pairs and n for cell, n in zip(cells, counts, strict=True))
    pairing = Pairing(ordered) if pairs else None
    planned: list[PlannedTriplet] = []
    start = 0  # cells take the faces in turn, each going on where the last one stopped
    for cell, count in zip(cells, counts, strict=True):
        count = min(count, _room(cell, len(ordered), config))
        planned += _fill(cell, count, start, ordered, edits, pairing)
        start += count
    return planned


def possible_edits(face: Face, config: PipelineConfig) -> list[PlannedEdit]:
    """Every edit the plan can ask of a face, in the order of EDIT_GROUPS."""
    table = _EditTable(config)
    return [
        edit
        for name in dict.fromkeys(c.edit for c in _cells(config))
        for edit in table.of(face.face_id, name)
    ]


def _total(photos: int, config: PipelineConfig) -> int:
    total = round(config.triplets_per_photo * photos)
    cap = config.max_triplets_per_identity
    return min(total, cap) if cap else total


def _cells(config: PipelineConfig) -> list[_Cell]:
    kinds = config.active_kinds()
    whole = sum(kinds.values())
    cells = []
    for kind in KINDS:  # table order, not the YAML's: see split_of
        if kind not in kinds:
            continue
        group = KINDS[kind].group
        ratios = {e: config.edits[e].ratio for e in EDIT_GROUPS if e in config.edits}
        ratios = {e: r for e, r in ratios.items() if r > 0 and EDIT_GROUPS[e] == group}
        unit = kinds[kind] / whole / sum(ratios.values())
        cells += [_Cell(kind, e, unit * r, KINDS[kind].photos == 2) for e, r in ratios.items()]
    return cells


def _systematic(total: int, cells: Sequence[_Cell], offset: float) -> list[int]:
    """How many of `total` equally spaced points, shifted by `offset` in [0, 1), fall in each cell."""
    counts = []
    edge, before = 0.0, 0
    for cell in cells:
        edge += cell.share * total
        upto = min(total, max(0, int(edge - offset + 1.0)))
        counts.append(upto - before)
        before = upto
    counts[-1] += total - before  # rounding of the last edge
    return counts


def _room(cell: _Cell, photos: int, config: PipelineConfig) -> int:
    """How many different triplets a cell can give."""
    low, high = config.edits[cell.edit].strength
    strengths = config.strengths_per_edit if high > low else 1
    return photos * strengths * (photos - 1 if cell.pairs else 1)


def _fill(
    cell: _Cell,
    count: int,
    start: int,
    faces: Sequence[Face],
    edits: _EditTable,
    pairing: Pairing | None,
) -> Iterator[PlannedTriplet]:
    """`count` different triplets of one cell, taking the faces in turn from `start` on."""
    used: dict[tuple[int, float], set[int]] = {}  # (B, strength) -> the As it has met
    for i in range(count):
        second = (start + i) % len(faces)
        strengths = edits.of(faces[second].face_id, cell.edit)
        edit = strengths[i // len(faces) % len(strengths)]
        met = used.setdefault((second, edit.strength), set())
        if cell.pairs:
            if pairing is None or len(met) == len(faces) - 1:
                continue
            first = pairing.partner(second, met)
        elif met:  # two strengths that agree to four digits are one edit
            continue
        else:
            first = second
        met.add(first)
        yield PlannedTriplet(cell.kind, faces[first].face_id, faces[second].face_id, edit)


class _EditTable:
    """The few fixed strengths each (face, edit) gets, so that triplets share the edits they need."""

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._made: dict[tuple[str, str], list[PlannedEdit]] = {}

    def of(self, face_id: str, edit: str) -> list[PlannedEdit]:
        key = (face_id, edit)
        if key not in self._made:
            self._made[key] = [self._make(face_id, edit, i) for i in range(self._count(edit))]
        return self._made[key]

    def _count(self, edit: str) -> int:
        low, high = self._config.edits[edit].strength
        return self._config.strengths_per_edit if high > low else 1

    def _make(self, face_id: str, edit: str, index: int) -> PlannedEdit:
        recipe = self._config.edits[edit]
        # One digest gives both numbers: the strength decides the edit's id, the seed its pixels.
        seed = seed_of(self._config.seed, "edit", face_id, edit, str(index))
        low, high = recipe.strength
        strength = round(low + (high - low) * ((seed >> 10) / 2**53), 4)
        return PlannedEdit(face_id, edit, strength, recipe.editor or self._config.editor, seed)
