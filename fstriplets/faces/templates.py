"""Crop templates: where the five points lie in an aligned crop. All crop numbers are in this file.

Positions are shares of the crop's side, so a template serves every output size. Points are the
left eye, right eye, nose tip, left and right mouth corner *as seen in the picture*, ArcFace's order.

- `ffhq`: whole head with chin and forehead. Means of the FFHQ alignment's five points (Karras et al.
  2019; the same figures face restoration networks align to), made mirror symmetric.
- `arcface`: the 112 px crop of ArcFace (Deng et al. 2019) that recognisers were trained on.
- `mobilefsgan`: the middle of an `ffhq` crop, 26:230 of 256, that MobileFSGAN feeds its embedder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from fstriplets.errors import ConfigError

__all__ = [
    "EMBEDDER_WINDOW",
    "MEAN_68",
    "TEMPLATES",
    "Template",
    "embedder_window",
    "face_window",
    "template",
    "template_points",
]

Points = npt.NDArray[np.float64]

#: MobileFSGAN's embedder sees this part of an `ffhq` crop: 26:230 of 256 in both directions.
EMBEDDER_WINDOW = (26 / 256, 230 / 256)


@dataclass(frozen=True, slots=True)
class Template:
    """A crop: its five points as shares (x, y) of the side."""

    name: str
    points: tuple[tuple[float, float], ...]  #: [5, 2]
    description: str


_FACE_WINDOW = (0.25, 0.33, 0.75, 0.83)  # of an `ffhq` crop

_FFHQ = ((0.3770, 0.4689), (0.6230, 0.4689), (0.5, 0.6133), (0.3908, 0.7252), (0.6092, 0.7252))

# ArcFace publishes pixels of a 112 px crop whose first pixel's centre is 0: + 0.5 for shares.
_ARCFACE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def _window(
    points: tuple[tuple[float, float], ...], low: float, high: float
) -> tuple[tuple[float, float], ...]:
    return tuple(((x - low) / (high - low), (y - low) / (high - low)) for x, y in points)


#: Template name -> template.
TEMPLATES: dict[str, Template] = {
    item.name: item
    for item in (
        Template("ffhq", _FFHQ, "head with hair, forehead and chin"),
        Template(
            "arcface",
            tuple(((x + 0.5) / 112, (y + 0.5) / 112) for x, y in _ARCFACE_112),
            "eyes to mouth, the crop of face recognisers",
        ),
        Template("mobilefsgan", _window(_FFHQ, *EMBEDDER_WINDOW), "26:230 of a 256 px `ffhq` crop"),
    )
}


def template(name: str) -> Template:
    """The template called `name`.

    Raises:
        ConfigError: unknown name; lists the choices.
    """
    if name not in TEMPLATES:
        raise ConfigError(f"unknown crop {name!r}; choose one of: {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]


@cache
def template_points(name: str, size: int) -> Points:
    """Five points of a template in a crop of `size` pixels: [5, 2] (x, y), pixel centres at integers."""
    points = np.array(template(name).points) * size - 0.5
    points.setflags(write=False)
    return points


@cache
def face_window(name: str) -> tuple[float, float, float, float]:
    """The middle of the face, brows to mouth, in a template's crop: x0, y0, x1, y1, shares of the side."""
    ffhq, mine = np.array(_FFHQ), np.array(template(name).points)
    scale = float(np.ptp(mine[:2, 0]) / np.ptp(ffhq[:2, 0]))
    shift = mine.mean(axis=0) - scale * ffhq.mean(axis=0)
    corners = np.array(_FACE_WINDOW).reshape(2, 2) * scale + shift
    x0, y0, x1, y1 = (float(v) for v in np.clip(corners, 0, 1).ravel())
    return x0, y0, x1, y1


def embedder_window(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The part of an `ffhq` crop [S, S, C] that MobileFSGAN's embedder sees (a view, 0.797 S wide)."""
    low, high = (round(share * crop.shape[0]) for share in EMBEDDER_WINDOW)
    return crop[low:high, low:high]


#: Mean of the 68 points in an `ffhq` crop, shares of its side, mirror symmetric: the median over 390
#: frontal and half-turned photos as MediaPipe's mesh sees them. A statistic; no person is in it.
MEAN_68: tuple[tuple[float, float], ...] = (
    (0.2298, 0.4953), (0.2324, 0.5511), (0.2352, 0.6089), (0.2435, 0.6709), (0.2853, 0.7845),
    (0.3133, 0.8212), (0.3808, 0.8755), (0.4135, 0.8946), (0.5000, 0.9136), (0.5865, 0.8946),
    (0.6192, 0.8755), (0.6867, 0.8212), (0.7147, 0.7845), (0.7565, 0.6709), (0.7648, 0.6089),
    (0.7676, 0.5511), (0.7702, 0.4953), (0.2817, 0.4203), (0.3067, 0.3985), (0.3450, 0.3863),
    (0.3927, 0.3880), (0.4458, 0.3939), (0.5542, 0.3939), (0.6073, 0.3880), (0.6550, 0.3863),
    (0.6933, 0.3985), (0.7183, 0.4203), (0.5000, 0.4570), (0.5000, 0.5115), (0.5000, 0.5642),
    (0.5000, 0.5990), (0.4503, 0.6344), (0.4710, 0.6496), (0.5000, 0.6506), (0.5290, 0.6496),
    (0.5497, 0.6344), (0.3277, 0.4737), (0.3544, 0.4585), (0.3945, 0.4560), (0.4341, 0.4792),
    (0.3994, 0.4872), (0.3598, 0.4861), (0.5659, 0.4792), (0.6055, 0.4560), (0.6456, 0.4585),
    (0.6723, 0.4737), (0.6402, 0.4861), (0.6006, 0.4872), (0.3994, 0.7302), (0.4392, 0.7060),
    (0.4698, 0.6993), (0.5000, 0.7035), (0.5302, 0.6993), (0.5608, 0.7060), (0.6006, 0.7302),
    (0.5562, 0.7698), (0.5301, 0.7793), (0.5000, 0.7821), (0.4699, 0.7793), (0.4438, 0.7698),
    (0.4130, 0.7289), (0.4761, 0.7254), (0.5000, 0.7260), (0.5239, 0.7254), (0.5870, 0.7289),
    (0.5248, 0.7441), (0.5000, 0.7453), (0.4752, 0.7441),
)  # fmt: skip
