"""Triplets: the five kinds, the plan of a person's triplets, and their assembly."""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "KINDS": "kinds",
        "Kind": "kinds",
        "STORED_KINDS": "kinds",
        "TRUE_SWAP": "kinds",
        "expected_triplets": "plan",
        "form_triplet": "assemble",
        "plan_triplets": "plan",
        "possible_edits": "plan",
        "split_of": "plan",
    },
)
