"""A photo as it is in its file, and back into a file with as much of it kept as the format can hold.

Networks see upright 8-bit sRGB (`Picture.sample`); the pixels themselves stay in the file's own depth and
colour space, so that what the swap does not touch keeps its value: 16 bits, transparency, grey, a wide
colour profile. EXIF stays too, but for the orientation (the pixels are upright) and the thumbnail, which
would show the face that was there before.
"""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

from fstriplets.corpus import decode_photo
from fstriplets.corpus.headers import read_header
from fstriplets.errors import OutputError, UserError
from fstriplets.swapping.containers import png_chunk, put_packet, read_packet
from fstriplets.swapping.mark import marked

__all__ = ["MAX_PIXELS", "WRITTEN", "Picture", "load_picture", "save_picture", "write_bytes"]

Pixels = npt.NDArray[np.uint8]
Native = npt.NDArray[Any]  # uint8 or uint16

#: Photos whose header declares more are refused: 8-bit RGB of them takes 3/4 GB.
MAX_PIXELS = 1 << 28
#: Suffix -> Pillow's format, of files that are written; a photo of another kind becomes a PNG.
WRITTEN = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
}
_ORIENTATION = 0x0112
#: Tags of a TIFF that tell of the photo; the others tell how that file is laid out.
_OF_TIFF = {270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 34665, 34853}
_PNG_HEAD = 33  # signature and IHDR


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo, upright."""

    pixels: Native  #: uint8 or uint16 [H, W, 3], values of the file
    seen: Pixels  #: uint8 [H, W, 3] sRGB, what networks see; the same array as `pixels` in most photos
    alpha: Native | None = None  #: [H, W], of the pixels' type
    grey: bool = False  #: the file has one channel, and so will what is written
    profile: bytes = b""  #: ICC profile of `pixels`
    exif: bytes = b""
    packet: bytes = b""  #: XMP

    @property
    def depth(self) -> float:
        """One step of an 8-bit value in the pixels' own values: 1 or 257."""
        return 257.0 if self.pixels.dtype == np.uint16 else 1.0

    def native(self, rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """sRGB values 0..255, [H, W, 3], as values of this picture."""
        if self.grey:
            luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
            rgb = np.repeat(luma[..., None], 3, axis=2)
        elif self.profile and self.pixels is not self.seen:
            transform = _from_srgb(self.profile)
            if transform is not None:
                whole = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
                rgb = np.asarray(transform.apply(Image.fromarray(whole)), np.float32)
        return rgb * np.float32(self.depth)

    def with_pixels(self, pixels: Native) -> Picture:
        """The same photo with other pixels."""
        return replace(self, pixels=pixels)


def load_picture(data: bytes) -> Picture:
    """A photo from its file's bytes.

    Raises:
        PhotoRejected: what the corpus' decoder turns down: damaged, animated, too large, no image.
    """
    header = read_header(data)
    seen = decode_photo(data, MAX_PIXELS).pixels
    if header.bits == 16 and header.format in ("png", "tiff"):
        return _deep(data, seen, header.format, header.orientation)
    if header.format == "heic":  # decode_photo has found Pillow able to read it
        return Picture(seen, seen)
    with Image.open(io.BytesIO(data)) as image:
        profile = image.info.get("icc_profile") or b""
        kept: dict[str, Any] = {
            "exif": _upright(image.getexif(), header.format == "tiff"),
            "packet": read_packet(data),
        }
        if image.mode == "CMYK":  # converted for good: nothing that is written holds CMYK
            return Picture(seen, seen, **kept)
        grey = image.mode in ("L", "1", "LA") and "transparency" not in image.info
        see_through = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
        if see_through:
            rgba = np.array(ImageOps.exif_transpose(image).convert("RGBA"))
            pixels, alpha = np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
            return Picture(pixels, seen, alpha, grey, profile, **kept)
        if profile and image.mode == "RGB" and _from_srgb(profile) is not None:
            pixels = np.array(ImageOps.exif_transpose(image))
            return Picture(pixels, seen, None, False, profile, **kept)
        return Picture(seen, seen, None, grey, b"" if grey else profile, **kept)


def _deep(data: bytes, seen: Pixels, kind: str, orientation: int) -> Picture:
    """A 16-bit PNG or TIFF."""
    found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found.dtype != np.uint16:
        return Picture(seen, seen)
    grey = found.ndim == 2
    if grey:
        found = np.repeat(found[..., None], 3, axis=2)
    if kind == "png":  # OpenCV turns TIFF upright, PNG not
        found = _turned(found, orientation)
    alpha = np.ascontiguousarray(found[..., 3]) if found.shape[2] == 4 else None
    with Image.open(io.BytesIO(data)) as image:
        profile, exif = image.info.get("icc_profile") or b"", _upright(image.getexif(), kind == "tiff")
    pixels = np.ascontiguousarray(found[..., 2::-1])
    return Picture(pixels, seen, alpha, grey, profile, exif, read_packet(data))


def _turned(pixels: Native, orientation: int) -> Native:
    """Undo an EXIF orientation."""
    turns = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}
    pixels = np.rot90(pixels, turns.get(orientation, 0))
    return pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels


def _upright(exif: Image.Exif, of_tiff: bool) -> bytes:
    """EXIF without orientation and thumbnail; empty where there is none."""
    if not len(exif):
        return b""
    exif.pop(_ORIENTATION, None)
    for tag in set(exif) - _OF_TIFF if of_tiff else ():
        exif.pop(tag, None)
    exif.get_ifd(1).clear()  # IFD1 is the thumbnail
    try:
        return exif.tobytes()
    except Exception:  # Pillow raises nearly anything on odd tags; the picture matters more
        return b""


def _from_srgb(profile: bytes) -> Any:
    """A transform from sRGB to an ICC profile; None if it is sRGB already or unusable."""
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(target).lower():
            return None
        return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), target, "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def save_picture(picture: Picture, path: Path, *, quality: int = 95, mark: bool = True) -> None:
    """Write a photo, whole or not at all.

    Args:
        path: its suffix chooses the format: see WRITTEN.
        quality: of JPEG and WebP, 1..100.
        mark: say in the file that it is synthetic.

    Raises:
        UserError: a suffix that is not written.
        OutputError: the file cannot be written.
    """
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: photos are written as {', '.join(sorted(WRITTEN))}; name it so")
    if picture.pixels.dtype == np.uint16 and kind == "PNG":
        data = _deep_png(picture)
    else:
        data = _encode(picture, kind, quality)
    write_bytes(path, _described(data, picture.packet, mark))


def _described(data: bytes, packet: bytes, mark: bool) -> bytes:
    """The file with the photo's own packet, the mark, or both."""
    try:
        return put_packet(data, marked(packet) if mark else packet) if mark or packet else data
    except ValueError:  # a packet too long for a JPEG: the mark matters more than what an editor left
        return put_packet(data, marked()) if mark else data


def _encode(picture: Picture, kind: str, quality: int) -> bytes:
    pixels = picture.pixels
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    alpha = picture.alpha
    if alpha is not None and kind != "JPEG":
        alpha = alpha if alpha.dtype == np.uint8 else (alpha // 257).astype(np.uint8)
        image = Image.fromarray(np.dstack([pixels, alpha]))
    else:
        if alpha is not None:
            pixels = _on_white(pixels, alpha)
        image = Image.fromarray(pixels[..., 0] if picture.grey else pixels)
    kept: dict[str, Any] = {"exif": picture.exif} if picture.exif else {}
    if picture.profile:
        kept["icc_profile"] = picture.profile
    if kind == "JPEG":
        kept |= {"quality": quality, "subsampling": 0 if quality >= 95 else 2}
    elif kind == "WEBP":
        kept |= {"quality": quality}
    stream = io.BytesIO()
    image.save(stream, kind, **kept)
    return stream.getvalue()


def _deep_png(picture: Picture) -> bytes:
    """A 16-bit PNG, which Pillow cannot write in colour."""
    pixels = picture.pixels[..., :1] if picture.grey else picture.pixels[..., ::-1]
    if picture.alpha is not None:
        pixels = np.dstack([picture.pixels[..., ::-1], picture.alpha])
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise OutputError("OpenCV cannot encode the 16-bit PNG")
    data = encoded.tobytes()
    extra = b""
    if picture.profile:
        extra += png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.profile))
    if picture.exif:
        extra += png_chunk(b"eXIf", picture.exif.removeprefix(b"Exif\0\0"))
    return data[:_PNG_HEAD] + extra + data[_PNG_HEAD:]


def _on_white(pixels: Pixels, alpha: Native) -> Pixels:
    cover = alpha[..., None].astype(np.float32) / np.iinfo(alpha.dtype).max
    return np.rint(pixels * cover + 255 * (1 - cover)).astype(np.uint8)


def write_bytes(path: Path, data: bytes) -> None:
    """A file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)  # mkstemp gives 0600
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
