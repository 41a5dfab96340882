"""From a photo's bytes to upright 8-bit sRGB pixels, or to the reason why not.

The header is read first (headers.py), so that a decompression bomb is turned down before anything is
allocated. OpenCV and Pillow accept a JPEG whose data is zero-filled or cut and paint the rest grey or
garbled; libjpeg knows, but only warns. simplejpeg's strict mode makes those warnings errors, so JPEG,
nearly every photo there is, goes through it. All else goes through Pillow, restricted to the formats of
photos, after headers.py has found the file complete (end markers, checksums).
"""

from __future__ import annotations

import io
import re
import warnings
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from fstriplets.corpus.base import DecodedPhoto
from fstriplets.corpus.headers import Header, read_header
from fstriplets.errors import PhotoRejected

__all__ = ["decode_photo"]

#: libjpeg's warnings that say nothing about the picture: oddities of headers, and the byte or two with
#: which some cameras pad the data.
_HARMLESS = re.compile(
    r"unknown adobe color transform|bad icc marker|unknown jfif revision|invalid sos parameters"
    r"|data: [12] extraneous bytes before marker 0xd9",
    re.IGNORECASE,
)


def decode_photo(data: bytes, max_pixels: int) -> DecodedPhoto:
    """Decode a photo.

    Args:
        data: the file's bytes.
        max_pixels: photos whose header declares more are rejected before decoding.

    Returns:
        uint8 [H, W, 3] sRGB pixels with EXIF rotation applied, grey, CMYK, 16-bit and colour profiles
        converted, transparency laid on white.

    Raises:
        PhotoRejected: reason `empty`, `not_an_image`, `unsupported`, `huge`, `truncated`, `corrupt`,
            `animated` or `heic_unsupported`.
    """
    header = read_header(data)
    if header.width and header.height:
        _check_size(header.width, header.height, max_pixels)
    if header.animated:
        raise PhotoRejected("animated", f"an animated {header.format.upper()} is no photo")
    header.check_complete(data)
    if header.format == "jpeg":
        pixels = _decode_jpeg(data, header)
    elif header.bits == 16 and header.format in ("png", "tiff"):
        pixels = _turn_upright(_decode_deep(data), header.orientation)
    else:
        pixels = _decode_pillow(data, header, max_pixels)
    return DecodedPhoto(np.ascontiguousarray(pixels), header.format)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PhotoRejected("huge", f"{width} x {height} pixels are more than max_pixels ({max_pixels:,})")


def _decode_jpeg(data: bytes, header: Header) -> np.ndarray:
    """8-bit grey, YCbCr, RGB or CMYK JPEG to upright sRGB."""
    if header.components == 4:
        _strict_jpeg(data, "CMYK")  # Pillow knows Adobe's inverted CMYK, but not whether the data is whole
        return _decode_pillow(data, header, header.width * header.height)
    pixels = _strict_jpeg(data, "RGB")
    if header.profile:
        transform = _profile_transform(header.profile, "RGB")
        if transform is not None:
            pixels = np.array(transform.apply(Image.fromarray(pixels)))
    return _turn_upright(pixels, header.orientation)


def _strict_jpeg(data: bytes, colorspace: str) -> np.ndarray:
    """Decode; what libjpeg only warns of, but for harmless oddities, is PhotoRejected."""
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, colorspace, strict=True)
        return pixels
    except ValueError as error:
        message = str(error)
    if not _HARMLESS.search(message):
        reason = "truncated" if "premature" in message.lower() else "corrupt"
        raise PhotoRejected(reason, f"the JPEG's picture data is damaged: {message}")
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace, strict=False)
        return pixels
    except ValueError as error:
        raise PhotoRejected("corrupt", f"the JPEG cannot be decoded: {error}") from error


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (TIFF 6.0, tag 274): where row 0 and column 0 of the file belong."""
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
        if orientation in (6, 7):
            pixels = pixels[:, ::-1]
        if orientation in (7, 8):
            pixels = pixels[::-1]
    return pixels


def _decode_deep(data: bytes) -> np.ndarray:
    """16-bit PNG or TIFF, which Pillow clips or refuses, to 8 bits; transparency on white.

    OpenCV turns TIFF upright, PNG not.
    """
    try:
        deep: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        deep = None
    if deep is None:
        raise PhotoRejected("corrupt", "the 16-bit image cannot be decoded")
    if deep.dtype == np.uint16:
        pixels: np.ndarray = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif deep.dtype == np.uint8:
        pixels = deep
    else:
        raise PhotoRejected("unsupported", f"samples of type {deep.dtype} are no photo's")
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        colour = pixels[..., :3].astype(np.uint16)
        pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return pixels[..., 2::-1]


def _decode_pillow(data: bytes, header: Header, max_pixels: int) -> np.ndarray:
    """Everything but JPEG of fewer than four colours, and deep PNG and TIFF."""
    if header.format == "heic":
        _register_heif()
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own limit holds
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[header.pillow]) as image:
                _check_size(*image.size, max_pixels)
                if header.format != "tiff" and getattr(image, "is_animated", False):
                    raise PhotoRejected("animated", f"an animated {header.format.upper()} is no photo")
                image.load()
                pixels: np.ndarray = np.array(_to_rgb(ImageOps.exif_transpose(image)))
                return pixels
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise PhotoRejected("corrupt", f"the {header.format.upper()} header is damaged") from None
    except PhotoRejected:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        message = f"the {header.format.upper()} data cannot be decoded: {error}"
        raise PhotoRejected("corrupt", message) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB: colour profile applied, transparency laid on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        scale = 257.0 if values.max(initial=0) > 255 else 1.0
        image = Image.fromarray(np.clip(values / scale + 0.5, 0, 255).astype(np.uint8))
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("LA", "La", "PA", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        icc = image.info.get("icc_profile")
        image = Image.alpha_composite(ground, image).convert("RGB")
        image.info["icc_profile"] = icc
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        transform = _profile_transform(profile, image.mode)
        if transform is not None:
            converted: Image.Image = transform.apply(image)
            return converted
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _profile_transform(profile: bytes, mode: str) -> Any:
    """A transform from an embedded ICC profile to sRGB; None if it is sRGB already or unusable."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise PhotoRejected(
            "heic_unsupported", "reading HEIC needs pillow-heif: pip install pillow-heif"
        ) from None
    register_heif_opener()
