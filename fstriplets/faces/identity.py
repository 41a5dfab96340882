"""Is everybody in this folder the same person? Centroid check, choice among faces, near duplicates.

The check is leave-one-out: a face is compared with the centroid of the person's *other* faces. It
starts at the medoid's neighbourhood and iterates, so that several mislabelled photos do not pull the
centroid towards themselves; where two people share a folder, the larger group wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_identity", "choose_faces", "near_duplicates", "verification_auc"]

Embeddings = npt.NDArray[np.float32]
_ROUNDS = 10


def check_identity(
    embeddings: Embeddings, min_similarity: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Compare each face with the person's others.

    Args:
        embeddings: [N, D] L2-normalised, all faces of one identity.
        min_similarity: cosine below which a face is somebody else.

    Returns:
        similarity: [N] cosine to the centroid of the other faces that belong; 1 for N = 1.
        belongs: [N] bool.
    """
    count = len(embeddings)
    if count < 2:
        return np.ones(count), np.ones(count, bool)
    vectors = embeddings.astype(np.float64)
    belongs = _core(vectors, min_similarity)
    for _ in range(_ROUNDS):
        similarity = _leave_one_out(vectors, belongs)
        again = similarity >= min_similarity
        if not again.any() or (again == belongs).all():
            break
        belongs = again
    similarity = _leave_one_out(vectors, belongs)
    return similarity, (similarity >= min_similarity) & (belongs.sum() > 0)


def _core(vectors: npt.NDArray[np.float64], min_similarity: float) -> npt.NDArray[np.bool_]:
    """Start: the face with most neighbours (ties: the closest ones), and these neighbours."""
    cosines = vectors @ vectors.T
    near = cosines >= min_similarity
    weight = np.where(near, cosines, 0.0).sum(axis=1)
    order = np.lexsort((-weight, -near.sum(axis=1)))
    core: npt.NDArray[np.bool_] = near[order[0]]
    return core


def _leave_one_out(
    vectors: npt.NDArray[np.float64], belongs: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    total = vectors[belongs].sum(axis=0)
    others = total[None] - vectors * belongs[:, None]
    norms = np.linalg.norm(others, axis=1)
    # The only face left has no others to disagree with.
    cosine = (vectors * others).sum(axis=1) / np.maximum(norms, 1e-12)
    return np.where(norms > 1e-9, cosine, 1.0)


def choose_faces(embeddings: Sequence[Embeddings], areas: Sequence[Sequence[float]]) -> list[int]:
    """Which face of each photo is the person's.

    Args:
        embeddings: one [faces, D] a photo, faces >= 1.
        areas: box areas, same order; break ties and decide where there is nothing to compare with.

    Returns:
        One index a photo: the face most like the centroid of the other photos' faces. Photos with a
        single face vote first; without any, the largest faces do.
    """
    largest = [int(np.argmax(photo)) for photo in areas]
    single = [i for i, photo in enumerate(embeddings) if len(photo) == 1]
    if len(embeddings) < 2:
        return largest
    chosen = list(largest)
    for round_ in range(_ROUNDS):
        voters = single if round_ == 0 and len(single) >= 2 else list(range(len(embeddings)))
        before = list(chosen)
        votes = np.stack([embeddings[i][chosen[i]] for i in voters]).astype(np.float64)
        for i, faces in enumerate(embeddings):
            if len(faces) == 1:
                continue
            own = [k for k, voter in enumerate(voters) if voter == i]
            # The median cosine to the others, not the mean: some of the others are strangers too.
            cosines = np.delete(faces.astype(np.float64) @ votes.T, own, axis=1)
            chosen[i] = int(np.argmax(np.median(cosines, axis=1)))
        if chosen == before and round_:
            break
    return chosen


def near_duplicates(
    hashes: Sequence[int | None], max_distance: int, confirm: Callable[[int, int], bool]
) -> list[int | None]:
    """For each picture the index of the first earlier one it copies, else None.

    Args:
        hashes: 64-bit perceptual hashes in corpus order; None never matches (rejected already).
        max_distance: bits up to which a pair is worth a closer look.
        confirm: that look: are pictures i and j (i < j) really the same?
    """
    kept = np.zeros(len(hashes), np.uint64)
    index: list[int] = []
    found: list[int | None] = []
    for j, value in enumerate(hashes):
        match = None
        if value is not None:
            # Vectorised: a person may have thousands of video frames.
            differing = kept[: len(index)] ^ np.uint64(value)
            bits = np.unpackbits(differing.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
            near = np.flatnonzero(bits <= max_distance)
            match = next((index[k] for k in near if confirm(index[k], j)), None)
            if match is None:
                kept[len(index)] = value
                index.append(j)
        found.append(match)
    return found


def verification_auc(embeddings: npt.NDArray[Any], owners: npt.NDArray[Any]) -> float:
    """How often two photos of a person are nearer to each other than two of different people, 0..1.

    Args:
        embeddings: [N, D] L2-normalised. owners: [N] who each shows.
    """
    cosines = embeddings @ embeddings.T
    upper = np.triu(np.ones_like(cosines, bool), 1)
    same = owners[:, None] == owners[None]
    genuine, impostor = cosines[same & upper], np.sort(cosines[~same & upper])
    below = np.searchsorted(impostor, genuine, "left") + np.searchsorted(impostor, genuine, "right")
    return float(below.mean() / (2 * max(len(impostor), 1)))
