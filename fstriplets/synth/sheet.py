"""Contact sheets of synthetic people: their photos, or every edit of one photo at several strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fstriplets.synth.studio import Studio

__all__ = ["EDIT_COLUMNS", "edit_sheet", "people_sheet"]

#: Edits on an edit sheet, left to right, between the photo and the true swap.
EDIT_COLUMNS = (
    "aging",
    "chubbiness",
    "beard",
    "glasses",
    "sunglasses",
    "grin",
    "hair_colour",
    "hair_fringe",
    "hair_bald",
    "hair_cut",
)


def people_sheet(studio: Studio, seeds: Sequence[int], photos: int, size: int, across: int = 2) -> np.ndarray:
    """Photos of people, uint8 [H, W, 3] RGB: `photos` of each side by side, `across` people a row."""
    rows = []
    for seed in seeds:
        person = studio.person(seed)
        shots = [studio.photo(person, studio.scene(seed * 1009 + k), size).pixels for k in range(photos)]
        rows.append(np.concatenate(shots, 1))
    while len(rows) % across:
        rows.append(np.full_like(rows[0], 255))
    return np.concatenate([np.concatenate(rows[i : i + across], 1) for i in range(0, len(rows), across)])


def edit_sheet(studio: Studio, seeds: Sequence[int], strengths: Sequence[float], size: int) -> np.ndarray:
    """One row a person and strength: the photo, each of EDIT_COLUMNS, and the true swap with the next person.

    Args:
        strengths: in 0..1.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    rows = []
    for i, seed in enumerate(seeds):
        person, scene = studio.person(seed), studio.scene(seed * 1009, 25.0)
        other = studio.person(seeds[(i + 1) % len(seeds)])
        plain = studio.photo(person, scene, size).pixels
        swap = studio.swapped(other, person, scene, size).pixels
        for strength in strengths:
            edits = [studio.edited(person, scene, e, strength, size, seed).pixels for e in EDIT_COLUMNS]
            rows.append(np.concatenate([plain, *edits, swap], 1))
    return np.concatenate(rows)
