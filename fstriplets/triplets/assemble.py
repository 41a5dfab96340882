"""Form a triplet from its plan, the edit that was made and the photos it came from."""

from __future__ import annotations

from fstriplets.records import Edit, Photo, PlannedTriplet, Triplet, content_id
from fstriplets.triplets.kinds import STORED_KINDS

__all__ = ["form_triplet", "merge_terms"]


def form_triplet(planned: PlannedTriplet, edit: Edit, first: Photo, second: Photo) -> Triplet:
    """The triplet of a plan.

    Args:
        planned: kind and members.
        edit: what became of `planned.edit`; if it was rejected or failed, so is the triplet.
        first: the photo of A or I.
        second: the photo of B or I.
    """
    kind = STORED_KINDS[planned.kind]
    ids = {"first": planned.first, "second": planned.second, "edited": edit.edit_id}
    source, target, result = ids[kind.source], ids[kind.target], ids[kind.result]
    return Triplet(
        triplet_id=content_id(edit.identity_id, kind.name, source, target, result),
        kind=kind.name,
        identity_id=edit.identity_id,
        source_id=source,
        target_id=target,
        result_id=result,
        real=kind.real,
        edit=edit.edit,
        edit_id=edit.edit_id,
        strength=edit.strength,
        editor=edit.editor,
        licence=merge_terms(first.licence, second.licence),
        consent=merge_terms(first.consent, second.consent),
        weights_licence=edit.weights_licence,
        identity_similarity=edit.values.get("identity_similarity"),
        status=edit.status,
        reason=edit.reason,
        message=edit.message,
    )


def merge_terms(first: str, second: str) -> str:
    """Licences or consents of two photos: both, when they differ.

    An unknown (empty) one must not vanish behind a known one, so it is said.
    """
    if first == second:
        return first
    return " + ".join(text or "unknown" for text in (first, second))
