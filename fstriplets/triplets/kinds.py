"""The five kinds of triplet (DESIGN section 5; figure 2 of the MobileFSGAN paper).

The result equals the source for identity edits and the target for attribute edits: a model learns
that neither copying one nor the other is right.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


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
