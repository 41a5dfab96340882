"""At which cosines a recogniser takes two faces for one person: every recogniser has a scale of its own.

The config's identity thresholds are empty by default and mean the values kept here for the recogniser in
use; a number in the config wins. The values were chosen on photos of real people (docs/editors.md,
docs/faces.md). A recogniser that is not in the table gets those of `mobilefacenet_foamliu`: public ones
lie near each other. Another package's embedder brings its own as the attribute `limits`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fstriplets.config import PipelineConfig

__all__ = ["PUBLIC", "RECOGNISERS", "IdentityLimits", "limits_of"]


@dataclass(frozen=True, slots=True)
class IdentityLimits:
    """Cosines of one recogniser, -1..1.

    Attributes:
        min_similarity: a face to the mean of the person's other faces: below, it is somebody else.
        identity_max: an identity edit to its original: above, nobody else is seen.
        identity_floor: the same: below, it is no plausible face.
        identity_min: an attribute edit to its original: below, it is somebody else.
    """

    min_similarity: float
    identity_max: float
    identity_floor: float
    identity_min: float

    def settled(self, config: PipelineConfig) -> IdentityLimits:
        """These, where the config gives no number."""
        given = {
            "min_similarity": config.identity_check.min_similarity,
            "identity_max": config.accept.identity_max,
            "identity_floor": config.accept.identity_floor,
            "identity_min": config.accept.identity_min,
        }
        return IdentityLimits(**{**asdict(self), **{k: v for k, v in given.items() if v is not None}})

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in asdict(self).items())


#: mobilefacenet_foamliu, and whatever was not measured.
PUBLIC = IdentityLimits(min_similarity=0.35, identity_max=0.95, identity_floor=0.2, identity_min=0.45)

#: Name of an embedder -> its limits.
RECOGNISERS: dict[str, IdentityLimits] = {
    "mobilefacenet_foamliu": PUBLIC,
    # Edits move it less, photos of one person lie farther apart, strangers nearer together.
    "bundled": IdentityLimits(min_similarity=0.25, identity_max=0.985, identity_floor=0.2, identity_min=0.35),
}


def limits_of(embedder: Any) -> IdentityLimits:
    """What a loaded embedder brings, else the table's row of its name, else PUBLIC; None: PUBLIC too."""
    own = getattr(embedder, "limits", None)
    if isinstance(own, IdentityLimits):
        return own
    return RECOGNISERS.get(getattr(embedder, "name", ""), PUBLIC)
