"""The true swap: one person's face in another person's photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fstriplets.synth.person import Person

__all__ = ["swap_person"]


def swap_person(source: Person, target: Person, hair: str = "target") -> Person:
    """Who is seen when the source's face is put into the target's photo.

    Shape, skin, brows, eyes, teeth, age and facial hair are the source's; render the result with the target's
    scene, which holds pose, expression, gaze, light, background, clothes and camera. Glasses are worn
    as in the target's photo.

    Args:
        hair: `target` (what a face swap does) or `source` (a head swap).

    Raises:
        ValueError: another value of `hair`.
    """
    if hair not in ("source", "target"):
        raise ValueError(f"hair {hair!r}: choose source or target")
    swapped = replace(source, glasses=target.glasses, glasses_seed=target.glasses_seed)
    if hair == "source":
        return swapped
    # the brows keep their owner's density but go halfway to the colour of the hair above them
    brow = np.sqrt(source.brow_colour * np.maximum(target.brow_colour, 1e-3)).astype(np.float32)
    return replace(
        swapped, hair=target.hair, hair_colour=target.hair_colour, grey=target.grey, brow_colour=brow
    )
