"""The five kinds of triplet (DESIGN section 5; figure 2 of the MobileFSGAN paper), and the true swap.

The result equals the source for identity edits and the target for attribute edits: a model learns
that neither copying one nor the other is right. A true swap shows two people, which only synthetic faces
can: nobody can build one from photos, so it is no kind of a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "STORED_KINDS", "TRUE_SWAP", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is made.

    `source`, `target` and `result` are each one of `first` (photo A or I), `second` (photo B, or I
    again) and `edited` (the edit of `second`).
    """

    name: str
    group: str  #: which edits it takes: `identity` or `attribute`
    photos: int  #: 2: A and B of one person; 1: a single photo I
    source: str
    target: str
    result: str
    real: str  #: the unedited member, real for the discriminator: `source` or `target`
    figure: str  #: panels of figure 2


#: Kind name -> how it is made.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("pair_identity", "identity", 2, "first", "edited", "second", "source", "a-d"),
        Kind("identity_target", "identity", 1, "first", "edited", "second", "source", "e"),
        Kind("identity_source", "identity", 1, "edited", "second", "edited", "target", "g"),
        Kind("attribute_target", "attribute", 1, "first", "edited", "edited", "source", "f"),
        Kind("attribute_source", "attribute", 1, "edited", "second", "second", "target", "h"),
    )
}

#: First: a photo of one person; second: of another; edited: the first one's face in the second photo.
TRUE_SWAP = Kind("true_swap", "identity", 2, "first", "second", "edited", "source", "")

#: Every kind a dataset may hold.
STORED_KINDS: dict[str, Kind] = {**KINDS, TRUE_SWAP.name: TRUE_SWAP}
