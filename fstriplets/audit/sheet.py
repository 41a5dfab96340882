"""The contact sheet: triplets as rows of source, target and result, with what was done to them."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fstriplets.audit.counts import open_dataset
from fstriplets.audit.samples import ROLES, Shown, choose_triplets
from fstriplets.errors import ConfigError, DatasetError, OutputError
from fstriplets.shards import ImageCodec, Store

__all__ = ["contact_sheet", "draw_sheet"]

_GAP, _MARGIN, _CAPTION, _HEADER = 6, 24, 30, 34
_PAPER, _INK, _FAINT, _TAG = (250, 250, 248), (28, 30, 34), (110, 114, 122), (28, 30, 34, 190)
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def contact_sheet(dataset: str | Path | Store, path: str | Path, *, rows: int = 12, seed: int = 0) -> None:
    """Write a contact sheet.

    Args:
        dataset: folder or URL.
        path: .png or .jpg file to write.
        rows: triplets on it.
        seed: of the choice of triplets.

    Raises:
        ConfigError: another suffix.
        DatasetError: no dataset, or no triplet in it.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"the contact sheet {path} must end in {', '.join(_SUFFIXES)}")
    pixels = draw_sheet(dataset, rows=rows, seed=seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, _SUFFIXES[path.suffix.lower()], quality=87)
    except OSError as error:
        raise OutputError(f"cannot write the contact sheet {path}: {error.strerror or error}") from error


def draw_sheet(
    dataset: str | Path | Store,
    *,
    rows: int = 12,
    columns: int | None = None,
    cell: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Draw a contact sheet.

    Args:
        dataset: folder or URL.
        rows: triplets on it.
        columns: triplets side by side; None: as many as make the sheet about square.
        cell: side of a picture in pixels; None: the crop's own, 224 at most.
        seed: of the choice of triplets.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        DatasetError: no dataset, or no triplet in it.
    """
    store = open_dataset(dataset)
    shown = choose_triplets(store, rows, seed)
    if not shown:
        raise DatasetError(f"{store.url} holds no triplet to draw: `fstriplets inspect` tells why")
    pictures = [[_picture(store, triplet, role) for role in ROLES] for triplet in shown]
    cell = cell or min(224, pictures[0][0].width)
    width, height = 3 * cell + 2 * _GAP, cell + _CAPTION
    columns = columns or max(1, round(math.sqrt(len(shown) * height / width)))
    columns = min(columns, len(shown))
    lines = math.ceil(len(shown) / columns)
    size = (
        columns * width + (columns + 1) * _MARGIN,
        _HEADER + lines * (height + _GAP) + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet, "RGBA")
    for column in range(columns):
        for i, role in enumerate(ROLES):
            left = _MARGIN + column * (width + _MARGIN) + i * (cell + _GAP)
            draw.text((left, _HEADER - 6), role, _INK, _font(17), anchor="ls")
    for n, triplet in enumerate(shown):
        left = _MARGIN + (n // lines) * (width + _MARGIN)
        top = _HEADER + (n % lines) * (height + _GAP)
        _draw_triplet(sheet, draw, triplet, pictures[n], (left, top, cell))
    return np.asarray(sheet)


def _picture(store: Store, triplet: Shown, role: str) -> Image.Image:
    return Image.fromarray(ImageCodec.decode(triplet.read(store, role)))


def _draw_triplet(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    triplet: Shown,
    pictures: list[Image.Image],
    place: tuple[int, int, int],
) -> None:
    left, top, cell = place
    for i, (role, picture) in enumerate(zip(ROLES, pictures, strict=True)):
        x = left + i * (cell + _GAP)
        fitted = picture if picture.width == cell else picture.resize((cell, cell), Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x, top))
        text = triplet.member(role)
        box = draw.textbbox((x + 10, top + cell - 10), text, _font(13), anchor="ls")
        draw.rounded_rectangle((box[0] - 6, box[1] - 4, box[2] + 6, box[3] + 4), 5, _TAG)
        draw.text((x + 10, top + cell - 10), text, (255, 255, 255), _font(13), anchor="ls")
    width = 3 * cell + 2 * _GAP
    font = _font(14)
    while draw.textlength(triplet.caption, font) > width and font.size > 8:
        font = _font(int(font.size) - 1)
    draw.text((left, top + cell + 17), triplet.caption, _FAINT, font, anchor="ls")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
